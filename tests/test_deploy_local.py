"""Whole deployments on this machine: they serve, fail, are cancelled, and leave nothing behind."""

from __future__ import annotations

import asyncio
import math
import os
import re
import signal
import socket
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from deployment_support import (
    Simulation,
    deployed,
    last,
    of_type,
    phases,
    spec,
    told,
    until,
    until_after,
)
from gdl.bootstrap import open_orchestrator
from gdl.domain import events as ev
from gdl.domain.change import Change
from gdl.domain.decisions import AfterFailure, AfterServing
from gdl.domain.errors import UsageError
from gdl.domain.health import CheckStatus
from gdl.domain.model import Model
from gdl.domain.phase import Billing, Phase
from gdl.domain.remedies import Remedy, RemedyKind
from gdl.domain.secret import Secret
from gdl.domain.transitions import ACTIVE
from gdl.engines.base import Engine
from gdl.journal import ledger
from gdl.orchestrator.leasing.model_lookup import ModelLookup
from gdl.orchestrator.service import Orchestrator
from local_ports import free_port
from local_processes import processes_naming
from local_shell import put_script


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulation:
    return Simulation(monkeypatch, tmp_path)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else this computer downloads is not its simulated server's doing."""
    monkeypatch.setattr("gdl.orchestrator.machine.startup_progress._NET_BYTES_PER_S", math.inf)


def nothing_is_left(sim: Simulation) -> None:
    assert list((sim.folder / "data" / "local").glob("*")) == []
    assert processes_naming(str(sim.folder)) == []
    assert [p.name for p in (sim.folder / "data" / "keys").glob("*")] == []


def holding(event: ev.Event) -> bool:
    return isinstance(event, ev.Noted) and "holding" in event.text


async def test_from_nothing_to_serving_and_back(sim: Simulation) -> None:
    async with sim.orchestrator() as orchestrator:
        events = await deployed(orchestrator, spec(bench=True))
        assert phases(events) == [*ACTIVE[1:], Phase.STOPPED]
        end = last(events)
        assert (end.outcome, end.billing, end.kind) == ("released", Billing.NONE, "")
        assert end.endpoint is not None and end.endpoint.startswith("http://127.0.0.1:")
        assert end.benchmark is not None and end.benchmark.completed == 8
        answers = [e.answer for e in of_type(events, ev.QualityAnswered)]
        assert any("Paris" in a.answer and a.passed for a in answers)
        steps = [(e.name, e.outcome) for e in of_type(events, ev.StepFinished)]
        assert ("install", "done") in steps
        assert [r.seq for r in events] == list(range(1, len(events) + 1))
    nothing_is_left(sim)


async def test_the_journal_tells_the_same_story_to_the_next_process(sim: Simulation) -> None:
    async with sim.orchestrator() as orchestrator:
        events = await deployed(orchestrator, spec())
        ident = events[0].deployment_id
    async with sim.orchestrator() as orchestrator:
        again = await told(orchestrator, ident)
        assert again == [r for r in events if not isinstance(r.event, ev.LogLines)]
        assert orchestrator.deployments.state(ident).phase is Phase.STOPPED
        assert [s.outcome for s in await orchestrator.support.past_deployments()] == ["released"]


async def test_the_key_is_nowhere_but_in_its_file(sim: Simulation) -> None:
    async with sim.orchestrator() as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(after="hold"))
        await until(orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text)
        keys = list((sim.folder / "data" / "keys").glob("*.api"))
        assert len(keys) == 1 and keys[0].stat().st_mode & 0o777 == 0o600
        key = keys[0].read_text().strip()
        assert processes_naming(key) == []
        await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        events = await told(orchestrator, ident)
        assert key not in repr(events)
    await sim.all_removed()
    files = [file for file in (sim.folder / "data").rglob("*") if file.is_file()]
    assert "journal.sqlite" in [file.name for file in files]
    for file in files:
        assert key.encode() not in file.read_bytes(), file


