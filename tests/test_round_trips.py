"""How many round trips things cost, on a link that counts them: distance is paid for by each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import TypeVar

import pytest

from counting_link import CountingLink, counting_link
from gdl.domain.session import SshAddress
from gdl.ssh import jobs
from gdl.ssh.job_watch import Watch
from gdl.ssh.jobs import JobSpec
from gdl.ssh.reconnecting import Link
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
