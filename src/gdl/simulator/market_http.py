"""The HTTP side that all stand-ins for marketplaces share: what was asked is kept, and what goes
wrong by a fault goes wrong. Routes, keys and error bodies are each marketplace's own."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime

from starlette.requests import Request
from starlette.responses import Response

from gdl.simulator.fault_draws import Draws
from gdl.simulator.fault_models import Http, Operation
from gdl.simulator.scripted_answers import Canned, Received, received
from gdl.simulator.wrong_answers import Cut, WrongAnswers, needs_answer

_BODY_LIMIT = 2**20
_REMEMBERED = 20_000
"""Requests that are kept, to be looked at."""

Answer = Callable[[Request, bytes], Awaitable[Response]]


class MarketHttp:
    """refused: how the marketplace words what a fault makes it refuse. lies: what it answers to a
    request for an end that it does not act upon."""

    def __init__(
        self,
        draws: Draws,
        cut: Cut,
        hang_s: float,
        refused: Callable[[Http], Response],
        lies: Callable[[Request], Response],
    ) -> None:
        self._draws = draws
        self._wrong = WrongAnswers(cut, hang_s)
        self._refused = refused
        self._lies = lies
        self.received: deque[Received] = deque(maxlen=_REMEMBERED)
        """The latest requests, oldest first."""
        self.arrived: Callable[[Received], Awaitable[None]] | None = None
        """Told of each request before it is acted upon."""
        self.answered: Callable[[Received], Awaitable[None]] | None = None
        """Told of each request that was acted upon, before its answer is sent."""
        self.canned: Canned | None = None

    def close(self) -> None:
        """End requests that hang."""
        self._wrong.closing.set()

    def endpoint(
        self, operation: Operation, answer: Answer
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            raw = await _read_body(request)
            asked = received(request, raw)
            self.received.append(asked)
            if self.arrived is not None:
                await self.arrived(asked)
            if self.canned is not None and self.canned.on in (None, operation):
                return self.canned.response()
            fault = self._draws.of_request(operation)
            if fault is None:
                response = await answer(request, raw)
            elif fault.answer == "lies":
                response = self._lies(request)
            else:
                good = await answer(request, raw) if needs_answer(fault) else None
                response = await self._wrong.response(request, fault, good, self._refused)
            if self.answered is not None:
                await self.answered(asked)
            response.headers["Date"] = format_datetime(datetime.now(UTC), usegmt=True)
            return response

        return endpoint


async def _read_body(request: Request) -> bytes:
    """What is longer than the limit is cut, and so no JSON."""
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _BODY_LIMIT:
            return raw[:_BODY_LIMIT]
    return raw


def bearer(request: Request) -> str:
    """The key that a request brings."""
    kind, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if kind.casefold() == "bearer" else ""
