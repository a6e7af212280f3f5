"""How many round trips things cost, on a link that counts them: distance is paid for by each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from counting_link import CountingLink, counting_link
from gdl.domain.session import SshAddress
from gdl.ssh import jobs
from gdl.ssh.job_watch import Watch
from gdl.ssh.jobs import JobSpec
from gdl.ssh.reconnecting import Link
from ssh_server import LOOPBACK, SshServer, serving


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


async def test_a_connection(link: Link, far: CountingLink) -> None:
    """Names and algorithms, the exchange of keys, the login: the protocol needs each of them."""
    await link.connect()
    assert far.round_trips == 3


async def test_commands(link: Link, far: CountingLink) -> None:
    """The first opens its session; those that follow find a shell that waits for them."""
    await link.connect()
    before = far.round_trips
    assert (await link.run("echo one")).stdout == "one\n"
    assert far.round_trips - before <= 2
    await far.quiet()  # shells wait by now
    for word in ("two", "three"):
        before = far.round_trips
        assert (await link.run("cat", input=word)).stdout == word
        assert far.round_trips - before == 1
        await far.quiet()


async def test_a_job(link: Link, far: CountingLink, tmp_path: Path) -> None:
    await link.connect()
    await link.run("true")
    await far.quiet()  # shells wait by now
    before = far.round_trips
    spec = JobSpec("work", str(tmp_path / "work"), "true", files=(("a", "x" * 50_000),))
    watch = await Watch.start(link, spec)
    # One for it; in the other, a shell is opened that waits for the next command.
    assert far.round_trips - before <= 2
    # Nobody asks for the end: the command that has started it tells of it.
    assert (await watch.wait(timeout=10)).exit_status == 0
    await far.quiet()
    before = far.round_trips
    found = await jobs.look(link, str(tmp_path / "work"), "work")
    assert found is not None and found.job == watch.job
    assert far.round_trips - before == 1
    await far.quiet()
    before = far.round_trips
    await jobs.stop(link, watch.job, remove=True)
    assert far.round_trips - before == 1
