"""A machine that opens few sessions: who gets the one that has become free."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gdl.domain.errors import SshError
from gdl.ssh.connection import Connection
from ssh_server import SshServer, serving
from waiting import wait_until


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SshServer]:
    async with serving(tmp_path) as running:
        yield running


async def test_what_gives_way_does_not_take_the_session_of_who_asked_for_it(
    server: SshServer,
) -> None:
    """A watch is begun again at once, and who was refused asks only now and then."""
    server.sessions = 1
    begun = 0
    async with await Connection.open(server.target()) as conn:

        async def watch() -> None:
            nonlocal begun
            while True:
                begun += 1
                with contextlib.suppress(SshError):
                    await conn.talk("exec sleep 600", lambda *_: None)

        watching = asyncio.create_task(watch())
        try:
            for word in ("one", "two", "three"):
                await wait_until(lambda: any("sleep" in line for line in server.commands))
                server.commands.clear()
                assert (await conn.run(f"echo {word}", timeout=20)).stdout == f"{word}\n"
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    # It gives way to each command once, at most, and is begun anew after it.
    assert 1 <= begun <= 4
