"""What the GPUs suffer from: clocks that fell, memory errors, and errors the driver wrote down."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter

from gdl.domain.errors import GdlError
from gdl.domain.host import CommandResult, CommandRunner
from gdl.domain.lazy_dataclass import dataclass
from gdl.host.gpu import GpuStatus, gpu_status, number

_FIELDS = ("clocks.sm", "clocks.max.sm", "ecc.errors.uncorrected.volatile.total")
# One line a GPU; then, where the machine lets us read it, what the driver told the kernel.
COMMAND = (
    f"LC_ALL=C nvidia-smi --query-gpu={','.join(_FIELDS)} --format=csv,noheader,nounits"
    " 2>/dev/null | sed 's/^/C /'; dmesg 2>/dev/null | grep 'NVRM: Xid' | tail -n 50"
)
_XID = re.compile(r"NVRM: Xid \([^)]{1,80}\): (\d{1,4})\b")
_MEANINGS = {
    13: "graphics engine exception",
    31: "memory page fault",
    48: "double-bit memory error",
    63: "memory row remapped",
    64: "memory row not remapped",
    74: "NVLink error",
    79: "fell off the bus",
    94: "contained memory error",
    95: "uncontained memory error",
    119: "its own processor hangs",
}
_LIMIT_S = 15.0
WATCH_EVERY_S = 5.0
_TWICE = 2


@dataclass(frozen=True, slots=True)
class GpuErrors:
    """clocks: (now, most) in MHz of each GPU that tells. uncorrected: memory errors since the
    driver was loaded, None where they are not counted. xids: how often each error was written."""

    clocks: tuple[tuple[int, int], ...] = ()
    uncorrected: int | None = None
    xids: tuple[tuple[int, int], ...] = ()

    @property
    def told(self) -> str:
        """The clocks and all errors in a few words; "" where nothing is told."""
        parts = [f"{now}/{most} MHz" for now, most in self.clocks]
        return ", ".join(part for part in ("; ".join(parts), self.memory, self.driver) if part)

    @property
    def memory(self) -> str:
        """ "" without an error that was not put right."""
        count = self.uncorrected or 0
        return f"{count} uncorrectable memory error{'s' * (count != 1)}" if count else ""

    @property
    def driver(self) -> str:
        """ "" without an error that the driver wrote down."""
        return ", ".join(
            f"Xid {xid}{f' ({_MEANINGS[xid]})' if xid in _MEANINGS else ''}"
            f"{f' x {count}' if count > 1 else ''}"
            for xid, count in self.xids
        )

    def since(self, earlier: GpuErrors) -> GpuErrors:
        """What came after `earlier`; the clocks of now."""
        known = dict(earlier.xids)
        xids = ((xid, count - known.get(xid, 0)) for xid, count in self.xids)
        more = (self.uncorrected or 0) - (earlier.uncorrected or 0)
        return GpuErrors(self.clocks, max(more, 0), tuple(one for one in xids if one[1] > 0))


async def gpu_errors(runner: CommandRunner) -> GpuErrors:
    """Ask the machine. Raises SshError when it cannot be reached."""
    return parse(await runner.run(COMMAND, timeout=_LIMIT_S))


def parse(result: CommandResult) -> GpuErrors:
    """Never raises, whatever the machine said."""
    clocks, errors, xids = [], [], Counter[int]()
    for line in result.stdout.splitlines()[:200]:
        if found := _XID.search(line):
            xids[int(found.group(1))] += 1
        parts = line.removeprefix("C ").split(",")
        if not line.startswith("C ") or len(parts) != len(_FIELDS):
            continue
        now, most, uncorrected = (number(part) for part in parts)
        if now is not None and most is not None:
            clocks.append((round(now), round(most)))
        if uncorrected is not None:
            errors.append(round(uncorrected))
    return GpuErrors(tuple(clocks), sum(errors) if errors else None, tuple(sorted(xids.items())))


class GpuWatch:
    """The GPUs of a machine, looked at now and then beside everything else. now: one line, "" while
    nothing is known. trouble: what began since the watch did, "" while all is well; a driver that
    does not answer counts when it has not twice."""

    def __init__(self, runner: CommandRunner) -> None:
        self.now = self.trouble = ""
        self._runner = runner
        self._first: GpuErrors | None = None
        self._failures = 0

    async def run(self) -> None:
        """Without end; a machine that cannot be reached is somebody else's news."""
        while True:
            with contextlib.suppress(GdlError):
                self.take(*await asyncio.gather(gpu_status(self._runner), gpu_errors(self._runner)))
            await asyncio.sleep(WATCH_EVERY_S)

    def take(self, status: GpuStatus, worn: GpuErrors) -> None:
        self._failures = self._failures + 1 if status.error else 0
        self.now = ", ".join(part for part in (status.summary, worn.told) if part)
        if self._first is None:
            self._first = worn
        fresh = worn.since(self._first)
        failing = status.error if self._failures >= _TWICE else ""
        self.trouble = ", ".join(part for part in (failing, fresh.memory, fresh.driver) if part)
