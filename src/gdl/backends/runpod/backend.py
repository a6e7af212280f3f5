"""Pods rented from RunPod, by version 2 of its REST interface."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import httpx

from gdl.backends.accounts import Account, Accounts, fingerprint
from gdl.backends.answer import Unusable
from gdl.backends.base import SelfRelease
from gdl.backends.http import ServiceHttp
from gdl.backends.runpod import catalogue, pod_request
from gdl.backends.runpod.catalogue import CLOUDS, COUNTS, Kind, Listing
from gdl.backends.runpod.charges import charges_of, report
from gdl.backends.runpod.errors import WORDS, ErrorReader
from gdl.backends.runpod.keys import VARIABLE, FoundKey
from gdl.backends.runpod.pages import API, RunpodApi, gpus
from gdl.backends.runpod.volumes import NetworkVolumes
from gdl.backends.runpod.wire import BACKEND, ChargeWire, PodWire
from gdl.backends.scalars import is_session_id
from gdl.backends.service_clock import ServiceClock
from gdl.domain import clock
from gdl.domain.backend import BackendTraits
from gdl.domain.errors import GdlError, OfferGone, RentAmbiguous, SessionGone
from gdl.domain.findings import Finding
from gdl.domain.money import Charge, CostReport
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.session import RentAnswer, RentRequest, Session
from gdl.domain.text import one_line
from gdl.domain.volumes import Volume
from gdl.settings import Settings

_UNDECIDED = frozenset({408, 425})
"""Of the refusals those that do not say that nothing was done."""


class RunpodBackend:
    """The `runpod` backend. key: the account's. `transport` is a seam for callers that bring their
    own HTTP. now: this computer's clock; the times of pods are told by it.

    dropped_offers: rows of the latest catalogue that could not be trusted and were dropped.
    """

    name = BACKEND
    traits = BackendTraits(takes_key=True, takes_image=True)

    def __init__(
        self,
        settings: Settings,
        consumer_id: str,
        key: FoundKey,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        self._now = now
        self._clock = ServiceClock(now)
        self._consumer_id = consumer_id
        self._timeouts = settings.timeouts
        self._key_source = key.source
        self._http = ServiceHttp(
            settings.runpod.url,
            settings.timeouts.http,
            transport,
            clock=self._clock,
            words=WORDS,
            key=key.key,
        )
        self.service_url = self._http.shown_url
        self._pods_url = f"{self.service_url.rstrip('/')}{API}/pods"
        self._errors = ErrorReader(self.service_url, key.key)
        self._api = RunpodApi(self._http, self._errors)
        # Its interface does not tell whose the key is.
        self._account = Account(fingerprint(key.key))
        self._accounts = Accounts(settings.data_dir, self.name, "RunPod", VARIABLE)
        self._volumes = NetworkVolumes(self._api, settings.timeouts.http)
        self._gpu_names: dict[str, str] = {}
        self.dropped_offers = 0

    async def aclose(self) -> None:
        await self._http.aclose()

    # -- offers

    async def offers(self, query: OfferQuery) -> Sequence[Offer]:
        """The catalogue, once for each cloud and number of GPUs: what can be had depends on
        both."""
        counts = COUNTS if query.gpu_count is None else (max(query.gpu_count, 1),)
        places = await self._places()
        asked = [(cloud, count) for cloud in CLOUDS for count in counts]
        rows = await asyncio.gather(*(gpus(self._api, *each) for each in asked))
        listed = [
            catalogue.read(found, cloud, count, places, query.min_cuda)
            for (cloud, count), found in zip(asked, rows, strict=True)
        ]
        self._learn(listed)
        return tuple(offer for each in listed for offer in each.offers)

    def _learn(self, listed: Sequence[Listing]) -> None:
        self.dropped_offers = max((each.dropped for each in listed), default=0)
        for each in listed:
            self._gpu_names.update(each.names)

    async def _places(self) -> set[str]:
        """Data centres where the account has volumes. Not to know them is no reason to list
        nothing."""
        try:
            return {volume.place for volume in await self._volumes.all() if volume.place}
        except GdlError:
            return set()

    # -- pods

    async def rent(self, request: RentRequest) -> RentAnswer:
        """Rent: one request, never repeated. The pod bears the request's label as its name."""
        kind = Kind.of(request.offer.id)
        if kind is None:
            raise OfferGone(request.offer.id)
        place = kind.place
        if request.volume and not place:
            place = await self._volumes.place_of(request.volume)
        body = pod_request.body(request, kind, place, self._pods_url)
        await self._accounts.note(self._account, label=request.label)
        sent_at = self._now()
        answer = await self._http.rent(
            "POST", f"{API}/pods", body, timeout=self._timeouts.rent, sent_at=sent_at
        )
        if answer.ok:
            try:
                pod = PodWire.model_validate(answer.mapping())
            except (Unusable, ValueError):
                raise RentAmbiguous("the rent answer names no pod", sent_at=sent_at) from None
            await self._accounts.note(self._account, label=request.label, session_id=pod.id)
            return RentAnswer(self._session(pod))
        if answer.status == 429:
            raise self._errors.refused(answer, f"rent {request.offer.id}")
        undecided = answer.status >= 500 or answer.status in _UNDECIDED
        if undecided or self._errors.problem(answer) is None:
            # RunPod fell over, or another spoke for it, with the request perhaps under way.
            raise RentAmbiguous(
                f"the rent request ended in HTTP {answer.status} without an answer of RunPod's own",
                sent_at=sent_at,
            )
        raise self._errors.rent_error(answer, request)

    async def session(self, session_id: str) -> Session:
        pod = await self._pod(session_id)
        if pod is None:
            await self._accounts.check(session_id, "", self._own_account)
            raise SessionGone(
                f"RunPod does not know pod {one_line(session_id, 80)}",
                "`gdl-tui sessions` shows what there is",
            )
        return self._session(pod)

    async def sessions(self) -> Sequence[Session]:
        """All pods of the account: what others rented costs as much. Their `consumer_id` is another
        or ""."""
        found = [self._session(pod) for pod in await self._pods()]
        began = datetime.min.replace(tzinfo=UTC)
        return tuple(sorted(found, key=lambda s: s.created_at or began, reverse=True))

    async def labelled(self, label: str) -> Sequence[Session]:
        found = tuple(self._session(pod) for pod in await self._pods() if pod.name == label)
        if not found:
            # Another account's list would say that the request made nothing.
            await self._accounts.check("", label, self._own_account)
        return found

    async def absent(self, session_id: str, label: str = "") -> bool:
        """By the whole list, and by the pod's own address: both must be without it. One that is
        listed as TERMINATED may yet be ending: its address tells."""
        ending = {session_id} if is_session_id(session_id) else set()
        for pod in await self._pods():
            if pod.id == session_id or (label and pod.name == label):
                if not pod.terminated:
                    return False
                ending.add(pod.id)
        await self._accounts.check(session_id, label, self._own_account)
        shown = await asyncio.gather(*(self._pod(ident) for ident in sorted(ending)))
        return not any(shown)

    async def release(self, session_id: str) -> None:
        if not is_session_id(session_id):
            return
        answer = await self._http.change(
            "DELETE", f"{API}/pods/{session_id}", timeout=self._timeouts.rent
        )
        if self._errors.gone(answer):
            await self._accounts.check(session_id, "", self._own_account)
        elif not answer.ok:
            raise self._errors.refused(answer, f"delete pod {session_id}")
        else:
            await self._accounts.seen(self._account, [(session_id, "")])

    async def _pods(self) -> list[PodWire]:
        # Strict, unlike the offers: a row dropped here could be a machine that costs money.
        pods = await self._api.listed("/pods", "pods", PodWire, "list the pods")
        await self._accounts.seen(self._account, ((pod.id, pod.name) for pod in pods))
        return pods

    async def _own_account(self) -> Account:
        return self._account

    async def _pod(self, session_id: str) -> PodWire | None:
        """None where RunPod itself says that there is none."""
        if not is_session_id(session_id):
            return None
        answer = await self._http.get(f"{API}/pods/{session_id}")
        if self._errors.gone(answer):
            return None
        pod = self._api.model(PodWire, self._api.data(answer, "show a pod"))
        if pod.id != session_id:
            raise self._errors.unusable("a pod other than the one requested")
        return pod

    def _session(self, pod: PodWire) -> Session:
        session = pod.to_domain(self._gpu_names)
        return replace(self._clock.corrected(session), backend=self.name)

    # -- the end of a pod, from the pod itself

    async def self_release(self, session_id: str) -> SelfRelease:
        """With the key that RunPod gives to every pod, in the environment of its first process."""
        return SelfRelease("DELETE", f"{self._pods_url}/{session_id}", key_variable=VARIABLE)

    async def revoke(self, ref: str) -> None:
        """That key ends with its pod."""

    # -- volumes

    async def volumes(self) -> Sequence[Volume]:
        return await self._volumes.all()

    async def make_volume(self, offer: Offer, name: str, size_gb: int) -> Volume:
        return await self._volumes.make(offer, name, size_gb)

    async def delete_volume(self, volume_id: str) -> None:
        await self._volumes.delete(volume_id)

    # -- money and health

    async def charges(self, since: datetime) -> Sequence[Charge]:
        began = since + self._clock.offset
        params = {"startTime": began.astimezone(UTC).isoformat(), "bucketSize": "hour"}
        rows = await self._billed(params)
        return charges_of(rows, since, self._clock.ours)

    async def costs(self) -> CostReport:
        return report(await self._billed({"bucketSize": "day"}))

    async def _billed(self, params: dict[str, str]) -> list[ChargeWire]:
        rows = await self._api.rows("/billing/pods", "records", "tell what was charged", params)
        return [self._api.model(ChargeWire, row) for row in rows]

    async def check_key(self) -> Finding:
        """Whether RunPod answers and takes the key. Never raises a GdlError."""
        try:
            pods = await self._pods()
        except GdlError as error:
            return Finding("runpod", "fail", error.message, error.hint)
        mine = sum(pod.owner == self._consumer_id for pod in pods)
        detail = (
            f"{self.service_url} takes the key of {self._key_source}; {len(pods)} pods,"
            f" {mine} of them ours"
        )
        return Finding("runpod", "ok", one_line(detail))

    async def check(self) -> Sequence[Finding]:
        found = [await self.check_key()]
        if found[0].status == "fail":
            return tuple(found)
        found += self._clock.findings()
        found.append(await self._check_offers())
        found.append(
            Finding(
                "runpod balance",
                "info",
                "RunPod's interface does not tell what the account has left",
                "https://console.runpod.io/user/billing shows it",
            )
        )
        return tuple(found)

    async def _check_offers(self) -> Finding:
        try:
            offers = await self.offers(OfferQuery())
        except GdlError as error:
            return Finding("runpod offers", "fail", error.message, error.hint)
        available = sum(offer.available for offer in offers)
        detail = f"{len(offers)} kinds of machines, {available} of them available"
        if self.dropped_offers:
            detail += f", {self.dropped_offers} more without a plausible price or id"
        return Finding("runpod offers", "ok" if available else "warn", detail)
