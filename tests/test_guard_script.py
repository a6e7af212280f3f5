"""The guard's program, run by the shells that machines have, with time and clock of the test's
choice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from guard_support import BUSY, DONE, SCRIPT, Guarded, Release, guarded, release, vllm_metrics

SHELLS = {"dash": ("dash",), "bash": ("bash", "--posix"), "busybox": ("busybox", "sh")}
THERE = [name for name, words in SHELLS.items() if shutil.which(words[0])]


@pytest.fixture
def market() -> Iterator[Release]:
    with release() as one:
        yield one


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Guarded]:
    """With a key of its own."""
    with guarded(tmp_path) as one:
        one.key("scoped-key")
        yield one


def ends(market: Release, **more: object) -> dict[str, object]:
    return {"url": f"{market.url}/api/v0/instances/7/", **more}


def counting(machine: Guarded, **settings: object) -> None:
    """The guard is at work, and has counted nothing yet."""
    machine.settings(**settings)
    machine.start()
    machine.looked(counted="0")


def left(machine: Guarded, market: Release) -> set[int]:
    """What is still rented when the guard has ended its own machine."""
    machine.until(lambda: 7 not in market.rented, "the machine is destroyed")
    return market.rented


def spend(machine: Guarded, market: Release) -> None:
    """An hour's money in a minute, up to the cap."""
    machine.key("scoped-key\n")
    machine.settings(**ends(market, limit_s=100, billed_s=40))
    machine.start()
    machine.looked(counted="40")
    machine.up(1059)
    machine.looked(counted="99", reason="")
    machine.up(1061)


@pytest.mark.parametrize("shell", THERE)
@pytest.mark.parametrize("client", ["curl", "wget", "python3"])
def test_it_ends_at_the_cap_in_every_shell(tmp_path: Path, shell: str, client: str) -> None:
    with (
        release() as market,
        guarded(tmp_path, shell=SHELLS[shell], clients=(client,)) as machine,
    ):
        spend(machine, market)
        assert left(machine, market) == {8}
        machine.looked(reason="spend", answer="200")
        assert market.in_argv == [], "the key was in an argument"
        assert "scoped-key" not in machine.log
        assert not (machine.dir / "wgetrc").exists()


@pytest.mark.parametrize("clock", ["0", "4102444800", "-86400", "nonsense"])
def test_a_wrong_clock_changes_nothing(market: Release, machine: Guarded, clock: str) -> None:
    machine.clock(clock)
    spend(machine, market)
    assert left(machine, market) == {8}


def test_a_jumping_clock_changes_nothing(market: Release, machine: Guarded) -> None:
    counting(machine, **ends(market, limit_s=100))
    for at, said in enumerate(("4102444800", "12", "1800000001"), 1):
        machine.clock(said)
        machine.up(1000 + at)
        machine.looked(counted=str(at), reason="")
    assert market.asked == []


def test_what_was_counted_outlives_a_restart_of_the_machine(
    market: Release, machine: Guarded
) -> None:
    counting(machine, **ends(market, limit_s=500))
    machine.up(1300)
    machine.looked(counted="300")
    machine.kill()
    # Down for two minutes, as the clock says and nobody can check.
    machine.boot("second", 20)
    machine.clock("1800000120")
    machine.start()
    machine.looked(counted="420")
    machine.kill()
    # The clock of the third start is wrong by years: at least the time since it began counts.
    machine.boot("third", 30)
    machine.clock("4102444800")
    machine.start()
    machine.looked(counted="450")
    machine.up(81)
    assert left(machine, market) == {8}


def test_a_restart_of_the_guard_alone_misses_nothing(market: Release, machine: Guarded) -> None:
    counting(machine, **ends(market, limit_s=500))
    machine.kill()
    machine.up(1450)
    machine.start()
    machine.looked(counted="450", reason="")
    assert market.asked == []


def test_it_asks_until_it_is_done(market: Release, machine: Guarded) -> None:
    """The network is away, then the service is busy."""
    market.refuse = 2
    market.stop()
    counting(machine, **ends(market, limit_s=10))
    at = 1011
    machine.up(at)
    machine.until(lambda: "no answer" in machine.log, "a request without an answer")
    market.start()
    while 7 in market.rented and at < 1200:
        at += 5
        machine.up(at)
        machine.looked(counted=str(at - 1000))
    assert market.answers == [429, 429, 200] and market.rented == {8}
    assert at <= 1011 + 60, "within a minute"


def test_a_key_that_ends_nothing_ends_nothing(market: Release, machine: Guarded) -> None:
    market.keys = {"scoped-key": 8}
    counting(machine, **ends(market, limit_s=1))
    machine.up(1002)
    machine.looked(answer="401", reason="spend")
    assert market.rented == {7, 8}


def test_the_machines_own_key_is_taken_where_it_has_one(market: Release, machine: Guarded) -> None:
    market.keys = {"pod-key": 7}
    (machine.dir / "key").unlink()
    (machine.proc / "1/environ").write_bytes(b"A=1\0POD_KEY=pod-key\0POD_KEY_ID=x\0")
    counting(machine, **ends(market, limit_s=1, key_variable="POD_KEY"))
    machine.up(1002)
    assert left(machine, market) == {8}


