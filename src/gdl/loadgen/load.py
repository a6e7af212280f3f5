"""One load: requests in a closed loop or by a timetable, and the figures that come of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

from gdl.domain.errors import VerificationError
from gdl.domain.secret import Secret
from gdl.endpoint.protocol import CHAT, Fault, lacks_chat_template
from gdl.loadgen.decode import Sample, decode, refusal_text
from gdl.loadgen.http_connection import Exchange
from gdl.loadgen.metrics import Figures, Slo, figures
from gdl.loadgen.request_template import RequestTemplate
from gdl.loadgen.schedule import Arrivals
from gdl.loadgen.strain import Strain, StrainMonitor
from gdl.loadgen.transport import Transport
from gdl.loadgen.workload import Conversation

HELD_PIECES = 1_000_000
"""Pieces of answers (some 350 bytes each) that are kept until the clock stops. Beyond that,
answers are decoded between others, which the loop's lag shows."""
_BATCH = 64
_OPEN_CONNECTIONS = 64
_MOST_CONNECTIONS = 4096
_HINT = "`--model` must be what the server serves; its log tells more"
_OF_THE_MODEL = ("http_400", "http_404", "http_422")
_LOG_HINT = "the server's log tells more"

Progress = Callable[[int, int], None]
"""Called with (requests ended, requests in all)."""


@dataclass(frozen=True, slots=True)
class LoadShape:
    """concurrency: so many at a time, each followed by the next (closed loop). arrivals: by a
    timetable, however many run then (open loop). Exactly one of them."""

    concurrency: int | None = None
    arrivals: Arrivals | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """transport: how the requests travelled; note: why that is not the exact way, "" when it is."""

    request_template: RequestTemplate
    shape: LoadShape
    samples: tuple[Sample, ...]
    figures: Figures
    strain: Strain
    transport: str
    note: str


async def warm_up(
    transport: Transport,
    request_template: RequestTemplate,
    conversations: list[Conversation],
    key: Secret,
) -> RequestTemplate:
    """Send each conversation's first turn, all at once, without a figure. Returns how to ask:
    plain completions for a model that has no chat template. Raises VerificationError when no
    request succeeded."""
    while True:
        load = _Load(
            transport, request_template, conversations, LoadShape(len(conversations)), key, turns=1
        )
        ended = await load.run()
        samples = [decode(exchange, key) for exchange in ended]
        if any(sample.ok for sample in samples):
            return request_template
        refused = any(lacks_chat_template(e.status, refusal_text(e, key)) for e in ended)
        if request_template.mode != CHAT or not refused:
            first = samples[0]
            hint = first.hint or (_HINT if first.kind in _OF_THE_MODEL else _LOG_HINT)
            raise VerificationError(f"no request succeeded: {first.error}", hint)
        request_template = request_template.plainly()


