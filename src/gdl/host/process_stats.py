"""What a server on the machine is doing while it starts: processor, memory, disk, network, GPU.

One small shell loop on the machine tells it every few seconds; it needs /proc and awk. Where these
are missing it tells nothing, and nothing is concluded from that.
"""

from __future__ import annotations

import shlex

from gdl.domain.lazy_dataclass import dataclass
from gdl.host import gpu

_GPU_EVERY = 2
"""A look at the GPU costs more than all others, so it is taken at every second one."""
_TICKS_PER_S = 100
"""Of /proc; Linux tells processes so on every architecture that has GPUs."""
_PAGE_KIB = 4

# Of each process of the server's session: state, major page faults, processor time, memory.
# Of the network: bytes in and out, without the machine's talk to itself.
_AWK = r"""
$2 !~ /^\(/ {
    if ($1 !~ /^lo:/ && sub(/^ *[^ ]+: */, "")) net += $1 + $9
    next
}
{
    sub(/^.*\) /, "")
    if ($4 != session || $1 == "Z") next
    count++; ticks += $12 + $13; reads += $10; pages += $22
    if ($1 == "D") waiting++
}
END { printf "V %d %.0f %.0f %.0f %.0f %d\n", count, ticks, reads, pages, net, waiting }
"""
_LOOP = r"""
number=0
while [ -r "/proc/$session/stat" ]; do
    cat /proc/net/dev /proc/[0-9]*/stat 2>/dev/null | awk -v session="$session" "$program" || exit 0
    if [ -n "$gpu" ] && [ $((number % every)) -eq 0 ]; then
        echo G; eval "$gpu" 2>/dev/null || gpu=
    fi
    echo .
    number=$((number + 1))
    sleep "$pause"
done
"""


@dataclass(frozen=True, slots=True)
class ProcessStats:
    """One look. busy_s: processor seconds so far, of all processes of the server; pages_read:
    read from disk; net_bytes: of the whole machine. waiting: some process waits for a disk.
    gpu_used_mib, gpu_total_mib: of all GPUs; gpu_percent: of the busiest. None: not told."""

    processes: int
    busy_s: float
    pages_read: int
    memory_mib: int
    net_bytes: int
    waiting: bool
    gpu_used_mib: int | None = None
    gpu_total_mib: int | None = None
    gpu_percent: int | None = None


def command(pid: int, *, has_gpu: bool, every_s: float) -> str:
    """The loop for the server whose process group and session `pid` leads. It ends with it."""
    words = {
        "session": str(pid),
        "program": _AWK,
        "gpu": gpu.COMMAND if has_gpu else "",
        "every": str(_GPU_EVERY),
        "pause": f"{every_s:g}",
    }
    return "".join(f"{k}={shlex.quote(v)}\n" for k, v in words.items()) + _LOOP


class Reader:
    """Turns the loop's output, in pieces of any size, into looks."""

    def __init__(self) -> None:
        self._rest = ""
        self._lines: list[str] = []
        self._gpu: tuple[int | None, int | None, int | None] = (None, None, None)

    def feed(self, data: bytes) -> list[ProcessStats]:
        """The looks that are complete now."""
        *lines, self._rest = (self._rest + data.decode("utf-8", "replace")).split("\n")
        self._rest = self._rest[-2000:]
        found = []
        for line in lines:
            if line != ".":
                self._lines = [*self._lines, line][-100:]
                continue
            if stats := self._look(self._lines):
                found.append(stats)
            self._lines = []
        return found

    def _look(self, lines: list[str]) -> ProcessStats | None:
        told = next((line.split()[1:] for line in lines if line.startswith("V ")), [])
        if len(told) != 6 or not all(word.isdecimal() and len(word) < 20 for word in told):
            return None
        count, ticks, pages_read, pages, net, waiting = (int(word) for word in told)
        if not count:
            return None
        if "G" in lines:
            self._gpu = _gpus(lines[lines.index("G") + 1 :])
        return ProcessStats(
            count,
            ticks / _TICKS_PER_S,
            pages_read,
            pages * _PAGE_KIB // 1024,
            net,
            waiting > 0,
            *self._gpu,
        )


def _gpus(lines: list[str]) -> tuple[int | None, int | None, int | None]:
    """(used, total, busiest) of all GPUs."""
    read = [found for line in lines if (found := gpu.reading(line)) is not None]
    used = [g.memory_used_mib for g in read if g.memory_used_mib is not None]
    total = [g.memory_total_mib for g in read if g.memory_total_mib is not None]
    percent = [g.utilization_percent for g in read if g.utilization_percent is not None]
    return sum(used) if used else None, sum(total) if total else None, max(percent, default=None)