IDLE = {"idle_s": 600, "gauges": BUSY, "counters": DONE}


def test_no_request_for_a_while_is_warned_of_and_then_ends_it(
    market: Release, machine: Guarded
) -> None:
    market.metrics = vllm_metrics(done=3)
    counting(machine, **ends(market, **IDLE, metrics=f"{market.url}/metrics"))
    machine.looked(served="1", idle="0")
    machine.up(1400)
    machine.looked(idle="400")
    market.metrics = vllm_metrics(done=4)
    machine.looked(idle="0")
    # One that takes long is a request, too.
    market.metrics = vllm_metrics(running=1, done=4)
    machine.up(2400)
    machine.looked(counted="1400", idle="0", reason="")
    market.metrics = vllm_metrics(done=5)
    machine.up(2401)
    machine.looked(counted="1401", idle="0")
    machine.up(2401 + 300)
    machine.looked(idle="300")
    assert "the end comes" not in machine.log
    machine.up(2401 + 590)
    machine.looked(idle="590", reason="")
    assert "no request for 590 s: the end comes in 10 s" in machine.log
    machine.up(2401 + 601)
    assert left(machine, market) == {8}
    machine.looked(reason="idle")


def test_a_server_that_is_yet_to_come_is_not_idle_while_somebody_is_there(
    market: Release, machine: Guarded
) -> None:
    counting(machine, **ends(market, **IDLE, metrics=f"{market.url}/metrics"))
    machine.looked(idle="0")
    for at in range(1, 21):
        (machine.dir / "seen").write_text(f"{at}\n")
        machine.up(1000 + at * 60)
        machine.looked(counted=str(at * 60), idle="0", unseen="0")
    machine.up(1000 + 1200 + 599)
    machine.looked(idle="599", reason="")
    machine.up(1000 + 1200 + 600)
    assert left(machine, market) == {8}


def test_nobody_connected_for_hours_ends_it(market: Release, machine: Guarded) -> None:
    counting(machine, **ends(market, unseen_s=7200))
    machine.looked(unseen="0")
    machine.up(1000 + 7100)
    machine.looked(unseen="7100")
    (machine.dir / "seen").write_text("somebody\n")
    machine.looked(unseen="0")
    machine.kill()
    machine.boot("second", 50)
    machine.start()
    machine.looked(unseen="50")
    machine.up(50 + 7200)
    assert left(machine, market) == {8}
    machine.looked(reason="unseen")


def test_whoever_is_connected_ends_it_first(market: Release, machine: Guarded) -> None:
    counting(machine, **ends(market, limit_s=100, first_s=20))
    machine.up(1100)
    (machine.dir / "seen").write_text("now\n")
    machine.looked(unseen="0")
    machine.up(1115)
    machine.looked(counted="115", reason="")
    machine.up(1121)
    assert left(machine, market) == {8}


def test_a_limit_that_is_raised_holds_at_once(market: Release, machine: Guarded) -> None:
    counting(machine, **ends(market, limit_s=100))
    machine.settings(**ends(market, limit_s=1000, billed_s=150))
    machine.looked(counted="150", reason="")
    assert market.asked == []


def test_state_of_another_machine_is_not_taken_for_ones_own(machine: Guarded) -> None:
    (machine.dir / "state").write_text("id 6\ncounted 5000\nidle 900\n")
    machine.settings(limit_s=1000)
    machine.start()
    machine.looked(id="7", idle="0")
    assert machine.state()["counted"] == "0"


def test_the_newest_guard_is_the_one(tmp_path: Path) -> None:
    with guarded(tmp_path) as machine, guarded(tmp_path / "other") as other:
        counting(machine, limit_s=1000)
        first = machine.process
        assert first is not None
        other.dir = machine.dir
        other.start()
        machine.until(lambda: first.poll() is not None, "the first one ends")
        assert first.poll() == 0 and other.process is not None and other.process.poll() is None


def test_it_starts_with_the_machine_where_that_has_a_script_for_it(
    tmp_path: Path, machine: Guarded
) -> None:
    script = tmp_path / "onstart.sh"
    script.write_text("#!/bin/bash\nsleep infinity\n")
    machine.settings(limit_s=1000, persist=1)
    for _ in range(2):
        machine.start()
        machine.looked(survives="onstart")
        machine.kill()
    lines = script.read_text().splitlines()
    assert (lines[0], lines[2:]) == ("#!/bin/bash", ["sleep infinity"])
    assert lines[1] == f"/bin/sh '{machine.dir}/guard.sh' '{machine.dir}' /proc boot"


def test_without_a_place_for_that_nothing_is_touched(tmp_path: Path, machine: Guarded) -> None:
    before = sorted(os.listdir(tmp_path))
    machine.settings(limit_s=1000, persist=1)
    machine.start()
    machine.looked(counted="0", survives="")
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not here")
def test_shellcheck_finds_nothing(tmp_path: Path) -> None:
    import subprocess

    script = tmp_path / "guard.sh"
    script.write_text(SCRIPT)
    done = subprocess.run(
        ["shellcheck", "-s", "sh", "-S", "warning", script], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
