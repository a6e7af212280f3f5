"""Of several machines that serve one model together: which one failed first. When one ends, the
others fail for want of it, and their logs say so at length."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gdl.domain.lazy_dataclass import dataclass

_ERROR = re.compile(r"\b(ERROR|CRITICAL|FATAL)\b|Traceback \(most recent call last\)|\bKilled\b")
_OF_ANOTHER = re.compile(
    r"closed by peer|reset by peer|broken pipe|remote process exited|connection (was )?closed|"
    r"connection refused|heartbeat|TCPStore|Connection ?(Reset|Refused|Closed)|"
    r"DistNetworkError|socket timeout|timed? ?out|cancelled",
    re.IGNORECASE,
)
"""What is said when another one is gone, or does not come."""

_LONG_S = 120.0
"""Who goes on for so long after an error has not failed by it."""


@dataclass(frozen=True, slots=True)
class RankSeen:
    """When, in seconds of one clock, its log first told of an error of its own, and when it
    ended; None: not so far."""

    error_at: float | None = None
    ended_at: float | None = None


def is_error(line: str) -> bool:
    """Whether a line of a log tells of an error, its own or another's."""
    return bool(_ERROR.search(line))


def own(lines: Sequence[str]) -> bool:
    """Whether an error is not merely another's end, by the lines that tell of it: what begins as
    a traceback may say only at its end that the connection was closed."""
    return not any(_OF_ANOTHER.search(line) for line in lines)


def failed_first(ranks: Sequence[RankSeen]) -> int:
    """Number of the rank that failed first, as far as their logs and ends tell. Of those that have
    ended, or told of an error of their own not long before, the earliest; rank 0 where none has."""
    since = min((s.ended_at for s in ranks if s.ended_at is not None), default=0.0) - _LONG_S
    told = [
        (min(times), number)
        for number, seen in enumerate(ranks)
        if (times := [at for at in (seen.error_at, seen.ended_at) if at is not None and at > since])
    ]
    return min(told)[1] if told else 0
