"""How many round trips things cost, on a link that counts them: distance is paid for by each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
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


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SshServer]:
    async with serving(tmp_path) as server:
        yield server


@pytest.fixture
async def far(server: SshServer) -> AsyncIterator[CountingLink]:
    async with counting_link(LOOPBACK, server.port) as link:
        yield link


@pytest.fixture
async def link(server: SshServer, far: CountingLink) -> AsyncIterator[Link]:
    target = server.target(address=SshAddress(LOOPBACK, far.port, "tester"))
    link = Link(target)
    yield link
    await link.aclose()


async def _cost(far: CountingLink, call: Awaitable[_T]) -> tuple[int, _T]:
    """Round trips that something costs, begun while all is quiet. Where it takes the machine a
    while, that in which a shell is opened for the next command is among them."""
    await far.quiet()
    before = far.round_trips
    answer = await call
    return far.round_trips - before, answer


async def test_a_connection(link: Link, far: CountingLink) -> None:
    """Names and algorithms, the exchange of keys, the login: the protocol needs each of them."""
    cost, _ = await _cost(far, link.connect())
    assert cost == 3


@pytest.mark.real
async def test_a_connection_to_openssh(tmp_path: Path) -> None:
    with real_sshd(tmp_path / "sshd") as server:
        async with counting_link(server.host, server.port) as far:
            target = Target(
                SshAddress(LOOPBACK, far.port, server.user), server.identity, tmp_path / "pin"
            )
            link = Link(target)
            cost, _ = await _cost(far, link.connect())
            assert cost == 3
            cost, answer = await _cost(far, link.run("echo one"))
            assert answer.stdout == "one\n" and cost <= 3
            fewest = min([(await _cost(far, link.run("cat", input="word")))[0] for _ in range(5)])
            assert fewest == 1
            await link.aclose()


async def test_commands(link: Link, far: CountingLink) -> None:
    """The first opens its session; those that follow find a shell that waits for them."""
    await link.connect()
    cost, answer = await _cost(far, link.run("echo one"))
    assert (answer.stdout, cost) == ("one\n", 2)
    for word in ("two", "three"):
        cost, answer = await _cost(far, link.run("cat", input=word))
        assert answer.stdout == word and cost <= 2
    fewest = min([(await _cost(far, link.run("cat", input="word")))[0] for _ in range(3)])
    assert fewest == 1


async def test_a_job(link: Link, far: CountingLink, tmp_path: Path) -> None:
    """Its end is not asked for: the command that has started it tells of it."""
    work = str(tmp_path / "work")
    await link.connect()
    await link.run("true")
    spec = JobSpec("work", work, "true", files=(("a", "x" * 50_000),))
    cost, watch = await _cost(far, Watch.start(link, spec))
    assert cost <= 2
    assert (await watch.wait(timeout=10)).exit_status == 0
    cost, found = await _cost(far, jobs.look(link, work, "work"))
    assert found is not None and found.job == watch.job and cost <= 2
    cost, _ = await _cost(far, jobs.stop(link, watch.job, remove=True))
    assert cost <= 2


async def test_a_second_deployment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each phase costs three at most beside the work itself, where there is nothing to install."""
    sim = Simulation(monkeypatch, tmp_path)
    engine = {"port": sim.settings().engine.port, "log": str(tmp_path / "vllm.log")}
    sim.flags = {"backend": "ssh", "engine": engine}
    fewest: dict[Phase, int] = {}
    async with sim.own_machine() as (place, identity):
        user, _, where = place.partition("@")
        host, _, port = where.partition(":")
        options = {"host": place, "identity": str(identity)}
        async with open_orchestrator(sim.settings(), options=options) as orchestrator:
            await deployed(orchestrator, spec("ssh"))
        # The machine is busy with other tests, too: what that tears apart counts twice, until
        # answers are waited for as long as they take.
        for quiet_s in _QUIET_S:
            async with counting_link(host, int(port), quiet_s) as far:
                options["host"] = f"{user}@127.0.0.1:{far.port}"
                async with open_orchestrator(sim.settings(), options=options) as orchestrator:
                    costs = await _phases(orchestrator, far)
            fewest = {phase: min(cost, fewest.get(phase, cost)) for phase, cost in costs.items()}
            if all(cost <= 3 for cost in fewest.values()):
                break
    assert set(fewest) == _COUNTED and max(fewest.values()) <= 3, fewest


_QUIET_S = (0.05, 0.1, 0.15, 0.2, 0.3)
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
