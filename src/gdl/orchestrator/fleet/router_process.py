"""The router as a program that is started again when it ends, and that ends with us."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

from gdl.domain.backoff import Backoff
from gdl.domain.errors import DeployError, GdlError
from gdl.domain.events import Noted
from gdl.domain.fleet_events import RouterEnded, RouterStarted
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.text import one_line
from gdl.orchestrator.fleet.dialects import DIALECTS
from gdl.orchestrator.fleet.router import Told
from gdl.orchestrator.fleet.router_install import program_of
from gdl.settings import Settings

if TYPE_CHECKING:
    import httpx

_READY_S = 60.0
"""A program in Python, whose imports take seconds on a busy computer."""
_LOOK_S = 0.05
_ADDED_S, _REMOVED_S = 15.0, 2.0
"""A router that does not say that a replica is gone finds that by itself within as long."""
_END_S = 3.0
_SAME_PORT = 3
"""Starts on the same port that fail before another one is taken."""
_TAIL_BYTES = 4000
_LOG_BYTES = 20_000_000
_END_WITH_US = 'read -r word; [ "$word" ] || kill -9 "$1"'
"""Waits until we say that the process has ended, or until we are gone without a word."""


class RouterProcess:
    """See `Router`."""

    def __init__(self, spec: FleetSpec, key_file: Path, folder: Path, settings: Settings) -> None:
        self._dialect = DIALECTS[spec.router]
        self._name = spec.router
        self._policy = spec.policy
        self._key_file = key_file
        self._log = folder / "router.log"
        self._settings = settings
        self._program: Path | None = None
        self._port = 0
        self._urls: list[str] = []
        self._up = False
        self._about: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """What is said of a replica is said in turn; one that hangs keeps no other waiting."""
        self._task: asyncio.Task[None] | None = None

    async def prepare(self, tell: Callable[[str], Awaitable[None]]) -> None:
        self._program = await program_of(self._dialect, self._settings, tell)

    async def begin(self, port: int, told: Told) -> None:
        self._port = port or _free_port()
        self._task = asyncio.create_task(self._keep(told), name="router")

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # -- replicas --------------------------------------------------------------------------------

    async def add(self, url: str) -> None:
        async with self._about[url]:
            if self._up:
                async with self._http() as http:
                    await self._dialect.add(http, url, self._key_file)
            if url not in self._urls:
                self._urls.append(url)

    async def remove(self, url: str) -> None:
        if url in self._urls:
            self._urls.remove(url)
        async with self._about[url]:
            if self._up:
                async with self._http(_REMOVED_S) as http:
                    await self._dialect.remove(http, url, self._key_file)

    @contextlib.asynccontextmanager
    async def _http(self, limit_s: float = _ADDED_S) -> AsyncIterator[httpx.AsyncClient]:
        """Raises DeployError for what goes wrong on the way."""
        import httpx

        url = f"http://127.0.0.1:{self._port}"
        try:
            async with httpx.AsyncClient(base_url=url, timeout=limit_s, trust_env=False) as http:
                yield http
        except (httpx.HTTPError, TimeoutError, ValueError) as error:
            what = one_line(str(error), 200) or type(error).__name__
            raise DeployError(f"the router does not answer: {what}", "see its log") from None

    # -- the process -----------------------------------------------------------------------------

    async def _keep(self, told: Told) -> None:
        pauses = Backoff(0.2, 10.0)
        failed = 0
        while True:
            try:
                async with self._running() as process:
                    await self._ready(process)
                    await self._add_all(told)
                    failed, pauses = 0, Backoff(0.2, 10.0)
                    await told(
                        RouterStarted(
                            self._name,
                            self._dialect.version,
                            f"http://127.0.0.1:{self._port}/v1",
                            process.pid,
                        )
                    )
                    await process.wait()
                    why = self._why(process.returncode)
            except GdlError as error:
                why = error.message
            finally:
                self._up = False
            failed += 1
            await told(RouterEnded(why))
            if failed % _SAME_PORT == 0:
                self._port = _free_port()
                text = f"the router does not start: from now on the fleet is on port {self._port}"
                await told(Noted("warning", text))
            await asyncio.sleep(next(pauses))

    @contextlib.asynccontextmanager
    async def _running(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """The process, ended on leaving. Raises DeployError when it cannot be started."""
        assert self._program is not None, "prepare first"
        if not _is_free(self._port):
            raise DeployError(f"port {self._port} is in use by another program", "end that program")
        command = self._dialect.command(
            self._program, self._port, _free_port(), self._policy, self._key_file
        )
        nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
        run = asyncio.create_subprocess_exec
        with await asyncio.to_thread(self._open_log) as log:
            try:
                # A session of its own: Ctrl-C in the terminal is for us.
                process = await run(
                    *command, stdin=nothing, stdout=log, stderr=log, start_new_session=True
                )
            except OSError as error:
                raise DeployError(
                    f"cannot run {self._program}: {error.strerror}", "see fleet.program"
                ) from None
        try:
            end_with_us = await run(
                *("/bin/sh", "-c", _END_WITH_US, "sh", str(process.pid)),
                stdin=pipe,
                stdout=nothing,
                stderr=nothing,
                start_new_session=True,
            )
        except BaseException:
            await _end(process)
            raise
        try:
            yield process
        finally:
            await asyncio.shield(_end(process))
            assert end_with_us.stdin is not None
            with contextlib.suppress(OSError):
                end_with_us.stdin.write(b"ended\n")
                end_with_us.stdin.close()
            await end_with_us.wait()

    async def _ready(self, process: asyncio.subprocess.Process) -> None:
        """Until it listens. Raises DeployError when it ends instead, or takes too long."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _READY_S
        while process.returncode is None and loop.time() < until:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                writer.close()
                return
            await asyncio.sleep(_LOOK_S)
        if process.returncode is None:
            raise DeployError(f"the router does not listen after {_READY_S:.0f} s", "see its log")
        raise DeployError(self._why(process.returncode), "see its log")

    async def _add_all(self, told: Told) -> None:
        """The replicas of before; one that is not taken is told, and its own health tells more."""
        self._up = True
        await asyncio.gather(*(self._add_again(url, told) for url in list(self._urls)))

    async def _add_again(self, url: str, told: Told) -> None:
        try:
            async with self._about[url], self._http() as http:
                if url in self._urls:
                    await self._dialect.add(http, url, self._key_file)
        except GdlError as error:
            await told(Noted("warning", f"{url}: {error.message}"))

    def _open_log(self) -> IO[bytes]:
        self._log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._log.is_file() and self._log.stat().st_size > _LOG_BYTES:
            self._log.unlink()
        return self._log.open("ab")

    def _why(self, status: int | None) -> str:
        try:
            with self._log.open("rb") as file:
                file.seek(0, 2)
                file.seek(max(file.tell() - _TAIL_BYTES, 0))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            lines = []
        how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
        last = f": {one_line(lines[-1], 200)}" if lines and status and status > 0 else ""
        return f"the router has ended ({how}){last}"


async def _end(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    await process.wait()


def _is_free(port: int) -> bool:
    """Whether a program could listen there, connections of an earlier one apart."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
