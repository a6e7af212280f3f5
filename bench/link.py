"""A machine at a distance: an OpenSSH server behind a line with a delay, which can be cut.

    with delayed_link(folder, rtt_ms=60) as link:     # this thread is on the near side now
        subprocess.run(["ssh", *link.ssh_options, "true"])
        with link.far():
            server = subprocess.Popen(...)            # what is started here is on the far side
        link.cut()                                    # nothing gets through, nothing is refused
        link.mend()

The two sides are network namespaces of their own, so that nothing else of the computer is touched;
link_delay.c carries the packets between them. Linux, root and a C compiler are needed: `why_not`
says what is missing. By hand, until Ctrl-C: `python bench/link.py --rtt 60 -- COMMAND...`.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from real_sshd import SSHD, Sshd, real_sshd  # noqa: E402 - a part of the tests

NEAR, FAR = "10.77.0.1", "10.77.0.2"
_CLONE_NEWNET = 0x40000000
_CONGESTION = "/proc/sys/net/ipv4/tcp_congestion_control"
"""Of the namespace one is in."""


@dataclass(frozen=True)
class Counted:
    """Since the link was made; a large segment counts as one packet on a line without a limit."""

    packets_up: int
    bytes_up: int
    packets_down: int
    bytes_down: int
    dropped: int


class DelayedLink:
    """Use `delayed_link`. Up is from the near side to the far one."""

    def __init__(self, process: subprocess.Popen[str], near: int, far: int) -> None:
        self._process = process
        self._near = near
        self._far = far
        self._sshd: Sshd | None = None

    @property
    def sshd(self) -> Sshd:
        assert self._sshd is not None, "made without an SSH server"
        return self._sshd

    @property
    def ssh_options(self) -> list[str]:
        """For `ssh` of the command line: options and destination, nothing of the user's."""
        sshd = self.sshd
        known = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
        words = ["-F", "/dev/null", "-i", str(sshd.identity), "-p", str(sshd.port), *known]
        return [*words, "-o", "LogLevel=ERROR", f"{sshd.user}@{sshd.host}"]

    @contextlib.contextmanager
    def far(self) -> Iterator[None]:
        """What this thread opens and starts meanwhile is on the far side. Do not await in it."""
        with _inside(self._far):
            yield

    @contextlib.contextmanager
    def near(self) -> Iterator[None]:
        """Likewise; for threads other than the one that made the link."""
        with _inside(self._near):
            yield

    def cut(self) -> None:
        """Drop every packet from now on, without a word to either side."""
        self._say("cut")

    def mend(self) -> None:
        self._say("mend")

    def set_rtt(self, milliseconds: float) -> None:
        self._say(f"delay {milliseconds * 500:.0f}")

    def set_rate(self, mbit: float) -> None:
        """Megabits a second in each direction, 0 for no limit."""
        self._say(f"rate {mbit}")

    def counted(self) -> Counted:
        return Counted(*map(int, self._say("count").split()[1:]))

    def serve_ssh(self, sshd: Sshd) -> None:
        self._sshd = sshd

    def _say(self, line: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer and answer != "unknown", f"the link does not obey: {line}"
        return answer


def why_not() -> str | None:
    """What is missing for a link, or None: a reason to skip a test."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0 or not os.access("/dev/net/tun", os.W_OK):
        return "network namespaces and tun devices are root's"
    missing = [name for name in ("cc", "ssh-keygen", SSHD) if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


@contextlib.contextmanager
def delayed_link(
    folder: Path,
    rtt_ms: float,
    *,
    mbit: float = 0,
    queue_ms: float = 100,
    ssh: bool = True,
    sshd_options: tuple[str, ...] = (),
) -> Iterator[DelayedLink]:
    """A link; within the context the calling thread, and what it starts, is on the near side.

    mbit: limit of each direction, 0 for none; queue_ms: how much of it waits before packets are
    dropped. ssh: an OpenSSH server on the far side with a key made for it, its files in `folder`.
    Threads that exist already stay where they were (an executor's: name addresses, not hosts).
    """
    folder.mkdir(parents=True, exist_ok=True)
    program = _compiled(folder)
    limits = [str(mbit), str(int(max(mbit * 125 * queue_ms, 16_000)))] if mbit else []
    process = subprocess.Popen(
        [program, f"{rtt_ms * 500:.0f}", *limits],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(_end, process)
        assert process.stdout is not None
        words = process.stdout.readline().split()
        assert words[:1] == ["ready"], "the link was not made"
        sides = [os.open(f"/proc/{process.pid}/fd/{word}", os.O_RDONLY) for word in words[1:]]
        for side in sides:
            stack.callback(os.close, side)
        link = DelayedLink(process, *sides)
        for enter in (link.far, link.near):
            with enter():
                _without_bbr()
        if ssh:
            with link.far():
                link.serve_ssh(
                    stack.enter_context(real_sshd(folder / "sshd", *sshd_options, address=FAR))
                )
        stack.enter_context(link.near())
        yield link


def _without_bbr() -> None:
    """Linux's default, CUBIC, whatever this computer has, or its forerunner where a namespace may
    not choose it. BBR stops nearly all sending for a fifth of a second every ten seconds, which one
    measurement meets and the next does not."""
    for name in ("cubic", "reno"):
        with contextlib.suppress(OSError):
            Path(_CONGESTION).write_text(name)
            return


def _compiled(folder: Path) -> str:
    program = folder / "link_delay"
    if not program.exists():
        subprocess.run(["cc", "-O2", "-o", program, HERE / "link_delay.c"], check=True)
    return str(program)


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    process.wait(10)
    process.stdout.close()


@contextlib.contextmanager
def _inside(namespace: int) -> Iterator[None]:
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    def enter(space: int) -> None:
        if libc.setns(space, _CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "setns")

    try:
        enter(namespace)
        try:
            yield
        finally:
            enter(before)
    finally:
        os.close(before)


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs COMMAND (a shell) on the near side.")
    parser.add_argument("--rtt", type=float, default=60, help="milliseconds there and back")
    parser.add_argument("--mbit", type=float, default=0)
    parser.add_argument("command", nargs="*", default=["sh"])
    options = parser.parse_args()
    if reason := why_not():
        sys.exit(reason)
    with (
        tempfile.TemporaryDirectory() as folder,
        delayed_link(Path(folder), options.rtt, mbit=options.mbit) as link,
    ):
        print(f"ssh {' '.join(link.ssh_options)}", file=sys.stderr)
        with contextlib.suppress(KeyboardInterrupt):
            sys.exit(subprocess.run(options.command, check=False).returncode)


if __name__ == "__main__":
    main()