async def test_a_kept_server_is_found_again_by_another_process(sim: Simulation) -> None:
    flags = {"engine": {"port": sim.settings().engine.port}}
    async with sim.orchestrator(**flags) as orchestrator:
        end = last(await deployed(orchestrator, spec(after="keep")))
        assert end.outcome == "serving" and end.session_id is not None
    async with sim.orchestrator(**flags) as orchestrator:
        rows = await orchestrator.sessions.rows()
        assert [(r.session.id, r.ours, r.model) for r in rows] == [
            (end.session_id, True, "smollm2-135m")
        ]
        checks = await orchestrator.endpoints.health(end.session_id[:10])
        assert {c.status for c in checks} == {CheckStatus.PASSED, CheckStatus.SKIPPED}
        # What its server was started for and what it holds is known from the journal.
        assert [c.name for c in checks][-3:] == ["tool_forced", "tool_auto", "memory"]
        ident = await orchestrator.deployments.attach(end.session_id)
        await until(orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text)
        attached = orchestrator.deployments.state(ident)
        assert attached.attempt is not None and attached.attempt.memory is not None
        assert {"tool_forced", "tool_auto"} < set(attached.checks)
        await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        assert last(await told(orchestrator, ident)).outcome == "released"
        assert await orchestrator.sessions.rows() == []
    nothing_is_left(sim)


async def test_leaving_an_attached_session_keeps_the_machine(sim: Simulation) -> None:
    flags = {"engine": {"port": sim.settings().engine.port}}
    async with sim.orchestrator(**flags) as orchestrator:
        end = last(await deployed(orchestrator, spec(after="keep")))
    async with sim.orchestrator(**flags) as orchestrator:
        ident = await orchestrator.deployments.attach(str(end.session_id))
        await until(orchestrator, ident, lambda e: isinstance(e, ev.PhaseChanged))
    async with sim.orchestrator(**flags) as orchestrator:
        assert [r.session.id for r in await orchestrator.sessions.rows()] == [end.session_id]
        row = await orchestrator.sessions.destroy(str(end.session_id))
        assert row.session.terminal
    nothing_is_left(sim)


@pytest.mark.parametrize("attached", [True, False])
async def test_a_session_that_another_process_destroys_did_not_die(
    attached: bool, sim: Simulation
) -> None:
    flags = {"engine": {"port": sim.settings().engine.port}}
    async with sim.orchestrator(**flags) as here, sim.orchestrator(**flags) as there:
        if attached:
            end = last(await deployed(here, spec(after="keep")))
            ident = await here.deployments.attach(str(end.session_id))
        else:
            ident = await here.deployments.deploy(spec(after="hold"))
        await until(here, ident, holding)
        deployment = here.deployments.get(ident)
        assert deployment is not None and deployment.rental is not None
        await there.sessions.destroy(str(deployment.rental.session_id))
        story = await told(here, ident)
        end = last(story)
        assert end.kind == "cancelled" and "destroyed by another gdl-tui" in str(end.error)
        assert end.billing is Billing.NONE
        assert phases(story).count(Phase.STARTING) <= 1
        assert await ledger.entries(there._journal) == []
    nothing_is_left(sim)


async def test_a_known_broken_import_is_repaired_and_the_server_started_again(
    sim: Simulation,
) -> None:
    sim.server("import")
    async with sim.orchestrator() as orchestrator:
        events = await deployed(orchestrator, spec())
        assert last(events).outcome == "released"
        assert phases(events).count(Phase.STARTING) == 2
        assert ("repair", "done") in [(e.name, e.outcome) for e in of_type(events, ev.StepFinished)]
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
    async with sim.orchestrator() as orchestrator:
        events = await deployed(orchestrator, spec())
        end = last(events)
        assert (end.outcome, end.kind) == ("failed", kind)
        assert words in str(end.error) and end.hint
        assert [a.ended for a in end.attempts] == ["failed"]
    nothing_is_left(sim)


