"""A terminal that goes away, or takes nothing any more: nobody waits for it, and nothing stays."""

from __future__ import annotations

import contextlib
import os
import pty
import random
import sys
import threading
import time
from pathlib import Path

import pytest

from closed_terminals import LIMIT_S, closing, random_round
from gdl.tui.terminal import MOST_PENDING, TerminalOutput
from waiting import block_until

DEMO = (sys.executable, "-m", "gdl", "demo")
A_LOT = "x" * 50_000
ROUNDS = 200


def test_a_terminal_that_is_gone_is_told_once_and_takes_no_time() -> None:
    near, far = pty.openpty()
    told: list[str] = []
    output = TerminalOutput(far, "utf-8", lambda: told.append("gone"), lambda: None)
    output.start()
    os.close(near)
    output.write("a frame")
    block_until(lambda: output.gone)
    for _ in range(1000):
        output.write(A_LOT)
    output.give_up()
    assert not output.stop()
    assert told == ["gone"]
    os.close(far)


def test_a_terminal_that_takes_nothing_loses_frames_and_is_drawn_again_later() -> None:
    near, far = pty.openpty()
    again = threading.Event()
    output = TerminalOutput(far, "utf-8", lambda: None, again.set)
    output.start()
    for _ in range(2 * MOST_PENDING // len(A_LOT)):
        output.write(A_LOT)
    output.write("the end")
    assert not output.stop(), "it was not waited for"
    taken = bytearray()
    while not taken.endswith(b"the end"):
        taken += os.read(near, 65536)
    assert len(taken) < 1.5 * MOST_PENDING
    assert again.wait(10)
    os.close(near)
    os.close(far)


def test_a_terminal_that_was_slow_to_stop_is_written_to_by_one_thread_afterwards() -> None:
    near, far = pty.openpty()
    output = TerminalOutput(far, "utf-8", lambda: None, lambda: None)
    output.start()
    output.write(A_LOT)
    assert not output.stop(), "it was not waited for"
    output.start()
    output.start()
    writers = [each for each in threading.enumerate() if each.name == "terminal-output"]
    assert len(writers) == 1
    output.write("the end")
    taken = bytearray()
    while not taken.endswith(b"the end"):
        taken += os.read(near, 65536)
    assert taken == f"{A_LOT}the end".encode()
    assert output.stop()
    os.close(near)
    os.close(far)


@pytest.mark.parametrize(
    ("way", "first"),
    [
        ("closed", "Starting"),
        ("closed unheard", "RTX"),
        ("stalled", "RTX"),
    ],
)
def test_the_terminal_ui_ends_with_its_terminal(way: str, first: str, tmp_path: Path) -> None:
    with closing(tmp_path, DEMO, way) as ui:
        block_until(lambda: ui.shows(first), limit_s=30)
        if way == "stalled":
            # More than fits on the way to it.
            for _ in range(200):
                ui.type("?\x1b")
        ui.close()
        # Time enough for a busy computer; the soak below measures.
        assert ui.ends_within(20), ui.left()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_closings_in_any_state_leave_nothing(tmp_path: Path) -> None:
    chance = random.Random(7)
    report: list[str] = []
    slow = 0
    began = time.monotonic()
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        good, _ = random_round(chance, folder, report)
        slow += not good
    with contextlib.suppress(OSError):
        (tmp_path / "report").write_text("\n".join(report))
    assert slow == 0, f"{slow} of {ROUNDS} after {LIMIT_S:g} s ({time.monotonic() - began:.0f} s)"
