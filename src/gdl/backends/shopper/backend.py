"""Machines rented through a cloud-gpu-shopper service."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import httpx

from gdl.backends.answer import Answer
from gdl.backends.http import ServiceHttp
from gdl.backends.scalars import is_session_id, read_time
from gdl.backends.service_clock import ServiceClock
from gdl.backends.shopper import benchmark_download, benchmark_upload, errors, wire
from gdl.backends.shopper.answers import AnswerReader, rent_answer
from gdl.domain import clock
from gdl.domain.backend import BackendTraits
from gdl.domain.benchmark import Publication
from gdl.domain.errors import (
    GdlError,
    RentAmbiguous,
    SessionGone,
)
from gdl.domain.findings import Finding
from gdl.domain.money import CostReport
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.session import RentAnswer, RentRequest, Session
from gdl.domain.speed import Figure
from gdl.domain.text import one_line
from gdl.settings import Settings

_API = "/api/v1"
_PAGE = 10_000
"""Offers of one answer: about 5 MB."""
_MOST_OFFERS = 200_000
"""More are not read, whatever a service says that it has."""
_WORKLOADS = {"vllm": "llm_vllm", "tgi": "llm_tgi"}
"""What the service calls the work of an engine; of any other it only knows that it is an LLM."""
_SSH_MINUTES = 10
"""How long the service by itself waits for a machine's SSH, unless it is told."""
_MOST_SSH_MINUTES = 30
_STUCK_MINUTES = 10
"""Age at which its check of every minute fails a session that does not run yet, whatever we ask."""
_LONGER_THAN_OURS = 1.2
"""The service is to wait longer than we do: who gives up first sees the machine go."""


