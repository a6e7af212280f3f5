"""Sends the requests of one load, in a closed loop or by a timetable, and gathers what ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter

from gdl.domain.secret import Secret
from gdl.endpoint.protocol import Fault
from gdl.loadgen.decode import Sample, decode
from gdl.loadgen.exchange import Exchange
from gdl.loadgen.request_template import RequestTemplate
from gdl.loadgen.strain import Strain, StrainMonitor
from gdl.loadgen.transport import Transport
from gdl.loadgen.workload import Conversation

HELD_PIECES = 1_000_000
"""Pieces of answers (some 350 bytes each) that are kept until the clock stops. Beyond that,
answers are decoded between others, which the loop's lag shows."""
_OPEN_CONNECTIONS = 64
_MOST_CONNECTIONS = 4096
_PORTION = 32

Progress = Callable[[int, int], None]
"""Called with (requests ended, requests in all)."""


class _OngoingConversation:
    """A conversation that is under way. request: its next turn, ready to be sent."""

    __slots__ = ("answers", "conversation", "request")

    def __init__(self, conversation: Conversation, request: bytes) -> None:
        self.conversation = conversation
        self.request = request
        self.answers: tuple[str, ...] = ()


class LoadDriver:
    """Driven by the ends of exchanges alone: no task per request, nothing to wake up.

    concurrency: so many at a time, each followed by the next; None: each conversation when it is
    `due`, in seconds after the begin. turns: of each conversation, at most. watch: runs while the
    clock does.
    """

    def __init__(
        self,
        transport: Transport,
        request_template: RequestTemplate,
        conversations: Sequence[Conversation],
        key: Secret,
        *,
        concurrency: int | None,
        due: Sequence[float] = (),
        turns: int | None = None,
        on_progress: Progress | None = None,
        watch: StrainMonitor | None = None,
    ) -> None:
        self._transport = transport
        self._request_template = request_template
        self._concurrency = concurrency
        self._due = due
        self._watch = watch
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
        self._sent = 0
        self._place = 0
        self._ended: list[Exchange] = []
        self._held = 0
        self._running = 0
        self.began = 0.0
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None
        self._finish: asyncio.Future[None] | None = None
        self.early: dict[Exchange, Sample] = {}
        self.on_sample: Callable[[Sample], None] | None = None
        self.strain = Strain()

    def _turns_of(self, ongoing: _OngoingConversation) -> int:
        turns = len(ongoing.conversation.turns)
        return turns if self._turns is None else min(turns, self._turns)

    @property
    def last_end(self) -> float:
        """When the last exchange ended."""
        return max((exchange.ended for exchange in self._ended), default=self.began)

    async def open(self) -> None:
        """Have the connections open. Raises VerificationError when nothing answers."""
        self._transport.elastic = self._concurrency is None
        await self._transport.open(self._at_once)

    @property
    def _at_once(self) -> int:
        most = self._concurrency or _OPEN_CONNECTIONS
        return min(most, len(self._conversations), _MOST_CONNECTIONS)

    async def run(self, limit_s: float | None = None) -> list[Exchange]:
        """Everything, once it is open: all exchanges in the order in which they ended."""
        if not self._conversations:
            return []
        self._finish = asyncio.get_running_loop().create_future()
        if self._watch is not None:
            self._watch.start()
        self.began = perf_counter()
        try:
            if self._concurrency is not None:
                self._send_first(self._at_once)
            else:
                self._send_due()
            await self._until_finished(limit_s)
        finally:
            if self._watch is not None:
                self.strain = self._watch.stop()
            if self._timer is not None:
                self._timer.cancel()
            self._stopped = True
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

    def _send_first(self, left: int) -> None:
        """Closed loop: the first ones in portions, so that what is answered at once does not wait
        until the last one is sent."""
        for _ in range(min(left, _PORTION)):
            self._next()
        if left > _PORTION:
            asyncio.get_running_loop().call_soon(self._send_first, left - _PORTION)

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
            due = self.began + self._due[self._place]
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
        if self._concurrency is not None:
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
