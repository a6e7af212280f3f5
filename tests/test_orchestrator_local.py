"""Whole deployments on this machine: they serve, fail, are cancelled, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from gdl.domain import events as ev
from gdl.domain.deployment import ACTIVE
from gdl.domain.errors import UsageError
from gdl.domain.events import Billing, Phase
from gdl.domain.models import CheckStatus
from house import Simulation, deployed, last, of_type, phases, processes_naming, spec, told, until


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulation:
    return Simulation(monkeypatch, tmp_path)


def nothing_is_left(sim: Simulation) -> None:
    assert list((sim.folder / "data" / "local").glob("*")) == []
    assert processes_naming(str(sim.folder)) == []
    assert [p.name for p in (sim.folder / "data" / "keys").glob("*")] == []


async def test_from_nothing_to_serving_and_back(sim: Simulation) -> None:
    async with sim.house() as house:
        story = await deployed(house, spec(bench=True))
        assert phases(story) == [*ACTIVE[1:], Phase.STOPPED]
        end = last(story)
        assert (end.outcome, end.billing, end.kind) == ("released", Billing.NONE, "")
        assert end.endpoint is not None and end.endpoint.startswith("http://127.0.0.1:")
        assert end.benchmark is not None and end.benchmark.completed == 8
        answers = [e.answer for e in of_type(story, ev.QualityAnswered)]
        assert any("Paris" in a.answer and a.passed for a in answers)
        steps = [(e.name, e.outcome) for e in of_type(story, ev.StepFinished)]
        assert ("install", "done") in steps
        assert [r.seq for r in story] == list(range(1, len(story) + 1))
    nothing_is_left(sim)


async def test_the_journal_tells_the_same_story_to_the_next_process(sim: Simulation) -> None:
    async with sim.house() as house:
        story = await deployed(house, spec())
        ident = story[0].deployment_id
    async with sim.house() as house:
        again = await told(house, ident)
        assert again == [r for r in story if not isinstance(r.event, ev.LogLines)]
        assert house.state(ident).phase is Phase.STOPPED
        assert [s.outcome for s in await house.stories()] == ["released"]


async def test_the_key_is_nowhere_but_in_its_file(sim: Simulation) -> None:
    async with sim.house() as house:
        ident = await house.deploy(spec(after="hold"))
        await until(house, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text)
        keys = list((sim.folder / "data" / "keys").glob("*.api"))
        assert len(keys) == 1 and keys[0].stat().st_mode & 0o777 == 0o600
        key = keys[0].read_text().strip()
        assert processes_naming(key) == []
        await house.release(ident)
        story = await told(house, ident)
        assert key not in repr(story)
    for file in (sim.folder / "data").rglob("*"):
        assert not file.is_file() or key.encode() not in file.read_bytes()


async def test_a_kept_server_is_found_again_by_another_process(sim: Simulation) -> None:
    flags = {"engine": {"port": sim.settings().engine.port}}
    async with sim.house(**flags) as house:
        end = last(await deployed(house, spec(after="keep")))
        assert end.outcome == "serving" and end.session_id is not None
    async with sim.house(**flags) as house:
        rows = await house.sessions()
        assert [(r.session.id, r.ours, r.model) for r in rows] == [
            (end.session_id, True, "smollm2-135m")
        ]
        checks = await house.health(end.session_id[:10])
        assert all(c.status is not CheckStatus.FAILED for c in checks)
        ident = await house.attach(end.session_id)
        await until(house, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text)
        await house.release(ident)
        assert last(await told(house, ident)).outcome == "released"
        assert await house.sessions() == []
    nothing_is_left(sim)


async def test_leaving_an_attached_session_keeps_the_machine(sim: Simulation) -> None:
    flags = {"engine": {"port": sim.settings().engine.port}}
    async with sim.house(**flags) as house:
        end = last(await deployed(house, spec(after="keep")))
    async with sim.house(**flags) as house:
        ident = await house.attach(str(end.session_id))
        await until(house, ident, lambda e: isinstance(e, ev.PhaseChanged))
    async with sim.house(**flags) as house:
        assert [r.session.id for r in await house.sessions()] == [end.session_id]
        row = await house.destroy(str(end.session_id))
        assert row.session.terminal
    nothing_is_left(sim)


async def test_a_known_broken_import_is_repaired_and_the_server_started_again(
    sim: Simulation,
) -> None:
    sim.server("import")
    async with sim.house() as house:
        story = await deployed(house, spec())
        assert last(story).outcome == "released"
        assert phases(story).count(Phase.STARTING) == 2
        assert ("repair", "done") in [(e.name, e.outcome) for e in of_type(story, ev.StepFinished)]
    nothing_is_left(sim)


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("oom", "deploy", "memory"),
        ("sick", "verification", "inference"),
        ("mortal", "deploy", "ended"),
    ],
)
async def test_a_server_that_does_not_work_is_explained_and_released(
    sim: Simulation, mode: str, kind: str, words: str
) -> None:
    sim.server(mode)
    async with sim.house() as house:
        story = await deployed(house, spec())
        end = last(story)
        assert (end.outcome, end.kind) == ("failed", kind)
        assert words in str(end.error) and end.hint
        assert [a.ended for a in end.attempts] == ["failed"]
    nothing_is_left(sim)


async def test_an_install_that_fails_says_why(sim: Simulation) -> None:
    sim.monkeypatch.setenv("SIM_INSTALL", "fail")
    sim.flags["install"] = {"installer": "uv"}
    async with sim.house() as house:
        story = await deployed(house, spec())
        end = last(story)
        assert (end.outcome, end.kind) == ("failed", "deploy")
        diagnosed = of_type(story, ev.Diagnosed)
        assert diagnosed and "No matching distribution" in " ".join(diagnosed[0].evidence)
    nothing_is_left(sim)


async def test_a_server_that_never_listens_ends_at_its_limit(sim: Simulation) -> None:
    sim.server("silent")
    async with sim.house(timeouts={"start": 1.5, "release": 3}) as house:
        end = last(await deployed(house, spec()))
        assert end.outcome == "failed" and end.hint
    nothing_is_left(sim)


async def test_a_port_in_use_is_told_before_anything_is_installed(sim: Simulation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with sim.house(engine={"port": port}) as house:
            story = await deployed(house, spec())
            end = last(story)
            assert end.kind == "deploy" and f"port {port}" in str(end.error)
            assert Phase.INSTALLING not in phases(story)
    nothing_is_left(sim)


async def test_a_server_that_dies_while_held_is_noticed_within_a_second(sim: Simulation) -> None:
    async with sim.house() as house:
        ident = await house.deploy(spec(after="hold"))
        await until(house, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text)
        pids = list((sim.folder / "data" / "local").rglob("jobs/engine/pid"))
        loop = asyncio.get_running_loop()
        killed = loop.time()
        os.killpg(int(pids[0].read_text()), signal.SIGKILL)
        await until(house, ident, lambda e: isinstance(e, ev.AttemptFailed))
        assert loop.time() - killed < 2.5  # a second, and a loaded machine
        end = last(await told(house, ident))
        assert (end.outcome, end.kind) == ("failed", "deploy")
    nothing_is_left(sim)


PHASES_TO_CANCEL = [p for p in ACTIVE if p not in (Phase.PLANNED, Phase.STOPPING)]


@pytest.mark.parametrize("phase", PHASES_TO_CANCEL)
async def test_a_cancel_in_any_phase_leaves_nothing(sim: Simulation, phase: Phase) -> None:
    async with sim.house() as house:
        ident = await house.deploy(spec(after="hold"))
        await until(house, ident, lambda e: isinstance(e, ev.PhaseChanged) and e.phase is phase)
        await house.cancel(ident)
        end = last(await told(house, ident))
        assert end.outcome == "cancelled"
    nothing_is_left(sim)


async def test_closing_the_house_gives_back_what_runs(sim: Simulation) -> None:
    async with sim.house() as house:
        ident = await house.deploy(spec(after="hold"))
        await until(
            house, ident, lambda e: isinstance(e, ev.PhaseChanged) and e.phase is Phase.LOADING
        )
    nothing_is_left(sim)


async def test_a_late_reader_gets_the_history_first_and_nothing_twice(sim: Simulation) -> None:
    async with sim.house() as house:
        ident = await house.deploy(spec())
        early = asyncio.create_task(told(house, ident))
        await until(
            house, ident, lambda e: isinstance(e, ev.PhaseChanged) and e.phase is Phase.INSTALLING
        )
        late = await told(house, ident)
        assert late == await early


async def test_a_failed_attempt_can_wait_for_the_user(sim: Simulation) -> None:
    sim.server("oom")
    async with sim.house() as house:
        ident = await house.deploy(spec(auto_failover=False, ask_on_failure=True))
        await until(house, ident, lambda e: isinstance(e, ev.Noted) and "choice" in e.text)
        assert house.state(ident).phase is Phase.FAILED
        sim.server("")
        await house.retry(ident)
        end = last(await told(house, ident))
        assert end.outcome == "released"
        assert [a.ended for a in end.attempts] == ["failed", "released"]
    nothing_is_left(sim)


@pytest.mark.parametrize("name", ["; touch /tmp/pwned", "$(id)", "no such model", "a\nb", ""])
async def test_a_hostile_or_unknown_model_is_refused_before_anything_happens(
    sim: Simulation, name: str
) -> None:
    async with sim.house() as house:
        with pytest.raises(UsageError):
            await house.deploy(replace(spec(), model=name))
        assert await house.stories() == []


async def test_read_only_spends_nothing(sim: Simulation) -> None:
    async with sim.house(read_only=True) as house:
        with pytest.raises(UsageError, match="read-only"):
            await house.deploy(spec())
        with pytest.raises(UsageError, match="read-only"):
            await house.destroy("anything")
