"""One model over two machines of one's own: real OpenSSH servers, simulated servers of vLLM."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployment_support import (
    SIMULATED,
    Simulation,
    deployed,
    last,
    of_type,
    phases,
    spec,
    until,
    until_after,
)
from gdl.backends.ssh.backend import SshHostsBackend
from gdl.bootstrap import open_orchestrator
from gdl.domain import events as ev
from gdl.domain.errors import UsageError
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Phase
from gdl.domain.session import RentRequest
from gdl.orchestrator.machine import reach
from gdl.orchestrator.service import Orchestrator
from local_processes import processes_carrying
from real_sshd import real_sshd
from resume_child import Case, run
from waiting import wait_until

TWO = OfferQuery(nodes=2)


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulation:
    simulation = Simulation(monkeypatch, tmp_path)
    engine = {"port": simulation.settings().engine.port, "log": "vllm.log"}
    limits = {"start": 60, "install": 60, "session": 30, "release": 10, "http": 10}
    simulation.flags = {
        "backend": "ssh",
        "install": {"work_dir": "~/work"},
        "engine": engine,
        "timeouts": limits,
    }
    return simulation


@contextlib.contextmanager
def two_machines(
    sim: Simulation, *, homes: tuple[str, str] = ("a", "b"), address: str = "127.0.0.1"
) -> Iterator[dict[str, str]]:
    """Options of the backend for two OpenSSH servers, each with a home of its own."""
    with contextlib.ExitStack() as stack:
        hosts, identity = [], Path()
        for number, name in enumerate(homes):
            home = sim.folder / name
            home.mkdir(exist_ok=True)
            path = f"{SIMULATED}:/usr/sbin:/usr/bin:/sbin:/bin"
            words = f'HOME={home} "PATH={path}" SIM_PYTHON={os.environ["SIM_PYTHON"]}'
            folder = sim.folder / f"sshd{number}"
            sshd = stack.enter_context(real_sshd(folder, f"SetEnv {words}", address=address))
            keys = folder / "authorized_keys"
            identity = identity if number else sshd.identity
            keys.write_text(identity.with_suffix(".pub").read_text())
            hosts.append(sshd.address)
        yield {"host": ",".join(hosts), "identity": str(identity)}


async def test_all_of_them_serve_and_all_are_ended(sim: Simulation) -> None:
    with two_machines(sim) as where:
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            events = await deployed(orchestrator, spec("ssh", query=TWO))
    end = last(events)
    assert end.outcome == "released", end.error
    assert phases(events)[-3:] == [Phase.SERVING, Phase.STOPPING, Phase.STOPPED]
    lines = [line for each in of_type(events, ev.LogLines) for line in each.lines]
    assert any(line.startswith("rank 1: (Worker pid=7)") for line in lines)
    steps = {each.name for each in of_type(events, ev.StepFinished)}
    assert {"install", "rank 1: install"} <= steps
    await wait_until(lambda: nothing_runs(sim))


async def test_the_one_that_fails_first_is_named_and_the_others_are_ended(sim: Simulation) -> None:
    with two_machines(sim) as where:
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            ident = await orchestrator.deployments.deploy(spec("ssh", query=TWO, after="hold"))
            async with asyncio.timeout(60):
                async for recorded in orchestrator.deployments.events(ident):
                    if in_phase(Phase.SERVING)(recorded.event):
                        other = where["host"].partition(",")[2]
                        (row,) = await orchestrator.sessions.rows()
                        assert row.joined == (other,)
                        words = (await orchestrator.sessions.shell(ident, rank=1)).words
                        assert words[words.index("-p") + 1] == other.rpartition(":")[2]
                        (sim.folder / "b" / "work" / "worker-killed").touch()
            end = await orchestrator.deployments.wait(ident)
            kept = await log_of(orchestrator, ident, 1)
            with pytest.raises(UsageError, match="no log of rank 2 of"):
                await log_of(orchestrator, ident, 2)
    assert (end.outcome, end.kind) == ("failed", "deploy")
    assert any(line.startswith("(Worker pid=7)") for line in kept), kept
    assert "rank 1 (127.0.0.1) failed first" in str(end.error)
    assert "killed" in str(end.error)
    await wait_until(lambda: nothing_runs(sim))


@pytest.mark.soak
async def test_what_was_kept_is_ended_on_all_machines(sim: Simulation) -> None:
    with two_machines(sim) as where:
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            end = last(await deployed(orchestrator, spec("ssh", query=TWO, after="keep")))
            assert end.outcome == "serving", end.error
        assert not nothing_runs(sim)
        async with open_orchestrator(sim.settings()) as orchestrator:
            (row,) = await orchestrator.sessions.rows()
            ident = await orchestrator.deployments.attach(row.session.id)
            await until(orchestrator, ident, in_phase(Phase.SERVING))
            await orchestrator.sessions.destroy(row.session.id)
        async with open_orchestrator(sim.settings()) as orchestrator:
            assert await orchestrator.sessions.rows() == []
    await wait_until(lambda: nothing_runs(sim))


@pytest.mark.soak
@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.SERVING])
async def test_an_interrupted_one_goes_on_with_all_of_them(sim: Simulation, phase: Phase) -> None:
    with two_machines(sim) as where:
        settings = sim.settings()
        given = {**sim.flags, "data_dir": str(settings.data_dir)}
        given["timeouts"] = {"start": 20, "install": 20}
        given["engine"] = {"port": settings.engine.port, "log": settings.engine.log}
        answer = sim.folder / "answer.json"
        child = Case(dict(os.environ), given, answer, where, kill_in=str(phase), nodes=2)
        status, said = await run(replace(child, after="hold"))
        assert status == -signal.SIGKILL, said
        async with open_orchestrator(settings) as orchestrator:
            (row,) = await orchestrator.deployments.resumable()
            ident = await orchestrator.deployments.resume(row.deployment_id)
            known = orchestrator.deployments.state(ident).last_seq
            await until_after(orchestrator, ident, known, lambda e: isinstance(e, ev.TunnelOpened))
            (sim.folder / "b" / "work" / "worker-killed").touch()
            end = await orchestrator.deployments.wait(ident)
    assert "rank 1 (127.0.0.1) failed first" in str(end.error)
    await wait_until(lambda: nothing_runs(sim))


async def test_one_work_folder_for_both_is_refused(sim: Simulation) -> None:
    with two_machines(sim, homes=("a", "a")) as where:
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            end = last(await deployed(orchestrator, spec("ssh", query=TWO)))
    assert end.error is not None and "on a shared disk" in end.error
    assert end.hint is not None and "install.work_dir" in end.hint


async def test_those_that_do_not_reach_each_other_are_named(sim: Simulation) -> None:
    # An address that no route leads to.
    sim.monkeypatch.setattr(reach, "_worth_trying", lambda *_: ["240.0.0.1"])
    with two_machines(sim) as where:
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            end = last(await deployed(orchestrator, spec("ssh", query=TWO)))
    assert end.error is not None
    assert end.error.startswith("rank 1 (127.0.0.1) and rank 0 (127.0.0.1; 240.0.0.1) do not reach")
    assert end.hint is not None and "firewall" in end.hint


async def test_a_machine_without_an_address_for_the_others_is_named(sim: Simulation) -> None:
    """SSH may lead there by IPv6; the ranks meet by IPv4."""
    sim.monkeypatch.setattr(reach, "_ADDRESSES", "print('lo 127.0.0.1')")
    with two_machines(sim, address="::1") as where:
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            end = last(await deployed(orchestrator, spec("ssh", query=TWO)))
    assert end.error == "rank 0 (::1) has no IPv4 address at which the others reach it"
    assert end.hint is not None and "on one network" in end.hint


async def test_together_they_cost_what_each_of_them_does(sim: Simulation) -> None:
    hosts = [{"host": "u@a", "price_per_hour": 2.0}, {"host": "u@b", "price_per_hour": 1.5}]
    backend = SshHostsBackend(sim.settings(hosts=hosts))
    (offer,) = await backend.offers(TWO)
    answer = await backend.rent(RentRequest(offer, "me", 1, "m"))
    assert (offer.price_per_hour, answer.session.price_per_hour) == (3.5, 3.5)


@pytest.mark.parametrize(
    ("host", "more", "said"),
    [
        ("u@a", {}, "--nodes 2 takes 2 machines; named: 1"),
        ("u@a,u@b,u@c", {}, "--nodes 2 takes 2 machines; named: 3"),
        ("u@a,u@b", {"idle_minutes": 5.0}, "--idle and --unseen do not work with --nodes"),
        ("u@a,u@b", {"auto_fix": True}, "--auto-fix does not work with --nodes"),
        ("u@a,u@b", {"engine": "llamacpp"}, "llama.cpp serves a model on one machine"),
        ("u@a,u@b", {"engine_args": ("-tp", "2")}, "--tensor-parallel-size is decided by --nodes"),
    ],
)
async def test_what_cannot_be_is_refused_in_one_line(
    sim: Simulation, host: str, more: dict[str, Any], said: str
) -> None:
    wanted = replace(spec("ssh", query=TWO), **more)
    async with open_orchestrator(sim.settings(), options={"host": host}) as orchestrator:
        with pytest.raises(UsageError, match=re.escape(said)):
            await orchestrator.market.offers(TWO)
            orchestrator.market.size(wanted.query, check=wanted)
        with pytest.raises(UsageError, match=re.escape(said)):
            ident = await orchestrator.deployments.deploy(wanted)
            end = await orchestrator.deployments.wait(ident)
            raise UsageError(str(end.error), "")


async def test_machines_of_others_are_not_joined(sim: Simulation) -> None:
    async with sim.orchestrator(backend="local") as orchestrator:
        with pytest.raises(UsageError, match="cannot reach each other"):
            await orchestrator.market.offers(TWO)


async def test_the_engine_is_chosen_among_those_that_can(sim: Simulation) -> None:
    with two_machines(sim) as where:
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            wanted = replace(spec("ssh", query=TWO), engine="auto")
            ident = await orchestrator.deployments.deploy(wanted)
            state = orchestrator.deployments.state(ident)
            await orchestrator.deployments.cancel(ident)
            await orchestrator.deployments.wait(ident)
    assert state.spec is not None and state.spec.engine == "vllm"


async def log_of(orchestrator: Orchestrator, ident: str, rank: int) -> list[str]:
    reading = orchestrator.logs.read(ident, last=None, follow=False, tell=print, rank=rank)
    return [line async for part in reading for line in part.lines]


def in_phase(*wanted: Phase) -> Callable[[ev.Event], bool]:
    return lambda event: isinstance(event, ev.PhaseChanged) and event.phase in wanted


def nothing_runs(sim: Simulation) -> bool:
    """On the machines, whose homes are in its folder."""
    return processes_carrying(f"{sim.folder}/a") + processes_carrying(f"{sim.folder}/b") == []
