"""Who ended a process of ours: what the kernel says of those that it ended for want of memory."""

from __future__ import annotations

from gdl.domain.host import CommandRunner
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.text import one_line

_RECENT_S = 120
_LINES = 20
_SHOWN = 3

# The kernel's log stamps lines with seconds since the machine began, and may hold days; a container
# cannot read it everywhere, but counts such ends itself (cgroup version 2, then 1).
_SCRIPT = rf"""
read -r up rest < /proc/uptime 2>/dev/null || exit 0
dmesg 2>/dev/null | grep -E 'Killed process|oom-kill' | tail -n {_LINES} |
    awk -v from="$up" '{{ at = $0; sub(/^(<[0-9]+>)?\[ */, "", at)
        if (at + 0 > from - {_RECENT_S}) print "K " $0 }}'
for file in /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control; do
    [ -r "$file" ] && sed -n 's/^oom_kill /C /p' "$file" && break
done
exit 0
"""


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """lines: the kernel's, of the last two minutes. count: how many processes of this container
    were ended so since it began; None: not told."""

    lines: tuple[str, ...] = ()
    count: int | None = None

    def since(self, before: OutOfMemory | None) -> tuple[str, ...]:
        """What shows that it has happened since `before`; () when nothing does."""
        if self.lines:
            return self.lines[-_SHOWN:]
        if before is None or None in (self.count, before.count):
            return ()
        more = (self.count or 0) - (before.count or 0)
        if more <= 0:
            return ()
        return (f"the container's count of processes ended for want of memory rose by {more}",)


async def out_of_memory(runner: CommandRunner, *, timeout: float = 10.0) -> OutOfMemory:
    """Raises SshError when the machine cannot be reached."""
    return parse((await runner.run(_SCRIPT, timeout=timeout)).stdout)


def parse(text: str) -> OutOfMemory:
    """Never raises, whatever was printed."""
    lines = [one_line(line[2:], 300) for line in text.splitlines() if line.startswith("K ")]
    counts = [line[2:] for line in text.splitlines() if line.startswith("C ")]
    count = int(counts[0][:12]) if counts and counts[0].isdecimal() else None
    return OutOfMemory(tuple(lines[-_LINES:]), count)
