"""Following a growing file over a real server: nothing lost, nothing twice, nothing endless."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from gdl.domain.errors import CommandTimeout, SshError
from gdl.ssh.connection import Connection
from gdl.ssh.reconnecting import Link
from gdl.ssh.tail import Chunk, follow
from ssh_server import SshServer, serving
from waiting import wait_until


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SshServer]:
    async with serving(tmp_path / "machine") as running:
        yield running


@pytest.fixture
async def link(server: SshServer) -> AsyncIterator[Link]:
    made = Link(server.target(), give_up_s=5)
    await made.connect()
    yield made
    await made.aclose()


class Follower:
    """Follows in a task, and keeps what came."""

    def __init__(self, link: Link, path: Path, **options: object) -> None:
        self.stop = asyncio.Event()
        self.chunks: list[Chunk] = []
        self.raw = bytearray()
        self.task = asyncio.create_task(self._follow(link, path, options))

    async def _follow(self, link: Link, path: Path, options: dict[str, object]) -> None:
        async for chunk in follow(
            link,
            str(path),
            stop=self.stop,
            sink=self.raw.extend,
            **options,  # type: ignore[arg-type]
        ):
            self.chunks.append(chunk)

    @property
    def lines(self) -> list[str]:
        return [line for chunk in self.chunks for line in chunk.lines]

    async def end(self) -> list[str]:
        self.stop.set()
        await asyncio.wait_for(self.task, 10)
        return self.lines


@pytest.fixture
def reads(link: Link, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was read through the link, once it was."""
    done: list[str] = []
    read_at = link.read_at

    async def noted(path: str, offset: int, limit: int) -> tuple[bytes, int]:
        found = await read_at(path, offset, limit)
        done.append(path)
        return found

    monkeypatch.setattr(link, "read_at", noted)
    return done


async def test_lines_as_they_are_written(link: Link, tmp_path: Path, reads: list[str]) -> None:
    log = tmp_path / "log"
    follower = Follower(link, log)
    await wait_until(lambda: reads, "it has looked for the file")
    log.write_bytes(b"one\ntwo\nth")
    await wait_until(lambda: follower.lines == ["one", "two"])
    with log.open("ab") as file:
        file.write(b"ree\n\xe2\x9c")
    await wait_until(lambda: follower.lines[2:] == ["three"])
    with log.open("ab") as file:
        file.write(b"\x93 \x1b[1mfour\x1b[0m")
    assert await follower.end() == ["one", "two", "three", "✓ four"]
    assert bytes(follower.raw) == log.read_bytes()


