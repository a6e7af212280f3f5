"""Ctrl-C, SIGTERM and readers that leave, with real signals, pipes and a real terminal."""

from __future__ import annotations

import array
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from cli_process import LIMIT_S, PROGRAM, Start, start
from gdl.cli.signals import handled
from waiting import block_until, wait_until

__all__ = ["start"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_deploying_cancels_and_waits_for_the_release(
    start: Start, number: signal.Signals
) -> None:
    run = start("busy", "deploy", "m", "--json")
    line = run.process.stdout.readline()  # type: ignore[union-attr]
    assert json.loads(line)["type"] == "deployment_planned"
    run.send(number)
    run.until("cancelling: releasing the machine")
    assert run.end() == 8
    last = json.loads(run.out.splitlines()[-1])
    assert (last["type"], last["outcome"]) == ("deployment_finished", "cancelled")
    assert last["billing"] == "released"
    assert run.calls == ["deploy", "cancel", "aclose"]


def test_a_reader_that_stops_reading_stops_nothing(start: Start) -> None:
    """It is released all the same; who reads on then finds every event, in order."""
    run = start("talks", "deploy", "m", "--json")
    block_until(lambda: run.calls == ["deploy"], limit_s=LIMIT_S)
    assert run.process.stdout is not None
    # The pipe is full, and nobody reads.
    block_until(lambda: waiting(run.process.stdout.fileno()) > 40_000, limit_s=LIMIT_S)  # type: ignore[union-attr]
    run.send(signal.SIGINT)
    run.until("cancelling: releasing the machine")
    block_until(lambda: run.calls == ["deploy", "cancel", "aclose"], limit_s=LIMIT_S)
    told = [json.loads(line) for line in run.out.splitlines()]
    assert [each["seq"] for each in told] == list(range(1, len(told) + 1))
    assert (told[-1]["type"], told[-1]["billing"]) == ("deployment_finished", "released")
    assert run.end() == 8


def waiting(pipe: int) -> int:
    """Bytes in it that nobody has read."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def test_a_second_ctrl_c_stops_waiting_and_says_that_it_may_bill(start: Start) -> None:
    run = start("stuck", "deploy", "m", "--json")
    run.process.stdout.readline()  # type: ignore[union-attr]
    run.send(signal.SIGINT)
    run.until("press Ctrl-C again")
    run.send(signal.SIGINT)
    assert run.end() == 9
    last = json.loads(run.out.splitlines()[-1])
    assert (last["type"], last["outcome"]) == ("deployment_finished", "cancelled")
    assert (last["billing"], last["session_id"]) == ("unknown", "sess-1")
    assert run.calls == ["deploy", "cancel"]


@pytest.mark.parametrize(
    ("scenario", "first", "then"),
    [
        ("stuck on own", "cancelling: ending what runs on your machine", "your machine had ended"),
        ("stuck without", "cancelling (press", "stopped waiting for its end"),
    ],
)
def test_what_bills_nobody_is_not_said_to(
    start: Start, scenario: str, first: str, then: str
) -> None:
    run = start(scenario, "deploy", "m", "--json")
    run.process.stdout.readline()  # type: ignore[union-attr]
    run.send(signal.SIGINT)
    run.until("press Ctrl-C again")
    run.send(signal.SIGINT)
    assert run.end() == 8
    last = json.loads(run.out.splitlines()[-1])
    assert (last["billing"], last["kind"]) == ("none", "cancelled")
    assert first in run.told and then in last["error"]
    assert "billing" not in run.told and "releas" not in last["error"]


def test_what_is_kept_on_ones_own_machine_does_not_bill(start: Start) -> None:
    run = start("hold own", "attach", "sess-1")
    run.until("press Ctrl-C to end")
    run.send(signal.SIGTERM)
    run.until("closing the tunnel; the machine keeps serving\n")
    assert run.end() == 0


def test_what_is_left_before_it_is_reached_is_not_said_to_serve(start: Start) -> None:
    run = start("stuck", "attach", "sess-1")
    run.until("install vLLM")
    run.send(signal.SIGTERM)
    run.until("the machine stays as it is, and keeps billing")
    run.send(signal.SIGTERM)
    run.until("it was not reached, and may not serve; the machine keeps billing")
    assert run.end() == 0


def test_holding_prints_the_endpoint_and_releases_at_ctrl_c(start: Start) -> None:
    run = start("hold", "deploy", "m")
    run.until("press Ctrl-C to end")
    run.send(signal.SIGINT)
    run.until("releasing the machine")
    assert run.end() == 0
    assert run.out.splitlines() == [
        "OPENAI_BASE_URL=http://127.0.0.1:40404/v1",
        "OPENAI_MODEL=smollm2",
        "OPENAI_API_KEY_FILE='/keys/a b.api'",
        "GDL_SESSION=sess-1",
        "GDL_DEPLOYMENT=20260101-120000-abcdef",
    ]
    assert run.calls == ["deploy", "release", "aclose"]


def test_at_a_terminal_ctrl_c_asks_and_each_answer_is_obeyed(start: Start) -> None:
    run = start("hold", "deploy", "m", terminal=True)
    run.until("press Ctrl-C to end")
    run.send(signal.SIGINT)
    run.until("[Y/n/c]")
    run.type("c\n")
    run.until("holding the tunnel open; press Ctrl-C to end")
    assert run.calls == ["deploy"]
    run.send(signal.SIGINT)
    run.until("continue) c\n")
    run.told = ""
    run.until("[Y/n/c]")
    run.type("n\n")
    run.until("the machine keeps serving and billing")
    assert run.end() == 0
    assert run.calls == ["deploy", "keep", "aclose"]


def test_at_a_terminal_enter_means_release(start: Start) -> None:
    run = start("hold", "deploy", "m", terminal=True)
    run.until("press Ctrl-C to end")
    run.send(signal.SIGINT)
    run.until("[Y/n/c]")
    run.type("\n")
    run.until("releasing the machine")
    assert run.end() == 0
    assert run.calls == ["deploy", "release", "aclose"]


def test_attach_ends_by_keeping_what_was_serving(start: Start) -> None:
    run = start("hold", "attach", "sess-1")
    run.until("press Ctrl-C to end")
    run.send(signal.SIGTERM)
    assert run.end() == 0
    assert run.calls == ["attach sess-1", "deploy", "keep", "aclose"]


def test_a_reader_that_leaves_ends_it_quietly_and_still_releases(start: Start) -> None:
    run = start("hold", "deploy", "m", "--json")
    run.process.stdout.readline()  # type: ignore[union-attr]
    run.process.stdout.close()  # type: ignore[union-attr]
    run.process.stdout = None
    assert run.end() == 141
    told = run.process.stderr.read().decode()  # type: ignore[union-attr]
    assert "Traceback" not in told and "Exception ignored" not in told
    assert run.calls[0] == "deploy" and run.calls[-1] == "aclose"
    assert {"cancel", "release"} & set(run.calls)


def test_a_full_disk_behind_stdout_is_an_error(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, str(PROGRAM), "destroy", "models", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "GDL_DATA_DIR": str(tmp_path)},
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot write the output: No space left")


def test_destroy_interrupted_may_still_bill(start: Start) -> None:
    run = start("stuck", "destroy", "sess-1", "--yes", CLI_BILLS="1")
    run.until("releasing sess-1")
    run.send(signal.SIGINT)
    time.sleep(0.1)
    run.send(signal.SIGINT)
    run.until("hint: ")
    assert run.end() == 9


def test_what_cannot_be_kept_is_not_offered_to_be_kept(start: Start) -> None:
    run = start("hold", "deploy", "m", terminal=True, CLI_ENDS_WITH_IT="1")
    run.until("press Ctrl-C to end")
    run.send(signal.SIGINT)
    run.until("n continue: it cannot continue without this program) ")
    run.type("n\n")
    run.until("holding the tunnel open; press Ctrl-C to end")
    # Whatever was answered, a terminal that goes away ends it.
    run.send(signal.SIGHUP)
    assert run.end() == 0
    assert run.calls == ["deploy", "release", "aclose"]


def test_nobody_waits_for_a_terminal_that_takes_nothing(start: Start) -> None:
    run = start("hold", "deploy", "m", terminal=True)
    # With the end of its line: a write that is under way would be stopped with the terminal.
    run.until("press Ctrl-C to end\n")
    termios.tcflow(run.far, termios.TCOOFF)  # as Ctrl-S does
    run.send(signal.SIGTERM)
    assert run.end() == 0
    assert run.calls == ["deploy", "release", "aclose"]


def test_on_a_terminal_it_is_said_what_stops_the_waiting(start: Start) -> None:
    run = start("stuck", "destroy", "sess-1", "--yes", terminal=True, CLI_BILLS="1")
    run.until("releasing sess-1 ...; Ctrl-C stops waiting")
    run.send(signal.SIGINT)
    time.sleep(0.1)
    run.send(signal.SIGINT)
    run.until("hint: ")
    assert run.end() == 9


def test_a_program_is_asked_nothing_by_destroy(start: Start) -> None:
    run = start("destroy", "destroy", "sess", "--json", terminal=True)
    run.until("pass --yes to confirm")
    assert run.end() == 2 and run.calls == ["aclose"]


def test_destroy_asks_with_name_and_price(start: Start) -> None:
    run = start("destroy", "destroy", "sess", terminal=True)
    run.until("? [y/N] ")
    assert "session sess-1: 1x RTX 4090 from vastai, $0.400/h, $0.040 so far" in run.told
    run.type("n\n")
    run.until("not released")
    assert run.end() == 8
    assert run.calls == ["sessions", "aclose"]


def test_a_ctrl_c_while_all_is_closed_does_not_hide_that_it_may_bill(start: Start) -> None:
    run = start("unsure", "deploy", "m")
    run.until("error: step vllm failed")
    block_until(lambda: "aclose" in run.calls)
    run.send(signal.SIGINT)
    assert run.end() == 9


async def test_what_nohup_started_goes_on_when_the_terminal_goes_away() -> None:
    told: list[signal.Signals] = []
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handled(told.append):
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            await wait_until(lambda: told)
        assert told == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
