"""A machine that opens few sessions: who gets the one that has become free."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from gdl.domain.errors import GaveWay, SshError
from gdl.ssh.connection import Connection
from gdl.ssh.reconnecting import Link
from gdl.ssh.tail import Stop, follow
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


async def test_what_takes_long_gives_way_beside_a_short_one_that_runs(server: SshServer) -> None:
    server.sessions = 2
    async with await Connection.open(server.target()) as conn:
        watching = asyncio.create_task(conn.talk("exec sleep 600", lambda *_: None))
        await wait_until(lambda: any("sleep 600" in line for line in server.commands))
        not_so_short = asyncio.create_task(conn.run("exec sleep 60", timeout=60))
        await wait_until(lambda: any("sleep 60'" in line for line in server.commands))
        assert (await conn.run("echo one", timeout=20)).stdout == "one\n"
        with pytest.raises(GaveWay):
            await watching
        not_so_short.cancel()
        await asyncio.gather(not_so_short, return_exceptions=True)


async def test_short_commands_are_run_in_the_order_in_which_they_were_refused(
    server: SshServer,
) -> None:
    """Who comes just as a session is free does not take it from who has waited."""
    server.sessions = 1
    ended: list[str] = []
    async with await Connection.open(server.target()) as conn:

        async def run(word: str, seconds: float) -> None:
            await conn.run(f"sleep {seconds}; : {word}", timeout=60)
            ended.append(word)

        running = [asyncio.create_task(run("first", 1.5))]
        await wait_until(lambda: any("first" in line for line in server.commands))
        for word in ("second", "third"):
            running.append(asyncio.create_task(run(word, 0.1)))
            await asyncio.sleep(0.1)
        await running[0]
        running += [asyncio.create_task(run(f"late {n}", 0.1)) for n in range(3)]
        await asyncio.gather(*running)
    assert ended[:3] == ["first", "second", "third"]


async def test_a_log_whose_turn_it_is_not_is_read_to_its_end(
    server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gdl.ssh.session_turns.TURN_S", 1.0)
    monkeypatch.setattr("gdl.ssh.remote_log._LAST_READ_S", 1.0)
    monkeypatch.setattr("gdl.ssh.remote_log._LAST_TURNS", 30)
    server.sessions = 1
    log = tmp_path / "log"
    log.write_text("first\n")
    link, stop = Link(server.target()), Stop()
    lines: list[str] = []

    async def read() -> None:
        async for chunk in follow(link, str(log), stop=stop):
            lines.extend(chunk.lines)

    async def watch() -> None:
        while not link.closed:
            with contextlib.suppress(SshError):
                await (await link.get()).talk("exec sleep 600", lambda *_: None)

    await link.connect()
    reading = asyncio.create_task(read())
    await wait_until(lambda: bool(lines))
    watching = [asyncio.create_task(watch()) for _ in range(2)]
    server.commands.clear()
    await wait_until(lambda: any("sleep" in line for line in server.commands))
    with log.open("a") as file:
        file.write("last\n")
    stop.set(log.stat().st_size)
    await reading
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    await link.aclose()
    assert lines == ["first", "last"]