async def test_goes_on_from_an_offset(link: Link, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\ntwo\n")
    first = Follower(link, log)
    await first.end()
    assert (first.chunks[-1].first_offset, first.chunks[-1].next_offset) == (0, 8)
    with log.open("ab") as file:
        file.write(b"three\n")
    second = Follower(link, log, offset=first.chunks[-1].next_offset)
    assert await second.end() == ["three"]
    assert bytes(first.raw + second.raw) == log.read_bytes()


async def test_across_cuts(link: Link, server: SshServer, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    follower = Follower(link, log)
    with log.open("ab", buffering=0) as file:
        for number in range(300):
            file.write(b"line %d\n" % number)
            if number % 75 == 40:
                await server.cut()
            await asyncio.sleep(0.003)
    assert await follower.end() == [f"line {number}" for number in range(300)]
    assert bytes(follower.raw) == log.read_bytes()


async def test_a_read_that_times_out_before_the_cut_is_noticed_ends_nothing(
    link: Link, server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\n")
    follower = Follower(link, log)
    await wait_until(lambda: follower.lines == ["one"])
    # The machine is silent, and the connection still counts as one.
    monkeypatch.setattr("gdl.ssh.tail._IDLE_POLL_S", 0.01)
    timed_out: list[str] = []
    read_at = link.read_at

    async def silent(path: str, offset: int, limit: int) -> tuple[bytes, int]:
        if len(timed_out) < 3:
            assert link.connected
            timed_out.append(path)
            raise CommandTimeout("no answer about a file", "try again")
        return await read_at(path, offset, limit)

    monkeypatch.setattr(link, "read_at", silent)
    await wait_until(lambda: len(timed_out) == 3)
    await server.cut()
    with log.open("ab") as file:
        file.write(b"two\n")
    await wait_until(lambda: follower.lines == ["one", "two"])
    assert await follower.end() == ["one", "two"]
    assert bytes(follower.raw) == log.read_bytes()


async def test_a_machine_away_for_longer_than_the_link_tries_is_waited_for_when_asked(
    server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gdl.ssh.tail._AWAY_POLL_S", 0.05)
    log = tmp_path / "log"
    log.write_bytes(b"one\nhal")
    link = Link(server.target(), give_up_s=0.1)
    await link.connect()
    follower = Follower(link, log, endless=True)
    await wait_until(lambda: follower.lines == ["one"])
    gave_up: list[str] = []
    get = link.get

    async def noted() -> Connection:
        try:
            return await get()
        except SshError as error:
            gave_up.append(error.message)
            raise

    monkeypatch.setattr(link, "get", noted)
    await server.stop()
    await wait_until(lambda: len(gave_up) >= 2)
    with log.open("ab") as file:
        file.write(b"f\n")
    await server.start()
    await wait_until(lambda: "half" in follower.lines)
    assert await follower.end() == ["one", "half"]
    assert bytes(follower.raw) == log.read_bytes()
    await link.aclose()


async def test_truncated_file_starts_over(link: Link, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"a long first run\nunfinished")
    follower = Follower(link, log)
    await wait_until(lambda: follower.lines)
    log.write_bytes(b"second\n")
    await wait_until(lambda: "second" in follower.lines)
    assert await follower.end() == ["a long first run", "unfinished", "second"]


async def test_missing_file_is_waited_for(link: Link, tmp_path: Path, reads: list[str]) -> None:
    follower = Follower(link, tmp_path / "never")
    await wait_until(lambda: len(reads) >= 2, "it has looked for the file again")
    assert await follower.end() == []


async def test_unreadable_file_is_an_error(link: Link, tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    with pytest.raises(SshError, match="cannot read"):
        await Follower(link, tmp_path / "dir").task


async def test_flood_keeps_the_latest_and_counts_the_rest(link: Link, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(b"%d\n" % number for number in range(100_000)))
    follower = Follower(link, log, max_lines=500)
    lines = await follower.end()
    assert bytes(follower.raw) == log.read_bytes()
    assert max(len(chunk.lines) for chunk in follower.chunks) == 500
    assert len(lines) + sum(chunk.dropped for chunk in follower.chunks) == 100_000
    assert lines[-1] == "99999"
    # No gap and no overlap between the batches.
    ends = [(chunk.first_offset, chunk.next_offset) for chunk in follower.chunks]
    assert ends[0][0] == 0 and ends[-1][1] == log.stat().st_size
    assert all(before[1] == after[0] for before, after in pairwise(ends))


async def test_hundred_thousand_lines_are_quick(link: Link, tmp_path: Path) -> None:
    """Measured idle: 0.3-0.5 s, client and server in one process. The clock is the processor's."""
    log = tmp_path / "log"
    line = b"INFO 11-23 15:00:00 [loader.py:447] Loading weights took some time\n"
    log.write_bytes(line * 100_000)
    started = time.process_time()
    follower = Follower(link, log)
    assert len(await follower.end()) == 100_000
    assert time.process_time() - started < 2


async def test_progress_without_line_ends_shows(link: Link, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    follower = Follower(link, log)
    begun = time.monotonic()
    with log.open("ab", buffering=0) as file:
        file.write(b"start\n")
        for percent in range(70):
            file.write(b"\rloading %d%%" % percent)
            await asyncio.sleep(0.01)
        await wait_until(lambda: follower.lines[-1] == "loading 69%")
        file.write(b"\rloaded\n")
    lines = await follower.end()
    assert lines[0] == "start" and lines[-1] == "loaded"
    # One state each half second, beside the first line and the last state.
    assert 2 <= len(lines) <= 3 + (time.monotonic() - begun) / 0.5


async def test_unfinished_line_shows_once(link: Link, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"Proceed? ")
    follower = Follower(link, log)
    await wait_until(lambda: follower.lines == ["Proceed? "])
    with log.open("ab") as file:
        file.write(b"\nyes\n")
    assert await follower.end() == ["Proceed? ", "yes"]


async def test_stop_while_the_machine_is_away(
    link: Link, server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gdl.ssh.tail._LAST_READ_S", 0.1)
    log = tmp_path / "log"
    log.write_bytes(b"before\nhalf")
    follower = Follower(link, log)
    await wait_until(lambda: follower.lines)
    await server.stop()
    await wait_until(lambda: not link.connected)
    started = time.monotonic()
    assert await follower.end() == ["before", "half"]
    assert time.monotonic() - started < 2