async def test_an_install_that_fails_says_why(sim: Simulation) -> None:
    sim.monkeypatch.setenv("SIM_INSTALL", "fail")
    sim.flags["install"] = {"installer": "uv"}
    async with sim.orchestrator() as orchestrator:
        events = await deployed(orchestrator, spec())
        end = last(events)
        assert (end.outcome, end.kind) == ("failed", "deploy")
        diagnosed = of_type(events, ev.Diagnosed)
        assert diagnosed and "No matching distribution" in " ".join(diagnosed[0].evidence)
    nothing_is_left(sim)


async def test_a_build_that_does_not_agree_with_its_torch_gives_way_to_another(
    sim: Simulation,
) -> None:
    sim.with_gpu()
    sim.server("mismatch")
    sim.flags["install"] = {"version": "0.14.0"}
    model = sim.folder / "model"
    model.mkdir()
    async with sim.orchestrator() as orchestrator:
        events = await deployed(orchestrator, replace(spec(), model=str(model)))
    assert last(events).outcome == "released", last(events).error
    (applied,) = of_type(events, ev.RemedyApplied)
    assert (applied.rule, applied.remedy.name, applied.by) == (
        "cuda-mismatch",
        "another-build",
        "auto",
    )
    tried = [line for e in of_type(events, ev.LogLines) for line in e.lines if "trying" in line]
    assert tried == [
        "[gdl] trying uv: vllm==0.14.0 with PyTorch for cu129",
        "[gdl] trying uv: vllm==0.14.0",
    ]
    nothing_is_left(sim)


async def test_packages_of_ones_own_system_are_changed_on_request_alone(sim: Simulation) -> None:
    sim.server("headers")
    tools, called = sim.folder / "tools", sim.folder / "called"
    tools.mkdir()
    put_script(tools, "sudo", 'while case $1 in -*) ;; *) false;; esac; do shift; done; "$@"\n')
    put_script(tools, "apt-get", f'echo "$*" >> {called}\n')
    sim.monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    async with sim.orchestrator() as orchestrator:
        events = await deployed(orchestrator, spec())
        (found,) = of_type(events, ev.Diagnosed)
        assert found.action is not None and found.action.name == "python-headers"
        assert not of_type(events, ev.RemedyApplied)
        assert not called.exists()
        events = await deployed(orchestrator, spec(auto_fix=True))
        (applied,) = of_type(events, ev.RemedyApplied)
        assert applied.remedy.name == "python-headers" and "-dev" in called.read_text()
    nothing_is_left(sim)


async def test_a_server_that_never_listens_ends_at_its_limit(sim: Simulation) -> None:
    sim.server("silent")
    async with sim.orchestrator(timeouts={"start": 1.5, "release": 3}) as orchestrator:
        end = last(await deployed(orchestrator, spec()))
        assert end.outcome == "failed" and end.hint
    nothing_is_left(sim)


async def test_a_start_is_told_as_one_picture(sim: Simulation) -> None:
    sim.server("silent")
    picture = re.compile(r"LOADING 65% \(shard 1/1, \d+\.\d GiB of memory\)")
    async with sim.orchestrator() as orchestrator:
        ident = await orchestrator.deployments.deploy(spec())
        seen = await until(
            orchestrator,
            ident,
            lambda e: isinstance(e, ev.Progressed) and picture.fullmatch(e.text) is not None,
        )
        assert isinstance(seen.event, ev.Progressed) and seen.event.fraction == 0.65
        await orchestrator.deployments.cancel(ident)
        await told(orchestrator, ident)
    nothing_is_left(sim)


@pytest.mark.long
@pytest.mark.parametrize(
    ("mode", "rule", "timeouts"),
    [
        ("silent", "stalled", {"stall": 0.5}),
        ("loop", "restart-loop", {}),
        ("silent", "slow-start", {"start": 1.5}),
    ],
)
async def test_a_server_that_gets_nowhere_is_explained_by_what_it_does(
    sim: Simulation, no_network: None, mode: str, rule: str, timeouts: dict[str, float]
) -> None:
    sim.server(mode)
    async with sim.orchestrator(timeouts={"start": 20, "release": 3, **timeouts}) as orchestrator:
        events = await deployed(orchestrator, spec())
        assert last(events).outcome == "failed"
        assert [d.rule for d in of_type(events, ev.Diagnosed)] == [rule]
    nothing_is_left(sim)


