"""What an answer says, read from its recorded pieces after the clock has stopped."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import orjson

from gdl.domain.secret import Secret
from gdl.domain.text import block, one_line
from gdl.endpoint.protocol import (
    TEXT_LIMIT,
    Fault,
    error_text,
    reasoning_of,
    redact,
    status_fault,
    token_count,
)
from gdl.loadgen.exchange import Exchange
from gdl.loadgen.sse import EventParser

_ERROR_BODY = 64 * 1024
_DONE = b"[DONE]"


@dataclass(frozen=True, slots=True)
class Sample:
    """One request as measured. Times in seconds; `start` and `sent` are `perf_counter`'s.

    start: when the clock began: when the request was sent or, in a load that follows a timetable,
    when it was due, so that a server that falls behind cannot hide it. ttft: to the first chunk
    with choices, None without one. latency: to the last of them (E2EL); to the failure when there
    was one. itls: the gaps between them. Token counts are the server's (`usage`), None without.
    error: one line, "" on success; kind: its stable name (connect, tls, timeout, http_NNN,
    truncated, protocol, stalled, stream, empty); hint: what helps, "" when nothing is known.
    """

    start: float
    sent: float
    ttft: float | None
    latency: float
    itls: tuple[float, ...] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None
    text: str = ""
    error: str = ""
    kind: str = ""
    hint: str = ""
    tag: int = 0

    @property
    def ok(self) -> bool:
        return not self.error

    @property
    def end(self) -> float:
        return self.start + self.latency

    @property
    def output(self) -> int:
        """Output tokens: the server's count, else the number of chunks with choices."""
        if self.output_tokens is not None:
            return self.output_tokens
        return 0 if self.ttft is None else len(self.itls) + 1


def decode(exchange: Exchange, key: Secret, *, with_text: bool = False) -> Sample:
    """The sample that an ended exchange amounts to. Never raises for what a server sent."""
    start = exchange.sent if exchange.due is None else exchange.due
    exchange.unframe()
    answer = _Answer(with_text)
    fault = exchange.fault
    try:
        if exchange.status == 200:
            answer.read(exchange)
            # What goes wrong after [DONE] takes nothing away from the answer.
            fault = None if answer.done else fault or _unfinished(exchange, answer)
        elif fault is None:
            fault = _refusal(exchange)
        if fault is None and not answer.times:
            fault = Fault("empty", "the answer was empty")
    except Fault as found:
        fault = found
    if fault is not None:
        fault = fault.without(key)
    times = answer.times
    end = times[-1] if times and fault is None else exchange.ended
    return Sample(
        start=start,
        sent=exchange.sent,
        ttft=times[0] - start if times else None,
        latency=end - start,
        itls=tuple([b - a for a, b in pairwise(times)]),
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        text=block("".join(answer.text), TEXT_LIMIT),
        error=(fault.message or fault.kind) if fault else "",
        kind=fault.kind if fault else "",
        hint=fault.hint if fault else "",
        tag=exchange.tag,
    )


def _unfinished(exchange: Exchange, answer: _Answer) -> Fault:
    """An answer that ended without [DONE]."""
    if not answer.events and exchange.pieces:
        start = b"".join(exchange.pieces)[:80].decode(errors="replace")
        return Fault("protocol", f"not a stream of events: {one_line(start, 80)!r}")
    return Fault("truncated", "the answer broke off: its stream ended before [DONE]")


def _refusal(exchange: Exchange) -> Fault:
    """Any status but 200, or none at all."""
    if exchange.status == 0:
        return Fault("truncated", "the connection was closed before an answer")
    body = b"".join(exchange.pieces)[:_ERROR_BODY].decode(errors="replace")
    return status_fault(exchange.status, body)


class _Answer:
    """The chunks of one answer. times: of those with choices."""

    __slots__ = ("done", "events", "input_tokens", "output_tokens", "text", "times", "with_text")

    def __init__(self, with_text: bool) -> None:
        self.with_text = with_text
        self.times: list[float] = []
        self.text: list[str] = []
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.events = 0
        self.done = False

    def read(self, exchange: Exchange) -> None:
        """Raises Fault on an error object or on nonsense."""
        parser = EventParser()
        pieces, times, loads = exchange.pieces, self.times, orjson.loads
        begin = 0
        for at, end in zip(exchange.times, exchange.counts, strict=True):
            while begin < end:
                piece = pieces[begin]
                # The usual piece, one event of one line, without a call.
                usual = (
                    parser.resting
                    and piece.startswith(b"data: ")
                    and piece.find(b"\n") == len(piece) - 2
                    and piece.endswith(b"\n")
                    and b"\r" not in piece
                )
                for data in (piece[6:-2],) if usual else parser.feed(piece):
                    self.events += 1
                    if data == _DONE:
                        self.done = True
                        return
                    try:
                        chunk = loads(data)
                        choices = chunk.get("choices")
                    except (ValueError, RecursionError, AttributeError):
                        raise _nonsense(data) from None
                    if choices:
                        times.append(at)
                        if self.with_text:
                            self._take_text(choices)
                        if "usage" not in chunk and "error" not in chunk:
                            continue
                    self._take_rest(chunk, data)
                begin += 1

    def _take_rest(self, chunk: dict[str, Any], data: bytes) -> None:
        """What few chunks have: an error, or the token counts."""
        if chunk.get("error") or chunk.get("object") == "error":
            reason = error_text(data.decode(errors="replace")) or "no reason given"
            raise Fault("stream", f"the server gave up: {reason}")
        usage = chunk.get("usage")
        if isinstance(usage, dict):
            self.input_tokens = token_count(usage.get("prompt_tokens"), self.input_tokens)
            self.output_tokens = token_count(usage.get("completion_tokens"), self.output_tokens)

    def _take_text(self, choices: Any) -> None:
        try:
            choice = choices[0]
            delta = choice.get("delta") or choice
            piece = delta.get("content") or delta.get("text") or reasoning_of(delta)
        except (LookupError, TypeError, AttributeError):
            raise Fault("protocol", "a chunk with malformed choices") from None
        if isinstance(piece, str):
            self.text.append(piece)


def _nonsense(data: bytes) -> Fault:
    text = one_line(data[:400].decode(errors="replace"), 80)
    return Fault("protocol", f"not a JSON object: {text!r}")


def refusal_text(exchange: Exchange, key: Secret) -> str:
    """The body of an answer that refused, for a look at why."""
    exchange.unframe()
    return redact(b"".join(exchange.pieces)[:_ERROR_BODY].decode(errors="replace"), key)
