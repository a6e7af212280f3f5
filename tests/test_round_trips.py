"""How many round trips things cost, on a link that counts them: distance is paid for by each."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from counting_link import CountingLink, counting_link
from deployment_support import Simulation, deployed, spec
from gdl.bootstrap import open_orchestrator
from gdl.domain import events as ev
from gdl.domain.phase import Phase
from gdl.domain.session import SshAddress
from gdl.orchestrator.service import Orchestrator
from gdl.ssh import jobs
from gdl.ssh.dial import Target
from gdl.ssh.job_watch import Watch
from gdl.ssh.jobs import JobSpec
from gdl.ssh.reconnecting import Link
from real_sshd import real_sshd
from ssh_server import LOOPBACK, SshServer, serving

_T = TypeVar("_T")
_K = TypeVar("_K")


_QUIET_S = (0.05, 0.1, 0.15, 0.2, 0.3)
"""The machine is busy with other tests, too: what that tears apart counts twice, until answers are
waited for as long as they take."""

Costs = Mapping[_K, int]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SshServer]:
    async with serving(tmp_path) as server:
        yield server


async def _fewest(measured: Callable[[float], Awaitable[Costs[_K]]], most: Costs[_K]) -> Costs[_K]:
    """What is measured, at its fewest round trips, of which there should be no more than `most`."""
    fewest: dict[_K, int] = {}
    for quiet_s in _QUIET_S:
        costs = await measured(quiet_s)
        fewest = {what: min(cost, fewest.get(what, cost)) for what, cost in costs.items()}
        if all(cost <= most[what] for what, cost in fewest.items()):
            break
    return fewest


async def _cost(far: CountingLink, call: Awaitable[_T]) -> tuple[int, _T]:
    """Round trips that something costs, begun while all is quiet. Where it takes the machine a
    while, that in which a shell is opened for the next command is among them."""
    await far.quiet()
    before = far.round_trips
    answer = await call
    return far.round_trips - before, answer


@contextlib.asynccontextmanager
async def _linked(server: SshServer, quiet_s: float) -> AsyncIterator[tuple[Link, CountingLink]]:
    async with counting_link(LOOPBACK, server.port, quiet_s) as far:
        link = Link(server.target(address=SshAddress(LOOPBACK, far.port, "tester")))
        yield link, far
        await link.aclose()


async def test_a_connection(server: SshServer) -> None:
    """Names and algorithms, the exchange of keys, the login: the protocol needs each of them."""

    async def measured(quiet_s: float) -> Costs[str]:
        async with _linked(server, quiet_s) as (link, far):
            cost, _ = await _cost(far, link.connect())
            return {"connect": cost}

    assert await _fewest(measured, {"connect": 3}) == {"connect": 3}


@pytest.mark.real
async def test_a_connection_to_openssh(tmp_path: Path) -> None:
    most = {"connect": 3, "first": 3, "next": 1}
    with real_sshd(tmp_path / "sshd") as server:

        async def measured(quiet_s: float) -> Costs[str]:
            async with counting_link(server.host, server.port, quiet_s) as far:
                address = SshAddress(LOOPBACK, far.port, server.user)
                link = Link(Target(address, server.identity, tmp_path / "pin"))
                connect, _ = await _cost(far, link.connect())
                first, answer = await _cost(far, link.run("echo one"))
                assert answer.stdout == "one\n"
                runs = [(await _cost(far, link.run("cat", input="word")))[0] for _ in range(5)]
                await link.aclose()
            return {"connect": connect, "first": first, "next": min(runs)}

        fewest = await _fewest(measured, most)
    assert (fewest["connect"], fewest["next"]) == (3, 1) and fewest["first"] <= 3, fewest


async def test_commands(server: SshServer) -> None:
    """The first opens its session; those that follow find a shell that waits for them."""

    async def measured(quiet_s: float) -> Costs[str]:
        async with _linked(server, quiet_s) as (link, far):
            await link.connect()
            first, answer = await _cost(far, link.run("echo one"))
            assert answer.stdout == "one\n"
            costs: list[int] = []
            for word in ("two", "three", "four", "five", "six"):
                cost, answer = await _cost(far, link.run("cat", input=word))
                assert answer.stdout == word
                costs.append(cost)
        return {"first": first, "any": max(costs), "next": min(costs)}

    fewest = await _fewest(measured, {"first": 2, "any": 2, "next": 1})
    assert (fewest["first"], fewest["next"]) == (2, 1) and fewest["any"] <= 2, fewest


async def test_a_job(server: SshServer, tmp_path: Path) -> None:
    """Its end is not asked for: the command that has started it tells of it."""

    async def measured(quiet_s: float) -> Costs[str]:
        work = str(tmp_path / f"work{quiet_s}")
        async with _linked(server, quiet_s) as (link, far):
            await link.connect()
            await link.run("true")
            spec = JobSpec("work", work, "true", files=(("a", "x" * 50_000),))
            start, watch = await _cost(far, Watch.start(link, spec))
            assert (await watch.wait(timeout=10)).exit_status == 0
            look, found = await _cost(far, jobs.look(link, work, "work"))
            assert found is not None and found.job == watch.job
            stop, _ = await _cost(far, jobs.stop(link, watch.job, remove=True))
        return {"start": start, "look": look, "stop": stop}

    most = {"start": 2, "look": 2, "stop": 2}
    fewest = await _fewest(measured, most)
    assert all(cost <= most[what] for what, cost in fewest.items()), fewest


async def test_a_second_deployment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each phase costs three at most beside the work itself, where there is nothing to install."""
    sim = Simulation(monkeypatch, tmp_path)
    engine = {"port": sim.settings().engine.port, "log": str(tmp_path / "vllm.log")}
    sim.flags = {"backend": "ssh", "engine": engine}
    async with sim.own_machine() as (place, identity):
        user, _, where = place.partition("@")
        host, _, port = where.partition(":")
        options = {"host": place, "identity": str(identity)}
        async with open_orchestrator(sim.settings(), options=options) as orchestrator:
            await deployed(orchestrator, spec("ssh"))

        async def measured(quiet_s: float) -> Costs[Phase]:
            async with counting_link(host, int(port), quiet_s) as far:
                options["host"] = f"{user}@127.0.0.1:{far.port}"
                async with open_orchestrator(sim.settings(), options=options) as orchestrator:
                    return await _phases(orchestrator, far)

        fewest = await _fewest(measured, dict.fromkeys(_COUNTED, 3))
    assert set(fewest) == _COUNTED and max(fewest.values()) <= 3, fewest


_COUNTED = {
    Phase.CONNECTING,
    Phase.PREFLIGHT,
    Phase.INSTALLING,
    Phase.STARTING,
    Phase.VERIFYING,
    Phase.STOPPING,
}


async def _phases(orchestrator: Orchestrator, far: CountingLink) -> dict[Phase, int]:
    """Round trips from a phase's begin to the next one's; of the start, until the server's first
    word is there."""
    ident = await orchestrator.deployments.deploy(spec("ssh"))
    costs: dict[Phase, int] = {}
    phase, since = Phase.RENTING, 0
    async for recorded in orchestrator.deployments.events(ident):
        event = recorded.event
        if isinstance(event, ev.LogLines) and event.source == "engine":
            costs.setdefault(Phase.STARTING, far.round_trips - since)
        if isinstance(event, ev.PhaseChanged):
            if phase in _COUNTED:
                costs.setdefault(phase, far.round_trips - since)
            if event.phase is not phase:
                phase, since = event.phase, far.round_trips
    return costs
