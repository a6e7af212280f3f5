"""A machine that opens few sessions: who gets the one that has become free."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
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


async def test_what_takes_long_takes_turns(
    server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Watching a job does not keep its log from being read, however long the job takes."""
    monkeypatch.setattr("gdl.ssh.session_turns.TURN_S", 0.2)
    server.sessions = 1
    turns = {"watch": 0, "samples": 0, "log": 0}
    async with await Connection.open(server.target()) as conn:

        async def again(who: str, begin: Callable[[Callable[..., None]], Awaitable[int]]) -> None:
            def heard(*_: object) -> None:
                turns[who] += 1

            while True:
                with contextlib.suppress(SshError):
                    await begin(heard)

        say = "echo on; exec sleep 600"
        long = (
            asyncio.create_task(again("watch", lambda heard: conn.talk(say, heard))),
            asyncio.create_task(
                again("samples", lambda heard: conn.stream(say, heard, timeout=600))
            ),
            asyncio.create_task(again("log", lambda heard: conn.hold(say, heard, lambda _: None))),
        )
        try:
            await wait_until(lambda: min(turns.values()) >= 3)
        finally:
            for task in long:
                task.cancel()
            await asyncio.gather(*long, return_exceptions=True)
    assert max(turns.values()) - min(turns.values()) <= 1
