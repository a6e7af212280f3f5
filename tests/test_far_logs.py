"""A log on a machine behind a real line that is cut: an OpenSSH server in a network of its own, and
the kernel's own way of sending again. Needs root; elsewhere test_cuts.py cuts a relay."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from link import DelayedLink, delayed_link, why_not

from gdl.domain.secret import Secret
from gdl.domain.session import SshAddress
from gdl.ssh.connection import Target
from gdl.ssh.job_watch import Watch
from gdl.ssh.jobs import JobSpec
from gdl.ssh.reconnecting import Link
from gdl.ssh.tail import Stop, follow
from rushing_clock import RushingClock, in_rushing_time
from waiting import wait_until

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]

RATE = 100.0
SCRIPT = """
number=0
while [ ! -e go ]; do
    number=$((number + 1))
    echo "line $number"
    case $number in
        150) mv "$LOG" "$LOG.1"; : > "$LOG"; exec >> "$LOG";;
    esac
    sleep 0.02
done
echo "the end"
exit 7
"""


@pytest.fixture
def clock() -> RushingClock:
    return RushingClock()


@pytest.fixture
def far(tmp_path: Path) -> Iterator[DelayedLink]:
    with delayed_link(tmp_path / "far", rtt_ms=20) as link:
        yield link


@pytest.mark.parametrize("by_polling", [False, True])
@pytest.mark.parametrize("seconds", [5.0, 60.0, 600.0])
@in_rushing_time
async def test_a_job_and_its_log_outlive_a_cut(
    seconds: float, by_polling: bool, clock: RushingClock, far: DelayedLink, tmp_path: Path
) -> None:
    sshd = far.sshd
    target = Target(SshAddress(sshd.host, sshd.port, sshd.user), sshd.identity, tmp_path / "pin")
    link = Link(target, give_up_s=900)
    await link.connect()
    log = tmp_path / "job.log"
    spec = JobSpec(
        "work", str(tmp_path / "w"), SCRIPT, log=str(log), secret_env={"LOG": Secret(str(log))}
    )
    watch = await Watch.start(link, spec)
    stop, raw, lines = Stop(), bytearray(), list[str]()

    async def read() -> None:
        reading = follow(link, watch.job.log, stop=stop, sink=raw.extend, by_polling=by_polling)
        async for chunk in reading:
            lines.extend(chunk.lines)

    reading = asyncio.create_task(read())
    ended = asyncio.create_task(watch.wait(timeout=7200))
    await wait_until(lambda: len(lines) > 20)
    far.cut()
    with clock.rushing(min(seconds / 2, RATE)):
        await asyncio.sleep(seconds)
    far.mend()
    seen = len(lines)
    await wait_until(lambda: len(lines) > seen + 200)
    (tmp_path / "w" / "go").touch()
    status = await ended
    stop.set(status.log_size)
    await reading
    await link.aclose()
    assert status.exit_status == 7
    assert lines == [*(f"line {number + 1}" for number in range(len(lines) - 1)), "the end"]
    assert bytes(raw) == (tmp_path / "job.log.1").read_bytes() + log.read_bytes()
