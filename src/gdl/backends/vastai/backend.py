"""Machines rented from Vast.ai directly."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import httpx

from gdl.backends.accounts import Account, Accounts
from gdl.backends.base import SelfRelease
from gdl.backends.service_clock import ServiceClock
from gdl.backends.vastai import api_client, errors, renting
from gdl.backends.vastai.api_client import V0, VastHttp
from gdl.backends.vastai.billing import Billing
from gdl.backends.vastai.checkup import findings
from gdl.backends.vastai.fields import BACKEND, PROVIDER
from gdl.backends.vastai.instances import Instances, newest_first, segment
from gdl.backends.vastai.keys import NO_KEY_HINT, VARIABLE, find_keys
from gdl.backends.vastai.offer_file import OfferFiles
from gdl.backends.vastai.offer_wire import BID_SUFFIX
from gdl.backends.vastai.search import OfferSearch
from gdl.backends.vastai.self_release import EndKeys
from gdl.backends.vastai.volumes import Volumes
from gdl.backends.vastai.wire import InstanceWire
from gdl.domain import clock
from gdl.domain.backend import BackendTraits
from gdl.domain.errors import (
    BackendError,
    BackendRefused,
    GdlError,
    MachineError,
    OfferGone,
    SessionGone,
    UsageError,
)
from gdl.domain.findings import Finding
from gdl.domain.money import Balance, Charge, CostReport, PriceRise, hourly
from gdl.domain.offers import Offer, OfferQuery, dearer
from gdl.domain.session import RentAnswer, RentRequest, Session, SessionStatus
from gdl.domain.text import one_line
from gdl.domain.volumes import Volume
from gdl.settings import Settings


class VastaiBackend:
    """The `vastai` backend. `transport` is a seam for callers that bring their own HTTP. now: this
    computer's clock; the times of sessions are told by it. pauses: seconds between the tries of a
    read.

    A machine is the account's, whoever rented it: all of them are listed, and can be released.
    """

    name = BACKEND
    traits = BackendTraits(takes_key=True, takes_image=True, pulls_free=True)

    def __init__(
        self,
        settings: Settings,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], datetime] = clock.now,
        pauses: Sequence[float] = api_client.PAUSES,
    ) -> None:
        """Raises UsageError without a key, or with one that cannot be one."""
        keys = find_keys(settings)
        if not keys:
            raise UsageError("there is no key for Vast.ai", NO_KEY_HINT)
        self._now = now
        self._timeouts = settings.timeouts
        self._clock = ServiceClock(now)
        self._http = VastHttp(
            settings.vastai.url,
            settings.timeouts.http,
            keys,
            transport,
            clock=self._clock,
            pauses=pauses,
        )
        self.service_url = self._http.shown_url
        self._accounts = Accounts(settings.data_dir, self.name, "Vast.ai", VARIABLE)
        self._account: Account | None = None
        self._instances = Instances(self._http)
        whom = f"{self.service_url} {keys[-1].fingerprint}"
        self._search = OfferSearch(self._http, now, OfferFiles(settings.data_dir, whom))
        self._billing = Billing(self._http, now)
        self._end_keys = EndKeys(self._http)
        self._volumes = Volumes(self._http)
        self._public_keys: dict[str, str] = {}
        """Of rent requests, by label."""
        self._keyless: dict[str, str] = {}
        """The keys of machines that do not have them yet, by session."""

    async def aclose(self) -> None:
        await self._http.aclose()

    # -- offers

    async def offers(self, query: OfferQuery) -> Sequence[Offer]:
        """What is kept of the market's list, or a new one after some minutes, see `OfferSearch`."""
        return await self._search.offers(query)

    # -- renting

    async def rent(self, request: RentRequest) -> RentAnswer:
        """Rent, with the label by which an unanswered request is found again."""
        renting.check(request)
        await self._quote_again(request)
        await self._accounts.note(await self._own_account(), label=request.label)
        self._public_keys[request.label] = request.public_key
        sent_at = self._now()
        ask = request.offer.id.removesuffix(BID_SUFFIX)
        if not ask.isdigit():
            raise OfferGone(request.offer.id)
        answer = await self._http.rent(
            "PUT",
            f"{V0}/asks/{ask}/",
            renting.body(request),
            timeout=self._timeouts.rent,
            sent_at=sent_at,
        )
        try:
            made = renting.contract_of(answer, request.offer.id, sent_at)
        except OfferGone:
            self._search.forget(request.offer.id)
            raise
        self._search.took(request.offer.id)
        with contextlib.suppress(GdlError):  # the label is noted
            await self._accounts.note(await self._own_account(), session_id=made)
        return await self._rented(made, request, sent_at)

    async def _quote_again(self, request: RentRequest) -> None:
        """Raises OfferGone, or MachineError for an offer that is dearer by now. Without searches
        left, the price that the machine turns out to have must do."""
        offer = request.offer
        try:
            found = await self._search.named(frozenset({offer.id}))
        except BackendRefused:
            if self._search.out_of_quota:
                return
            raise
        listed = next((each for each in found if each.available), None)
        if listed is None:
            self._search.forget(offer.id)
            raise OfferGone(offer.id)
        price = listed.with_disk(renting.disk_gb(request)).price_per_hour
        least = listed.terms.bid if listed.terms is not None else None
        if request.bid is not None and least is not None and least > request.bid:
            raise MachineError(
                f"offer {offer.id} now costs {hourly(least)}, more than the bid of"
                f" {hourly(request.bid)}",
                "take the next offer, or bid more",
            )
        if request.bid is None and dearer(price, offer.price_per_hour):
            raise MachineError(
                f"offer {offer.id} now costs {hourly(price)}, it was"
                f" {hourly(offer.price_per_hour)}",
                "take the next offer",
            )

    async def _rented(self, made: str, request: RentRequest, sent_at: datetime) -> RentAnswer:
        """The machine, as far as it can be looked at."""
        if request.public_key:
            self._keyless[made] = request.public_key
        await self._attach(made)
        try:
            return RentAnswer(await self.session(made))
        except GdlError:
            # It is ours all the same; how it is will be seen at the next look.
            pending = Session(
                id=made,
                backend=self.name,
                provider=PROVIDER,
                status=SessionStatus.PROVISIONING,
                gpu_name=request.offer.gpu_name,
                gpu_count=request.offer.gpu_count,
                created_at=sent_at,
                host_known=True,
                label=request.label,
            )
            return RentAnswer(pending)

    async def _attach(self, session_id: str) -> None:
        """Let our key in, where that is to be done yet. It also comes with the request for the
        machine; so what goes wrong is no more than a reason to try again at the next look."""
        key = self._keyless.get(session_id)
        if key is None:
            return
        path = f"{V0}/instances/{segment(session_id)}/ssh/"
        with contextlib.suppress(BackendError):
            answer = await self._http.change("POST", path, body={"ssh_key": key})
            if not (answer.status == 400 and "already" in errors.words(answer).lower()):
                self._http.data(answer, f"attach our key to instance {session_id}")
            self._keyless.pop(session_id, None)

    # -- sessions

    async def session(self, session_id: str) -> Session:
        await self._attach(session_id)
        found = await self._instances.one(session_id)
        if found is None:
            self._keyless.pop(session_id, None)
            await self._accounts.check(session_id, "", self._own_account)
            raise SessionGone(
                f"Vast.ai does not know instance {one_line(session_id, 80)}",
                "`gdl-tui sessions` shows what there is",
            )
        return self._session(found)

    async def sessions(self) -> Sequence[Session]:
        rows = await self._instances.all()
        return newest_first([self._session(row) for row in rows])

    def _session(self, row: InstanceWire) -> Session:
        return replace(self._clock.corrected(row.to_domain()), backend=self.name)

    async def release(self, session_id: str) -> None:
        """Destroy, its disk included. Raises BackendRefused while the service does not."""
        try:
            known = await self._instances.destroy(session_id)
        except SessionGone:
            return
        if not known:
            await self._accounts.check(session_id, "", self._own_account)

    async def labelled(self, label: str) -> Sequence[Session]:
        """Those of that label. They are given the key of the request where this process sent it:
        nobody has heard its answer."""
        found = [s for s in await self.sessions() if label and s.label == label]
        if not found:
            # Another account's list would say that the request made nothing.
            await self._accounts.check("", label, self._own_account)
            return found
        key = self._public_keys.pop(label, "")
        for session in found:
            if key and not session.terminal:
                self._keyless[session.id] = key
                await self._attach(session.id)
        return found

    async def absent(self, session_id: str, label: str = "") -> bool:
        await self._accounts.check(session_id, label, self._own_account)
        rows = await self._instances.all()
        return not any(str(r.id) == session_id or (label and r.label == label) for r in rows)

    # -- the account

    async def _own_account(self) -> Account:
        """Of the key in use. Its number is asked for once; a key may not be allowed to."""
        key = self._http.found_key.fingerprint
        if self._account is not None and self._account.key == key:
            return self._account
        try:
            found = Account(key, (await self._billing.account()).id)
        except BackendRefused as error:
            found = Account(key)
            if error.status not in (401, 403):
                return found
        except GdlError:
            return Account(key)
        self._account = found
        return found

    async def balance(self) -> Balance:
        return await self._billing.balance()

    async def charges(self, since: datetime) -> Sequence[Charge]:
        return await self._billing.charges(since)

    async def costs(self) -> CostReport:
        return await self._billing.costs()

    async def price_rises(self) -> Sequence[PriceRise]:
        rows = await self._instances.all()
        return await self._billing.price_rises(rows)

    # -- ending itself, volumes

    async def self_release(self, session_id: str) -> SelfRelease:
        return await self._end_keys.make(session_id)

    async def revoke(self, ref: str) -> None:
        await self._end_keys.revoke(ref)

    async def volumes(self) -> Sequence[Volume]:
        return await self._volumes.all()

    async def make_volume(self, offer: Offer, name: str, size_gb: int) -> Volume:
        return await self._volumes.make(offer, name, size_gb)

    async def delete_volume(self, volume_id: str) -> None:
        await self._volumes.delete(volume_id)

    # -- health

    async def check(self) -> Sequence[Finding]:
        return await findings(self._http, self._billing, self._search)