async def run_load(
    transport: Transport,
    request_template: RequestTemplate,
    conversations: list[Conversation],
    shape: LoadShape,
    key: Secret,
    *,
    slo: Slo | None = None,
    seed: int = 0,
    limit_s: float | None = None,
    on_progress: Progress | None = None,
    on_sample: Callable[[Sample], None] | None = None,
) -> Outcome:
    """Send all turns of all conversations in this shape. limit_s: what is not answered then counts
    as timed out. on_sample: gets each request as it ends; for small loads alone, since it is then
    decoded between others. Raises VerificationError when no connection can be made at all."""
    load = _Load(
        transport, request_template, conversations, shape, key, seed=seed, on_progress=on_progress
    )
    load.on_sample = on_sample
    watch = StrainMonitor()
    with _no_collections():
        ended = await load.run(watch, limit_s)
        strain = load.strain
    samples = []
    for number, exchange in enumerate(ended):
        samples.append(load.early.get(exchange) or decode(exchange, key))
        exchange.drop()
        if number % _BATCH == 0:
            await asyncio.sleep(0)
    return Outcome(
        request_template=request_template,
        shape=shape,
        samples=tuple(samples),
        figures=figures(samples, load.duration_s, slo),
        strain=strain,
        transport=transport.name,
        note=transport.note,
    )


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """No garbage collection while the clock runs: one takes milliseconds."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _OngoingConversation:
    """A conversation that is under way. request: its next turn, ready to be sent."""

    __slots__ = ("answers", "conversation", "request")

    def __init__(self, conversation: Conversation, request: bytes) -> None:
        self.conversation = conversation
        self.request = request
        self.answers: tuple[str, ...] = ()


class _Load:
    """Driven by the ends of exchanges alone: no task per request, nothing to wake up."""

    def __init__(
        self,
        transport: Transport,
        request_template: RequestTemplate,
        conversations: list[Conversation],
        shape: LoadShape,
        key: Secret,
        *,
        turns: int | None = None,
        seed: int = 0,
        on_progress: Progress | None = None,
    ) -> None:
        self._transport = transport
        self._request_template = request_template
        self._shape = shape
        self._key = key
        self._turns = turns
        self._on_progress = on_progress
        self._conversations = [
            _OngoingConversation(
                one, transport.prepare(request_template.path, request_template.body(one))
            )
            for one in conversations
        ]
        self.total = sum(self._turns_of(ongoing) for ongoing in self._conversations)
        self._waiting = iter(self._conversations)
        self._due: list[float] = []
        if shape.arrivals is not None:
            chance = random.Random(f"arrivals {seed}")  # noqa: S311 - no secret
            self._due = shape.arrivals.times(len(self._conversations), chance)
        self._sent = 0
        self._place = 0
        self._ended: list[Exchange] = []
        self._held = 0
        self._running = 0
        self._began = 0.0
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self._finish: asyncio.Future[None] | None = None
        self.early: dict[Exchange, Sample] = {}
        self.on_sample: Callable[[Sample], None] | None = None
        self.duration_s = 0.0
        self.strain = Strain(0.0, 0.0, 0.0, 0.0)

    def _turns_of(self, ongoing: _OngoingConversation) -> int:
        turns = len(ongoing.conversation.turns)
        return turns if self._turns is None else min(turns, self._turns)

    async def run(
        self, watch: StrainMonitor | None = None, limit_s: float | None = None
    ) -> list[Exchange]:
        """All exchanges in the order in which they ended."""
        if not self._conversations:
            return []
        at_once = min(
            self._shape.concurrency or _OPEN_CONNECTIONS,
            len(self._conversations),
            _MOST_CONNECTIONS,
        )
        self._transport.elastic = self._shape.concurrency is None
        await self._transport.open(at_once)
        self._finish = asyncio.get_running_loop().create_future()
        if watch is not None:
            watch.start()
        self._began = perf_counter()
        try:
            if self._shape.concurrency is not None:
                for _ in range(at_once):
                    self._next()
            else:
                self._send_due()
            await self._until_finished(limit_s)
        finally:
            if watch is not None:
                self.strain = watch.stop()
            if self._timer is not None:
                self._timer.cancel()
            self._stopped = True
        last = max((exchange.ended for exchange in self._ended), default=self._began)
        self.duration_s = last - self._began
        return self._ended

    async def _until_finished(self, limit_s: float | None) -> None:
        assert self._finish is not None
        try:
            async with asyncio.timeout(limit_s):
                await asyncio.shield(self._finish)
        except TimeoutError:
            self._stopped = True
            fault = Fault("timeout", f"not answered when the {limit_s:g} s of this load were up")
            self._transport.give_up(fault)
            if self._running:
                await self._finish

    # -- sending ------------------------------------------------------------------------------

    def _next(self) -> None:
        """Closed loop: the next conversation in place of one that ended."""
        ongoing = None if self._stopped else next(self._waiting, None)
        if ongoing is not None:
            self._send(ongoing, None)
        elif not self._running:
            self._over()

    def _send_due(self) -> None:
        """Open loop: all conversations that are due, and a timer for the next."""
        loop = asyncio.get_running_loop()
        while not self._stopped and self._place < len(self._due):
            due = self._began + self._due[self._place]
            wait = due - perf_counter()
            if wait > 0:
                self._timer = loop.call_later(wait, self._send_due)
                return
            self._place += 1
            self._send(self._conversations[self._place - 1], due)

    def _send(self, ongoing: _OngoingConversation, due: float | None) -> None:
        self._sent += 1
        self._running += 1
        exchange = Exchange(self._sent, due)
        self._transport.send(exchange, ongoing.request, lambda ended: self._done(ongoing, ended))

    def _done(self, ongoing: _OngoingConversation, exchange: Exchange) -> None:
        try:
            self._take(ongoing, exchange)
            if self.on_sample is not None:
                self.on_sample(self.early.get(exchange) or self._decode_early(exchange))
        except Exception as error:  # a defect of ours must end the run, not hang it
            if self._finish is not None and not self._finish.done():
                self._finish.set_exception(error)

    def _take(self, ongoing: _OngoingConversation, exchange: Exchange) -> None:
        self._running -= 1
        self._ended.append(exchange)
        self._held += exchange.held
        if self._on_progress is not None:
            self._on_progress(len(self._ended), self.total)
        if len(ongoing.answers) + 1 < self._turns_of(ongoing) and not self._stopped:
            if self._go_on(ongoing, exchange):
                return
        elif self._held > HELD_PIECES:
            self._decode_early(exchange)
        if self._shape.concurrency is not None:
            self._next()
        elif not self._running and (self._stopped or self._place == len(self._due)):
            self._over()

    def _go_on(self, ongoing: _OngoingConversation, exchange: Exchange) -> bool:
        """The next turn of a conversation, which needs the answer; False after a failure."""
        sample = self._decode_early(exchange, with_text=True)
        if not sample.ok:
            return False
        ongoing.answers = (*ongoing.answers, sample.text)
        body = self._request_template.body(ongoing.conversation, ongoing.answers)
        ongoing.request = self._transport.prepare(self._request_template.path, body)
        self._send(ongoing, None)
        return True

    def _decode_early(self, exchange: Exchange, *, with_text: bool = False) -> Sample:
        self._held -= exchange.held
        self.early[exchange] = sample = decode(exchange, self._key, with_text=with_text)
        exchange.drop()
        return sample

    def _over(self) -> None:
        if self._finish is not None and not self._finish.done():
            self._finish.set_result(None)
