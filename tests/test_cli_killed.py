"""Processes that are killed, and terminals that go away, while the market lives on beside them.

The market is `gdl-tui sandbox` in a process of its own; what it says is rented is the truth.
"""

from __future__ import annotations

import json
import os
import pty
import random
import select
import signal
import subprocess
import termios
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from test_sandbox_cli import ENTRY, environment, gdl
from waiting import block_until

pytestmark = pytest.mark.long

KILLS = 6
LIMIT_S = 30.0


@dataclass
class Market:
    """A simulated market, and a user's folder beside it."""

    folder: Path
    url: str

    def ours(self, *words: str, code: int = 0) -> list[dict[str, Any]]:
        """What a command prints with --json."""
        done = gdl(self.folder, *words, "--backend", "sandbox", "--json", GDL_SANDBOX__URL=self.url)
        assert done.returncode == code, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def rented(self) -> set[str]:
        """The sessions that cost money, as the market itself has them."""
        with urllib.request.urlopen(f"{self.url}/api/v1/sessions", timeout=10) as answer:
            rows = json.load(answer)["sessions"] or []
        return {row["id"] for row in rows if row["status"] not in ("stopped", "failed")}

    def end(self, ident: str) -> None:
        """Have a session destroyed. What the kill cut off while it was made cannot be proven to be
        gone: whoever has looked at the market says so."""
        words = ("destroy", ident, "--yes", "--backend", "sandbox")
        done = gdl(self.folder, *words, GDL_SANDBOX__URL=self.url)
        if done.returncode == 9:
            assert ident not in self.rented(), done.stderr
            done = gdl(self.folder, *words, "--seen-gone", GDL_SANDBOX__URL=self.url)
        assert done.returncode == 0, done.stderr

    def start(self, *words: str, **how: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*ENTRY, "--backend", "sandbox", *words],
            env=environment(self.folder, GDL_SANDBOX__URL=self.url, TERM="xterm-256color"),
            start_new_session=True,
            **how,
        )


@pytest.fixture
def market(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Market]:
    speed = str(getattr(request, "param", 40))
    service = subprocess.Popen(
        [*ENTRY, "sandbox", "--port", "0", "--scenario", "calm", "--speed", speed],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(tmp_path / "service"),
    )
    try:
        assert service.stdout is not None
        yield Market(tmp_path / "user", service.stdout.readline().strip().partition("=")[2])
    finally:
        service.send_signal(signal.SIGINT)
        service.communicate(timeout=LIMIT_S)


@pytest.mark.minute
def test_nothing_is_lost_by_a_kill_at_any_moment(market: Market) -> None:
    chance = random.Random(4)
    for number in range(KILLS):
        deploy = market.start(
            *("deploy", "tinyllama", "--no-bench", "--destroy", "--new"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(chance.uniform(0.8, 3.5))
        deploy.kill()
        deploy.wait()
        if number % 3 == 2:
            continue  # the next deployment finds it in its way, or beside it
        before = market.rented()
        told = {row["id"]: row for row in market.ours("sessions")}
        billing = {ident for ident, row in told.items() if row["billing"] != "released"}
        # A request that the kill cut off is undone by the market in its own time: whether it has
        # been is in doubt for us until we ask for its end.
        truth = before & market.rented()
        assert truth <= billing, f"kill {number}: {truth - billing} bills unseen"
        for ident in sorted(billing):
            market.end(ident)
        assert market.rented() == set()
        left = [row for row in market.ours("sessions") if row["billing"] != "released"]
        assert left == [], f"kill {number}"
    *_, end = market.ours("deploy", "tinyllama", "--no-bench", "--destroy", "--new")
    assert (end["outcome"], end["billing"]) == ("released", "released")
    for ident in sorted(market.rented()):
        market.end(ident)
    assert market.rented() == set()
    # Of machines that are gone no key is kept.
    assert list((market.folder / "data" / "keys").glob("*.pem")) == []


@pytest.mark.parametrize("market", [5], indirect=True)
def test_a_terminal_that_goes_away_gives_the_machine_back(market: Market) -> None:
    near, far = pty.openpty()
    termios.tcsetwinsize(far, (30, 100))
    ui = market.start(stdin=far, stdout=far, stderr=far)
    os.close(far)
    screen = bytearray()

    def shows(words: str) -> bool:
        while select.select([near], [], [], 0.05)[0]:
            try:
                screen.extend(os.read(near, 65536))
            except OSError:  # the other end is closed
                return False
        return words.encode() in screen

    try:
        for words, keys in (
            ("RTX", "\r"),
            ("Which model", "tinyllama\r"),
            ("Deploy this", "y"),
        ):
            block_until(lambda words=words: shows(words))  # type: ignore[misc]
            screen.clear()
            os.write(near, keys.encode())
        block_until(lambda: [shows(""), market.rented()][1])
        # The kernel sends one, the shell another, and whoever waits for it a third.
        for number in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
            ui.send_signal(number)
            time.sleep(0.2)
        block_until(lambda: [shows(""), ui.poll() is not None][1])
        assert ui.returncode == 8
        assert market.rented() == set()
    finally:
        os.close(near)
        if ui.poll() is None:
            ui.kill()
            ui.wait()