class ShopperBackend:
    """The `shopper` backend. `transport` is a seam for callers that bring their own HTTP. now: this
    computer's clock; the times of sessions are told by it, whatever the service's clock says.

    dropped_offers: rows of the latest list that could not be trusted and were dropped.
    """

    name = wire.BACKEND

    def __init__(
        self,
        settings: Settings,
        consumer_id: str,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], datetime] = clock.now,
    ) -> None:
        self._now = now
        self._clock = ServiceClock(now)
        self._consumer_id = consumer_id
        self._timeouts = settings.timeouts
        longest = math.ceil(settings.timeouts.session * _LONGER_THAN_OURS / 60)
        self._ssh_minutes = min(max(longest, 1), _MOST_SSH_MINUTES)
        self.traits = BackendTraits(gives_up_s=min(self._ssh_minutes, _STUCK_MINUTES) * 60.0)
        self._http = ServiceHttp(
            settings.shopper_url,
            settings.timeouts.http,
            transport,
            clock=self._clock,
            words=errors.WORDS,
        )
        self.service_url = self._http.shown_url
        self._answers = AnswerReader(self.service_url)
        self.dropped_offers = 0

    async def aclose(self) -> None:
        await self._http.aclose()

    # -- offers

    async def offers(self, query: OfferQuery) -> Sequence[Offer]:
        """All offers there are, page by page. Nothing of `query` is sent: the service caches a
        narrow answer and would give it to the next wide question."""
        found: dict[str, Offer] = {}
        dropped = 0
        for read in range(0, _MOST_OFFERS, _PAGE):
            page = {"limit": str(_PAGE), "offset": str(read)}
            answer = await self._http.get(f"{_API}/inventory", page)
            # In a thread: a page takes a tenth of a second, in which a key may be pressed.
            listed = await asyncio.to_thread(self._page, answer)
            dropped += listed.dropped
            before = len(found)
            for offer in listed.offers:
                # Twice where the list has moved on between two pages.
                found.setdefault(offer.id, offer)
            whole = listed.total is not None and read + listed.rows >= listed.total
            if whole or listed.rows < _PAGE or len(found) == before:
                break
        self.dropped_offers = dropped
        return tuple(found.values())

    def _page(self, answer: Answer) -> wire.OfferList:
        data = self._answers.data(answer, "list its offers")
        try:
            return wire.read_offers(data)
        except (KeyError, ValueError):
            raise self._answers.wrong_shape("an offer list") from None

    # -- sessions

    async def rent(self, request: RentRequest) -> RentAnswer:
        """Rent. The private key in the answer exists nowhere else."""
        sent_at = self._now()
        answer = await self._http.rent(
            "POST",
            f"{_API}/sessions",
            self._rent_body(request),
            timeout=self._timeouts.rent,
            sent_at=sent_at,
        )
        if answer.ok:
            rented = rent_answer(answer, sent_at)
            return replace(rented, session=self._clock.corrected(rented.session))
        if errors.own(answer) is not None:
            raise errors.rent_error(answer, request.offer.id)
        if answer.status >= 500 and answer.status != 503:
            # A gateway gave up, or the service fell over, with the request already under way.
            raise RentAmbiguous(
                f"the rent request ended in HTTP {answer.status} without an answer of the "
                "service's own",
                sent_at=sent_at,
            )
        raise errors.refused(answer, f"rent {request.offer.id}")

    def _rent_body(self, request: RentRequest) -> dict[str, object]:
        body: dict[str, object] = {
            "consumer_id": request.consumer_id,
            "offer_id": request.offer.id,
            "workload_type": _WORKLOADS.get(request.engine, "llm"),
            "reservation_hours": request.hours,
        }
        if request.model_id:
            body["model_id"] = request.model_id
        if request.disk_gb is not None:
            body["disk_gb"] = request.disk_gb
        if self._ssh_minutes != _SSH_MINUTES:
            body["ssh_timeout_minutes"] = self._ssh_minutes
        return body

    async def session(self, session_id: str) -> Session:
        data = await self._read_session(session_id)
        return self._clock.corrected(self._answers.session(data, session_id))

    async def sessions(self) -> Sequence[Session]:
        data = await self._read(
            "/sessions", "list the sessions", params={"consumer_id": self._consumer_id}
        )
        # Strict, unlike the offers: a row dropped here could be a machine that costs money.
        rows = self._answers.rows(data, "sessions", wire.SessionWire)
        found = [self._clock.corrected(row.to_domain()) for row in rows]
        return tuple(s for s in found if s.consumer_id in ("", self._consumer_id))

    async def release(self, session_id: str) -> None:
        """Destroy. Raises BackendRefused while the service cannot confirm it: ask again then."""
        if not is_session_id(session_id):
            return
        answer = await self._http.change(
            "DELETE", f"{_API}/sessions/{session_id}", timeout=self._timeouts.rent
        )
        if answer.ok:
            self._answers.data(answer, "destroy a session")
        elif not isinstance(errors.no_session(answer, session_id), SessionGone):
            raise errors.refused(answer, f"destroy session {session_id}")

    async def extend(self, session_id: str, hours: int) -> datetime | None:
        path = f"{_API}/sessions/{_session_segment(session_id)}/extend"
        answer = await self._http.change("POST", path, body={"additional_hours": hours})
        if not answer.ok:
            raise errors.no_session(answer, session_id)
        data = self._answers.data(answer, "extend a session")
        said = self._clock.ours(read_time(data.get("new_expires_at")))
        try:
            # The service names an end past its own limit of twelve hours in all.
            ends = (await self.session(session_id)).expires_at
        except GdlError:
            ends = None
        if ends is None and said is None:
            raise self._answers.wrong_shape("the new end of a session")
        return min(t for t in (ends, said) if t is not None)

    # -- money and health

    async def costs(self) -> CostReport:
        params = {"consumer_id": self._consumer_id}
        data = await self._read("/costs/summary", "tell the costs", params=params)
        return self._answers.model(wire.CostWire, data).to_domain()

    async def publish(self, one: Publication) -> str:
        answer = await self._http.change(
            "POST", f"{_API}/benchmarks", body=benchmark_upload.body(one)
        )
        data = self._answers.data(answer, "take a benchmark").get("benchmark")
        return self._answers.model(wire.BenchmarkWire, data).id

    async def benchmarks(self, model: str) -> Sequence[Figure]:
        data = await self._read("/benchmarks", "list the benchmarks", params={"model": model})
        return benchmark_download.figures(data)

    async def health(self) -> wire.HealthWire:
        answer = await self._http.get("/health", retry=False)
        return self._answers.model(wire.HealthWire, self._answers.data(answer, "tell its health"))

    async def ready(self) -> bool:
        """Whether it takes requests; False while it shuts down."""
        answer = await self._http.get("/ready", retry=False)
        data = self._answers.mapping(answer)
        return answer.ok and self._answers.model(wire.HealthWire, data).ready

    async def check(self) -> Sequence[Finding]:
        try:
            return await self._look()
        except GdlError as error:
            return (Finding("shopper", "fail", error.message, error.hint),)

    async def _look(self) -> Sequence[Finding]:
        health = await self.health()
        services = ", ".join(f"{k}: {v}" for k, v in health.services.items())
        fine = health.status == "ok"
        detail = f"{self._http.shown_url} says {health.status or 'nothing about itself'}"
        found = [
            Finding(
                "shopper",
                "ok" if fine else "warn",
                one_line(f"{detail} ({services})" if services else detail),
                "" if fine else "look at the log of cloud-gpu-shopper",
            )
        ]
        found += self._clock.findings()
        if not await self.ready():
            hint = "it is shutting down or still starting: nothing can be rented"
            found.append(Finding("shopper ready", "fail", "not ready", hint))
        try:
            offers = await self.offers(OfferQuery())
        except GdlError as error:
            return (*found, Finding("offers", "fail", error.message, error.hint))
        providers = sorted({offer.provider for offer in offers})
        detail = f"{len(offers)} offers from {', '.join(providers) or 'nobody'}"
        if self.dropped_offers:
            detail += f", {self.dropped_offers} more without a plausible price or id"
        hint = (
            "" if offers else "check the service's marketplace keys; it caches failures for 5 min"
        )
        return (*found, Finding("offers", "ok" if offers else "warn", one_line(detail), hint))

    # -- reading

    async def _read(
        self, path: str, doing: str, *, params: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        return self._answers.data(await self._http.get(_API + path, params), doing)

    async def _read_session(self, session_id: str) -> dict[str, Any]:
        answer = await self._http.get(f"{_API}/sessions/{_session_segment(session_id)}")
        if not answer.ok:
            raise errors.no_session(answer, session_id)
        return self._answers.data(answer, "show a session")


def _session_segment(session_id: str) -> str:
    if not is_session_id(session_id):
        raise SessionGone(
            f"{one_line(session_id, 80)} is not a session id",
            "`gdl-tui sessions` shows what there is",
        )
    return session_id