@pytest.mark.long
async def test_a_stalled_server_is_started_once_more_where_that_is_wished(
    sim: Simulation, no_network: None
) -> None:
    sim.server("silent")
    async with sim.orchestrator(timeouts={"start": 20, "release": 3, "stall": 0.5}) as orchestrator:
        events = await deployed(orchestrator, spec(auto_fix=True))
        assert last(events).outcome == "failed"
        assert [d.rule for d in of_type(events, ev.Diagnosed)] == ["stalled", "stalled"]
        assert [a.text for a in of_type(events, ev.RemedyApplied)] == ["start it again"]
        assert phases(events).count(Phase.STARTING) == 2
    nothing_is_left(sim)


async def test_a_port_in_use_is_told_before_anything_is_installed(sim: Simulation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with sim.orchestrator(engine={"port": port}) as orchestrator:
            events = await deployed(orchestrator, spec())
            end = last(events)
            assert end.kind == "deploy" and f"port {port}" in str(end.error)
            assert Phase.INSTALLING not in phases(events)
    nothing_is_left(sim)


async def test_a_port_that_nobody_asked_for_gives_way_to_who_has_it(sim: Simulation) -> None:
    with socket.socket() as taken:
        # The next one must not go to another test meanwhile.
        port = free_port()
        taken.bind(("127.0.0.1", port))
        taken.listen()
        settings = sim.settings(engine={"port": port})
        settings.engine.model_fields_set.discard("port")
        async with open_orchestrator(settings) as orchestrator:
            events = await deployed(orchestrator, spec())
        assert last(events).outcome == "released", last(events).error
        assert any(
            f"port {port} on the machine is in use" in e.text for e in of_type(events, ev.Noted)
        )
    nothing_is_left(sim)


async def test_who_else_serves_on_the_port_is_not_taken_for_the_server(sim: Simulation) -> None:
    """Another model server, that came after the port was looked at: healthy, with its own key."""
    port = sim.settings().engine.port

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        status = b"200 OK" if path == b"/health" else b"401 Unauthorized"
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    async with sim.orchestrator(engine={"port": port}) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec())
        await until(
            orchestrator,
            ident,
            lambda e: isinstance(e, ev.PhaseChanged) and e.phase is Phase.INSTALLING,
        )
        async with await asyncio.start_server(answer, "127.0.0.1", port):
            events = await told(orchestrator, ident)
    assert [d.rule for d in of_type(events, ev.Diagnosed)] == ["port-in-use"]
    assert Phase.VERIFYING not in phases(events)
    nothing_is_left(sim)


def engine_pid(sim: Simulation) -> int:
    (path,) = (sim.folder / "data" / "local").rglob("jobs/engine/pid")
    return int(path.read_text())


async def test_a_server_that_dies_while_held_is_started_once_more_and_no_more(
    sim: Simulation,
) -> None:
    async with sim.orchestrator() as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(after="hold"))
        await until(orchestrator, ident, holding)
        loop = asyncio.get_running_loop()
        killed, first = loop.time(), engine_pid(sim)
        os.killpg(first, signal.SIGKILL)
        applied = await until(orchestrator, ident, lambda e: isinstance(e, ev.RemedyApplied))
        assert loop.time() - killed < 2.5  # a second, and a loaded machine
        await until_after(orchestrator, ident, applied.seq, holding)
        assert engine_pid(sim) != first
        assert orchestrator.deployments.state(ident).phase is Phase.SERVING
        os.killpg(engine_pid(sim), signal.SIGKILL)
        events = await told(orchestrator, ident)
        assert (last(events).outcome, last(events).kind) == ("failed", "deploy")
        assert len(of_type(events, ev.RemedyApplied)) == 1
        assert len(of_type(events, ev.Diagnosed)) == 2
    nothing_is_left(sim)


