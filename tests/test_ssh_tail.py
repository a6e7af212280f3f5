"""Following a growing file over a real server: nothing lost, nothing twice, nothing endless."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from gdl.domain.errors import SshError
from gdl.ssh.connection import Connection
from gdl.ssh.reconnecting import Link
from gdl.ssh.remote_log import RemoteLog
from gdl.ssh.tail import Chunk, Stop, follow
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
        self.stop = Stop()
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


@pytest.fixture(params=["gnu tail", "polling"])
def by_polling(request: pytest.FixtureRequest) -> bool:
    return str(request.param) == "polling"


def append(log: Path, data: bytes) -> None:
    with log.open("ab") as file:
        file.write(data)


async def test_lines_as_they_are_written(
    link: Link, server: SshServer, tmp_path: Path, by_polling: bool
) -> None:
    log = tmp_path / "log"
    follower = Follower(link, log, by_polling=by_polling)
    await wait_until(lambda: server.commands, "it looks for the file")
    log.write_bytes(b"one\ntwo\nth")
    await wait_until(lambda: follower.lines == ["one", "two"])
    append(log, b"ree\n\xe2\x9c")
    await wait_until(lambda: follower.lines[2:] == ["three"])
    append(log, b"\x93 \x1b[1mfour\x1b[0m")
    assert await follower.end() == ["one", "two", "three", "✓ four"]
    assert bytes(follower.raw) == log.read_bytes()


async def test_goes_on_from_an_offset(link: Link, tmp_path: Path, by_polling: bool) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\ntwo\n")
    first = Follower(link, log, by_polling=by_polling)
    await first.end()
    assert (first.chunks[-1].first_offset, first.chunks[-1].next_offset) == (0, 8)
    append(log, b"three\n")
    second = Follower(link, log, by_polling=by_polling, offset=first.chunks[-1].next_offset)
    assert await second.end() == ["three"]
    assert bytes(first.raw + second.raw) == log.read_bytes()


async def test_across_cuts(link: Link, server: SshServer, tmp_path: Path, by_polling: bool) -> None:
    log = tmp_path / "log"
    log.touch()
    follower = Follower(link, log, by_polling=by_polling)
    with log.open("ab", buffering=0) as file:
        for number in range(300):
            file.write(b"line %d\n" % number)
            if number % 75 == 40:
                await server.cut()
            await asyncio.sleep(0.003)
    await wait_until(lambda: len(follower.lines) == 300)
    assert await follower.end() == [f"line {number}" for number in range(300)]
    assert bytes(follower.raw) == log.read_bytes()


async def test_a_machine_away_for_longer_than_the_link_tries_is_waited_for(
    server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gdl.ssh.remote_log._LONGEST_PAUSE_S", 0.05)
    log = tmp_path / "log"
    log.write_bytes(b"one\n")
    link = Link(server.target(), give_up_s=0.1)
    await link.connect()
    follower = Follower(link, log)
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
    append(log, b"half\n")
    await server.start()
    await wait_until(lambda: "half" in follower.lines)
    assert await follower.end() == ["one", "half"]
    assert bytes(follower.raw) == log.read_bytes()
    await link.aclose()


async def test_a_machine_that_starts_no_processes_for_a_while_is_asked_again(
    link: Link, server: SshServer, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\n")
    server.forced = "echo 'sh: Cannot fork' >&2; exit 2"
    follower = Follower(link, log)
    await wait_until(lambda: len(server.commands) >= 3)
    server.forced = None
    await wait_until(lambda: follower.lines == ["one"])
    assert await follower.end() == ["one"]


async def test_a_link_that_is_closed_ends_it(link: Link, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\n")
    follower = Follower(link, log)
    await wait_until(lambda: follower.lines == ["one"])
    await link.aclose()
    with pytest.raises(SshError, match="closed"):
        await follower.task


async def test_truncated_file_starts_over(link: Link, tmp_path: Path, by_polling: bool) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"a long first run\nunfinished")
    follower = Follower(link, log, by_polling=by_polling)
    await wait_until(lambda: len(follower.lines) == 2)
    log.write_bytes(b"second\n")
    await wait_until(lambda: "second" in follower.lines)
    append(log, b"third\n")
    assert await follower.end() == ["a long first run", "unfinished", "second", "third"]
    assert ["truncated" in chunk.note for chunk in follower.chunks if chunk.note] == [True]
    assert follower.chunks[-1].next_offset == log.stat().st_size


async def test_a_machine_that_speaks_another_language(
    link: Link, server: SshServer, tmp_path: Path
) -> None:
    server.noise = "export LANG=C.UTF-8 LANGUAGE=de; "
    await test_truncated_file_starts_over(link, tmp_path, by_polling=False)


async def test_missing_file_is_waited_for(link: Link, server: SshServer, tmp_path: Path) -> None:
    follower = Follower(link, tmp_path / "never")
    await wait_until(lambda: server.commands, "it looks for the file")
    assert await follower.end() == []


async def test_rotation_keeps_the_rest_of_the_old_file(
    link: Link, tmp_path: Path, by_polling: bool
) -> None:
    log, old = tmp_path / "log", tmp_path / "log.1"
    log.write_bytes(b"one\n")
    follower = Follower(link, log, by_polling=by_polling)
    await wait_until(lambda: follower.lines == ["one"])
    log.rename(old)
    append(old, b"two\n")
    log.write_bytes(b"four\n")
    # Who writes learns of it a little later.
    await asyncio.sleep(0.3)
    append(old, b"three\n")
    await wait_until(lambda: "four" in follower.lines)
    append(log, b"five\n")
    assert await follower.end() == ["one", "two", "three", "four", "five"]
    assert bytes(follower.raw) == old.read_bytes() + log.read_bytes()
    assert not any(chunk.note for chunk in follower.chunks)


async def test_a_deleted_file_is_read_out_before_its_successor(
    link: Link, tmp_path: Path, by_polling: bool
) -> None:
    log = tmp_path / "log"
    writer = log.open("ab", buffering=0)
    writer.write(b"one\n")
    follower = Follower(link, log, by_polling=by_polling)
    await wait_until(lambda: follower.lines == ["one"])
    log.unlink()
    await wait_until(lambda: any("removed" in chunk.note for chunk in follower.chunks))
    writer.write(b"two\n")
    writer.close()
    log.write_bytes(b"three\n")
    await wait_until(lambda: "three" in follower.lines)
    assert await follower.end() == ["one", "two", "three"]
    assert [chunk.note for chunk in follower.chunks if "rest" in chunk.note] == []


@pytest.mark.parametrize("names", [["log.1"], ["log.1", "log.2", "log.3"]])
async def test_rotation_while_the_machine_is_away_loses_nothing(
    link: Link, server: SshServer, tmp_path: Path, names: list[str]
) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"zero\n")
    follower = Follower(link, log)
    await wait_until(lambda: "zero" in follower.lines)
    await server.stop()
    await wait_until(lambda: not link.connected)
    append(log, b"one and a half\n")
    written = [log.read_bytes()]
    for turn in range(len(names)):
        for number in range(turn, -1, -1):
            source = log if number == 0 else tmp_path / names[number - 1]
            source.rename(tmp_path / names[number])
        await asyncio.sleep(0.02)  # files of one moment have no order
        log.write_bytes(b"of turn %d\n" % turn)
        written.append(log.read_bytes())
    await server.start()
    await wait_until(lambda: follower.lines[-1] == f"of turn {len(names) - 1}")
    append(log, b"the end")
    lines = await follower.end()
    assert bytes(follower.raw) == b"".join(written) + b"the end"
    assert lines == [
        "zero",
        "one and a half",
        *[f"of turn {n}" for n in range(len(names))],
        "the end",
    ]
    assert not any(chunk.note for chunk in follower.chunks)


async def test_a_successor_that_looks_like_the_old_file_is_told_apart_after_a_cut(
    link: Link, server: SshServer, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"the first of all\n")
    follower = Follower(link, log)
    await wait_until(lambda: follower.lines)
    await server.stop()
    await wait_until(lambda: not link.connected)
    # The same inode, and longer: neither number nor size give it away.
    log.write_bytes(b"the second of all\nand more of it\n")
    await server.start()
    await wait_until(lambda: "and more of it" in follower.lines)
    lines = ["the first of all", "the second of all", "and more of it"]
    assert await follower.end() == lines
    assert [chunk.note for chunk in follower.chunks if "replaced" in chunk.note]


async def test_what_is_gone_is_told(link: Link, server: SshServer, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\n")
    follower = Follower(link, log)
    await wait_until(lambda: follower.lines)
    await server.stop()
    await wait_until(lambda: not link.connected)
    (tmp_path / "new").write_bytes(b"two\n")
    (tmp_path / "new").rename(log)
    await server.start()
    await wait_until(lambda: "two" in follower.lines)
    assert await follower.end() == ["one", "two"]
    assert [chunk.note for chunk in follower.chunks if "not to be found" in chunk.note]


async def test_ends_at_the_size_that_is_known(link: Link, tmp_path: Path, by_polling: bool) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"one\n")
    follower = Follower(link, log, by_polling=by_polling)
    await wait_until(lambda: follower.lines == ["one"])
    append(log, b"two\n")
    follower.stop.set(8)
    await asyncio.wait_for(follower.task, 10)
    assert follower.lines == ["one", "two"]


@pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox is not installed")
async def test_a_machine_with_nothing_but_busybox(
    link: Link, server: SshServer, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("ls", "tail", "cat", "sleep"):
        (programs / name).symlink_to(str(shutil.which("busybox")))
    server.path = str(programs)
    log = tmp_path / "log"
    log.write_bytes(b"one\n")
    follower = Follower(link, log)
    await wait_until(lambda: follower.lines == ["one"])
    append(log, b"two\n")
    await wait_until(lambda: "two" in follower.lines)
    await server.cut()
    append(log, b"three\n")
    await wait_until(lambda: "three" in follower.lines)
    assert await follower.end() == ["one", "two", "three"]


async def test_nothing_keeps_running_on_the_machine(
    link: Link, server: SshServer, tmp_path: Path, by_polling: bool
) -> None:
    log = tmp_path / "watched-log"
    log.write_bytes(b"one\n")

    def running() -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = entry.read_bytes()
                if f"set -- {log} ".encode() in words or b"-f\0/proc/self/fd/3" in words:
                    found.append(entry.parent.name)
        return found

    before = running()
    follower = Follower(link, log, by_polling=by_polling)
    await wait_until(lambda: follower.lines == ["one"])
    await server.cut()
    append(log, b"two\n")
    await wait_until(lambda: "two" in follower.lines)
    await follower.end()
    follower = Follower(link, log, by_polling=by_polling)
    await wait_until(lambda: "two" in follower.lines)
    follower.task.cancel()
    await asyncio.gather(follower.task, return_exceptions=True)
    await wait_until(lambda: set(running()) <= set(before))


async def test_what_nobody_takes_stays_on_the_machine(link: Link, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"0123456789abcde\n" * 1_000_000)
    stop = Stop()
    async with RemoteLog(link, str(log), 0, stop) as held:
        await wait_until(lambda: held.waiting > 1_000_000)
        await asyncio.sleep(0.3)
        assert held.waiting < 2_000_000
        stop.set()
        count = 0
        while (piece := held.take()) is not None or not held.over:
            if isinstance(piece, bytes):
                count += len(piece)
            else:
                await held.wait(None)
        assert count == log.stat().st_size


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
    monkeypatch.setattr("gdl.ssh.remote_log._LAST_READ_S", 0.1)
    log = tmp_path / "log"
    log.write_bytes(b"before\nhalf")
    follower = Follower(link, log)
    await wait_until(lambda: follower.lines)
    await server.stop()
    await wait_until(lambda: not link.connected)
    started = time.monotonic()
    assert await follower.end() == ["before", "half"]
    assert time.monotonic() - started < 2
