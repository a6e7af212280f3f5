"""What a signal says of the process that it ended."""

from __future__ import annotations

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.remedies import Remedy, RemedyKind

_HANGUP, _ARITHMETIC, _CRASH, _ASKED = 1, 8, 11, 15

_SIGNALS = {
    1: (
        "The terminal or service that it was started from is gone (signal 1).",
        "Start it again, detached from the terminal (setsid, nohup or a service).",
        "",
    ),
    4: (
        "The processor lacks an instruction that this build uses (signal 4).",
        "Take a machine with a newer processor (AVX2 or AVX-512).",
        "next",
    ),
    6: ("The process aborted itself (signal 6).", "Read the lines above it in the log.", ""),
    7: (
        "A memory page could not be had (signal 7), mostly because shared memory is too small.",
        "Give the container more shared memory, or take the next offer.",
        "next",
    ),
    8: (
        "The process made an invalid calculation (signal 8), as compiled kernels do on a GPU or "
        "processor that they do not fit.",
        "Start it again; if it ends the same way, choose another release of the engine.",
        "fix",
    ),
    9: (
        "The process was killed (signal 9), probably because memory ran out.",
        "Take a machine with more RAM, or a smaller model.",
        "next",
    ),
    11: (
        "The process crashed (signal 11).",
        "Start it again; if it crashes again, choose another release of the engine.",
        "fix",
    ),
    15: ("The process was asked to end (signal 15).", "Start it again.", ""),
}


@dataclass(frozen=True, slots=True)
class EndedBy:
    """kind: as a rule's, or ""."""

    number: int
    cause: str
    remedy: str
    kind: str
    action: Remedy


def ended_by(exit_status: int | None) -> EndedBy | None:
    """For an exit status of -N, or 128 + N as a shell tells it; None for any other."""
    if exit_status is None:
        return None
    signal = -exit_status if exit_status < 0 else exit_status - 128
    if not 0 < signal < 65:
        return None
    cause, remedy, kind = _SIGNALS.get(
        signal, (f"The process was ended by signal {signal}.", "Read the log.", "")
    )
    # A crash may have been bad luck; a process that was killed will be killed again.
    again = signal in (_HANGUP, _ARITHMETIC, _CRASH, _ASKED)
    action = Remedy(RemedyKind.RESTART if again else RemedyKind.NEXT)
    return EndedBy(signal, cause, remedy, kind, action)