async def test_no_auto_fix_restarts_and_repairs_nothing(sim: Simulation) -> None:
    async with sim.orchestrator() as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(after="hold", auto_fix=False))
        await until(orchestrator, ident, holding)
        os.killpg(engine_pid(sim), signal.SIGKILL)
        assert last(await told(orchestrator, ident)).outcome == "failed"
        sim.server("import")
        events = await deployed(orchestrator, spec(auto_fix=False))
        assert last(events).outcome == "failed"
        assert of_type(events, ev.RemedyApplied) == []
        assert [d.rule for d in of_type(events, ev.Diagnosed)] == ["torchvision-mismatch"]
    nothing_is_left(sim)


async def test_a_failed_deployment_can_be_packed_without_its_key(sim: Simulation) -> None:
    sim.server("oom")
    async with sim.orchestrator() as orchestrator:
        ident = (await deployed(orchestrator, spec()))[0].deployment_id
        path = await orchestrator.support.bundle(ident[:12], sim.folder / "out.tar.gz")
    with tarfile.open(path) as archive:
        names = {Path(name).name for name in archive.getnames()}
        (log,) = [n for n in archive.getnames() if n.endswith("engine.log")]
        member = archive.extractfile(log)
        assert member is not None and b"OutOfMemoryError" in member.read()
    assert {"events.jsonl", "facts.json", "settings.json", "summary.json"} <= names


TOO_LONG = ("--max-model-len", "4096")


async def test_a_remedy_that_overrules_the_user_is_not_applied_by_itself(sim: Simulation) -> None:
    sim.server("long")
    async with sim.orchestrator() as orchestrator:
        events = await deployed(orchestrator, spec(engine_args=TOO_LONG))
        assert last(events).outcome == "failed"
        assert of_type(events, ev.RemedyApplied) == []
        (diagnosed,) = of_type(events, ev.Diagnosed)
        assert diagnosed.action == Remedy(RemedyKind.FLAG, "--max-model-len", "2048")
        events = await deployed(orchestrator, spec(engine_args=TOO_LONG, auto_fix=True))
        assert last(events).outcome == "released"
        (applied,) = of_type(events, ev.RemedyApplied)
        assert (applied.rule, applied.by) == ("context-too-long", "auto")
        assert applied.text == "start again with --max-model-len 2048"
    nothing_is_left(sim)


async def asked(sim: Simulation, orchestrator: Orchestrator) -> str:
    """A deployment that waits on its machine with a remedy."""
    sim.server("long")
    ident = await orchestrator.deployments.deploy(spec(engine_args=TOO_LONG, ask_on_failure=True))
    await until(orchestrator, ident, lambda e: isinstance(e, ev.ChoiceAwaited))
    state = orchestrator.deployments.state(ident)
    assert state.waiting and state.offered is not None
    assert state.phase is not Phase.FAILED
    assert [row.deployment_id for row in await orchestrator.sessions.rows()] == [ident]
    return ident


async def test_the_user_may_apply_a_remedy_on_the_machine_that_is_kept_for_it(
    sim: Simulation,
) -> None:
    async with sim.orchestrator() as orchestrator:
        ident = await asked(sim, orchestrator)
        await orchestrator.deployments.decide(ident, AfterFailure.FIX)
        events = await told(orchestrator, ident)
        assert last(events).outcome == "released"
        assert [a.ended for a in last(events).attempts] == ["released"]
        assert [a.by for a in of_type(events, ev.RemedyApplied)] == ["user"]
        with pytest.raises(UsageError):
            await orchestrator.deployments.decide(ident, AfterFailure.FIX)
    nothing_is_left(sim)


