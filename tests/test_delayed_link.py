"""The line with a delay that benches and tests put between themselves and a real OpenSSH server."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import link
import pytest

pytestmark = pytest.mark.skipif(link.why_not() is not None, reason=str(link.why_not()))


def test_what_is_sent_arrives_late_and_is_counted(tmp_path: Path) -> None:
    with link.delayed_link(tmp_path, rtt_ms=40, ssh=False) as line:
        with line.far():
            server = socket.create_server((link.FAR, 7000))
        with server, socket.create_connection((link.FAR, 7000)) as near, server.accept()[0] as far:
            before, began = line.counted(), time.monotonic()
            near.sendall(b"there")
            assert far.recv(5) == b"there"
            far.sendall(b"back")
            assert near.recv(4) == b"back"
            assert time.monotonic() - began >= 0.04
            assert line.counted().packets_down > before.packets_down
            # A cut refuses nothing: what was sent arrives when the line is mended.
            line.cut()
            near.sendall(b"later")
            far.settimeout(0.2)
            with pytest.raises(TimeoutError):
                far.recv(5)
            line.mend()
            far.settimeout(20)
            assert far.recv(5) == b"later"
            assert line.counted().dropped > 0


def test_a_limited_line_takes_its_time(tmp_path: Path) -> None:
    with link.delayed_link(tmp_path, rtt_ms=1, mbit=10, ssh=False) as line:
        with line.far():
            server = socket.create_server((link.FAR, 7000))
        with server, socket.create_connection((link.FAR, 7000)) as near, server.accept()[0] as far:
            began, left = time.monotonic(), 500_000
            near.setblocking(False)
            sent = near.send(b"x" * left)
            near.setblocking(True)
            left = sent
            while left:
                left -= len(far.recv(left))
            assert time.monotonic() - began >= sent * 8 / 10e6 * 0.8


def test_an_ssh_server_is_on_the_far_side(tmp_path: Path) -> None:
    before = Path("/proc/thread-self/ns/net").readlink()
    with link.delayed_link(tmp_path, rtt_ms=2) as line:
        words = ["ssh", *line.ssh_options, "echo $SSH_CONNECTION"]
        told = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
        assert told[0] == link.NEAR and told[2] == link.FAR
    # And this thread is where it was.
    assert Path("/proc/thread-self/ns/net").readlink() == before