async def test_a_change_is_refused_whole_where_something_else_was_chosen_meanwhile(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the hub was asked of its model."""
    looked, goes_on, find = asyncio.Event(), asyncio.Event(), ModelLookup.find

    async def slowly(lookup: ModelLookup, engine: Engine, typed: str) -> Model:
        looked.set()
        await goes_on.wait()
        return await find(lookup, engine, typed)

    async with sim.orchestrator() as orchestrator:
        deployments = orchestrator.deployments
        ident = await asked(sim, orchestrator)
        monkeypatch.setattr(ModelLookup, "find", slowly)
        change = deployments.decide(ident, AfterFailure.CHANGE, change=Change(context=2048))
        changing = asyncio.create_task(change)
        await looked.wait()
        await deployments.decide(ident, AfterFailure.FIX)
        goes_on.set()
        with pytest.raises(UsageError, match="not waiting for a choice"):
            await changing
        events = await told(orchestrator, ident)
        assert last(events).outcome == "released"
        assert of_type(events, ev.SpecChanged) == []
    nothing_is_left(sim)


async def test_what_failed_is_changed_and_tried_again_on_its_machine(sim: Simulation) -> None:
    token = "hf_" + "x" * 30
    async with sim.orchestrator() as orchestrator:
        ident = await asked(sim, orchestrator)
        seq = orchestrator.deployments.state(ident).last_seq
        # What cannot work anywhere is refused, and the choice stays open.
        with pytest.raises(UsageError, match="unknown quantization"):
            wrong = Change(quantization="fp3")
            await orchestrator.deployments.decide(ident, AfterFailure.CHANGE, change=wrong)
        assert orchestrator.deployments.state(ident).waiting
        change = Change(context=2048, token=Secret(token))
        await orchestrator.deployments.decide(ident, AfterFailure.CHANGE, change=change)
        events = await told(orchestrator, ident)
        assert last(events).outcome == "released", last(events).error
        assert [a.ended for a in last(events).attempts] == ["released"]
        (changed,) = of_type(events, ev.SpecChanged)
        assert (changed.spec.query.context, changed.spec.engine_args) == (2048, ())
        # Nothing is installed once more.
        again = [r.event for r in events if r.seq > seq]
        outcomes = [e.outcome for e in again if isinstance(e, ev.StepFinished)]
        assert outcomes and set(outcomes) == {"skipped"}
        noted = [e.text for e in again if isinstance(e, ev.Noted)]
        assert "changed by you: context 2048, arguments none, another token" in noted
        with pytest.raises(UsageError):
            await orchestrator.deployments.decide(ident, AfterFailure.CHANGE, change=change)
    nothing_is_left(sim)
    await sim.all_removed()
    told_of = b"".join(f.read_bytes() for f in sim.folder.rglob("*.sqlite*"))
    assert token.encode() not in told_of
    async with sim.orchestrator() as orchestrator:
        await told(orchestrator, ident)
        kept = orchestrator.deployments.state(ident).spec
        assert kept is not None and kept.query.context == 2048


@pytest.mark.parametrize("choice", ["next", "exclude", "retry", "cancel", "close"])
async def test_every_other_choice_gives_the_machine_back_first(
    sim: Simulation, choice: str
) -> None:
    async with sim.orchestrator() as orchestrator:
        ident = await asked(sim, orchestrator)
        if choice == "cancel":
            await orchestrator.deployments.cancel(ident)
        elif choice == "retry":
            await orchestrator.deployments.decide(ident, AfterFailure.RETRY)
        elif choice != "close":
            await orchestrator.deployments.decide(ident, AfterFailure(choice))
        if choice in ("next", "exclude", "retry"):
            # Nobody said that it would help, but it is done: there is no other machine here.
            seq = orchestrator.deployments.state(ident).last_seq
            again = await until_after(
                orchestrator, ident, seq, lambda e: isinstance(e, ev.ChoiceAwaited)
            )
            assert isinstance(again.event, ev.ChoiceAwaited)
            assert again.event.attempt == (2 if choice == "retry" else 1)
            await orchestrator.deployments.cancel(ident)
        if choice != "close":
            events = await told(orchestrator, ident)
            assert last(events).outcome == "cancelled"
            assert of_type(events, ev.RemedyApplied) == []
    nothing_is_left(sim)


async def test_the_choice_before_the_failure_is_not_asked_for_again(sim: Simulation) -> None:
    async with sim.orchestrator() as orchestrator:
        sim.server("crash")
        wanted = spec(auto_failover=False, ask_on_failure=True, auto_fix=None)
        ident = await orchestrator.deployments.deploy(wanted)
        await until(orchestrator, ident, lambda e: isinstance(e, ev.ChoiceAwaited))
        assert orchestrator.deployments.state(ident).offered == Remedy(RemedyKind.RESTART)
        sim.server("")
        await orchestrator.deployments.decide(ident, AfterFailure.RETRY)
        events = await told(orchestrator, ident)
        assert last(events).outcome == "released"
        assert [a.ended for a in last(events).attempts] == ["failed", "released"]
        assert len(of_type(events, ev.ChoiceAwaited)) == 1
    nothing_is_left(sim)


PHASES_TO_CANCEL = [p for p in ACTIVE if p not in (Phase.PLANNED, Phase.STOPPING)]


@pytest.mark.parametrize("phase", PHASES_TO_CANCEL)
async def test_a_cancel_in_any_phase_leaves_nothing(sim: Simulation, phase: Phase) -> None:
    async with sim.orchestrator() as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(after="hold"))
        await until(
            orchestrator, ident, lambda e: isinstance(e, ev.PhaseChanged) and e.phase is phase
        )
        await orchestrator.deployments.cancel(ident)
        end = last(await told(orchestrator, ident))
        assert end.outcome == "cancelled"
    nothing_is_left(sim)


async def test_closing_the_orchestrator_releases_what_runs(sim: Simulation) -> None:
    async with sim.orchestrator() as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(after="hold"))
        await until(
            orchestrator,
            ident,
            lambda e: isinstance(e, ev.PhaseChanged) and e.phase is Phase.LOADING,
        )
    nothing_is_left(sim)
    async with sim.orchestrator() as orchestrator:
        end = last(await told(orchestrator, ident))
    assert (end.outcome, end.billing) == ("cancelled", Billing.NONE)


async def test_a_late_reader_gets_the_history_first_and_nothing_twice(sim: Simulation) -> None:
    async with sim.orchestrator() as orchestrator:
        ident = await orchestrator.deployments.deploy(spec())
        early = asyncio.create_task(told(orchestrator, ident))
        await until(
            orchestrator,
            ident,
            lambda e: isinstance(e, ev.PhaseChanged) and e.phase is Phase.INSTALLING,
        )
        late = await told(orchestrator, ident)
        assert late == await early


async def test_a_failed_attempt_can_wait_for_the_user(sim: Simulation) -> None:
    sim.server("oom")
    async with sim.orchestrator() as orchestrator:
        ident = await orchestrator.deployments.deploy(
            spec(auto_failover=False, ask_on_failure=True)
        )
        await until(orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "choice" in e.text)
        # It costs nothing, so that it is kept for what its user may change.
        assert orchestrator.deployments.state(ident).held
        sim.server("")
        await orchestrator.deployments.decide(ident, AfterFailure.RETRY)
        end = last(await told(orchestrator, ident))
        assert end.outcome == "released"
        assert [a.ended for a in end.attempts] == ["failed", "released"]
    nothing_is_left(sim)


@pytest.mark.parametrize("name", ["; touch /tmp/pwned", "$(id)", "no such model", "a\nb", ""])
async def test_a_hostile_or_unknown_model_is_refused_before_anything_happens(
    sim: Simulation, name: str
) -> None:
    async with sim.orchestrator() as orchestrator:
        with pytest.raises(UsageError):
            await orchestrator.deployments.deploy(replace(spec(), model=name))
        assert await orchestrator.support.past_deployments() == []


async def test_read_only_spends_nothing(sim: Simulation) -> None:
    async with sim.orchestrator(read_only=True) as orchestrator:
        with pytest.raises(UsageError, match="read-only"):
            await orchestrator.deployments.deploy(spec())
        with pytest.raises(UsageError, match="read-only"):
            await orchestrator.sessions.destroy("anything")
