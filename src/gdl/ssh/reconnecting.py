"""A connection that heals by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncssh

from gdl.domain.backoff import RETRYING, Backoff
from gdl.domain.errors import (
    CommandTimeout,
    ForwardRefused,
    HostKeyChanged,
    SshAuthFailed,
    SshError,
    UsageError,
)
from gdl.domain.host import CommandResult
from gdl.ssh.connection import Connection
from gdl.ssh.dial import Target
from gdl.ssh.forward import Forward
from gdl.ssh.openssh_forwards import OpenSshForwards

_T = TypeVar("_T")

_FIRST_DELAY_S = 0.2
_MAX_DELAY_S = 5.0
_TRIES = 6
"""Of what may be done twice."""
_CLOSES_S = 1.0
"""A connection that breaks under a call is known to be closed a moment later."""


class Link:
    """Keeps a connection to one machine, and makes it again when it is cut.

    on_state is called with "connected" and with "reconnecting: REASON".
    give_up_s: how long a cut connection is tried for before callers get an SshError; the next
    call tries again. A changed host key or a refused key ends the trying at once.
    """

    def __init__(
        self,
        target: Target,
        *,
        on_state: Callable[[str], None] | None = None,
        give_up_s: float = 120.0,
    ) -> None:
        self.target = target
        self._on_state = on_state or (lambda _: None)
        self._give_up_s = give_up_s
        self._conn: Connection | None = None
        self._making: asyncio.Task[Connection] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._forwards: set[Forward] = set()
        self._openssh = OpenSshForwards()
        self._closed = False
        self._deadline = float("inf")

    async def connect(self) -> Connection:
        """The first connection; one try, its errors go to the caller."""
        if self._conn is not None and not self._conn.closed:
            return self._conn
        self._check_open()
        return self._adopt(await Connection.open(self.target))

    @property
    def connected(self) -> bool:
        return self._conn is not None and not self._conn.closed

    @property
    def short_of_sessions(self) -> bool:
        """The machine has refused one on the connection that is, or was, the last."""
        return self._conn is not None and self._conn.short_of_sessions

    @property
    def closed(self) -> bool:
        """Nobody makes the connection again."""
        return self._closed

    async def get(self) -> Connection:
        """A live connection, made again if needed; callers at the same time share the making.

        Raises SshError after `give_up_s`, HostKeyChanged and SshAuthFailed at once.
        """
        self._check_open()
        if self._conn is not None and not self._conn.closed:
            return self._conn
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._reconnect(), name="ssh-reconnect")
            # Nobody may be waiting; the error then shows at the next call.
            self._making.add_done_callback(_seen)
        return await asyncio.shield(self._making)

    async def run(
        self, command: str, *, timeout: float = 30.0, input: str | None = None
    ) -> CommandResult:
        """As Connection.run, on a live connection. Never repeated: raises SshError when cut."""
        return await (await self.get()).run(command, timeout=timeout, input=input)

    async def run_again(
        self, command: str, *, timeout: float = 30.0, input: str | None = None
    ) -> CommandResult:
        """As Connection.run, for what may be run twice; done again on a fresh connection when cut,
        and once when it took too long on one that stands."""
        return await self.repeating(lambda conn: conn.run(command, timeout=timeout, input=input))

    async def stream(
        self, command: str, on_chunk: Callable[[bytes], None], *, timeout: float
    ) -> int:
        """As Connection.stream. Never repeated: raises SshError when cut."""
        return await (await self.get()).stream(command, on_chunk, timeout=timeout)

    async def put_text(self, path: str, text: str, mode: int = 0o600) -> None:
        """As Connection.put_text; done again on a fresh connection when cut."""
        await self.repeating(lambda conn: conn.put_text(path, text, mode))

    async def read_at(self, path: str, offset: int, limit: int) -> tuple[bytes, int]:
        """As Connection.read_at; done again on a fresh connection when cut."""
        return await self.repeating(lambda conn: conn.read_at(path, offset, limit))

    async def port_open(self, remote_port: int) -> bool:
        """As Connection.port_open; done again on a fresh connection when cut."""
        return await self.repeating(lambda conn: conn.port_open(remote_port))

    async def forward(self, remote_port: int, local_port: int = 0) -> Forward:
        """As Connection.forward, and it outlives a cut: the local port stays the same. While the
        connection is down, who connects to the port is turned away at once. It is the computer's
        own ssh that listens, where `target.tunnel` lets it and it can; see OpenSshForwards."""
        self.expect_forward()
        await self.repeating(lambda conn: conn.prepare_forward(remote_port))
        forward = Forward(self._raw, remote_port, self._openssh.remove)
        await self._openssh.open(forward, local_port)
        self._forwards.add(forward)
        return forward

    def expect_forward(self) -> None:
        """`forward` will be called soon: what it waits for is begun. Returns at once."""
        self._openssh.expect()

    @property
    def openssh(self) -> OpenSshForwards:
        """What the computer's own ssh does for this link."""
        return self._openssh

    def hurry(self, give_up_s: float) -> None:
        """From now on a machine that is away is waited for no longer than that."""
        self._give_up_s = min(self._give_up_s, give_up_s)
        self._deadline = min(self._deadline, asyncio.get_running_loop().time() + give_up_s)

    async def aclose(self) -> None:
        """Close forwards and connection, stop to reconnect. Idempotent."""
        self._closed = True
        for forward in list(self._forwards):
            await forward.aclose()
        self._forwards.clear()
        await self._openssh.aclose()
        tasks = [task for task in (self._watch, self._making) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._conn is not None:
            await self._conn.aclose()

    async def repeating(self, call: Callable[[Connection], Awaitable[_T]]) -> _T:
        """Do what may be done twice: again on a fresh connection when the one it ran on was cut,
        and once more when it took too long on one that stands. Raises SshError, CommandTimeout too,
        when the machine stays out of reach, or the connection stands all the same."""
        late = 0
        for _ in range(_TRIES - 1):
            conn = await self.get()
            try:
                return await call(conn)
            except ForwardRefused:
                raise
            except CommandTimeout:
                # A cut that nobody told of looks the same, and may just be over.
                late += 1
                if await conn.answers() and late > 1:
                    raise
            except SshError:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CLOSES_S):
                        await conn.wait_closed()
                if not conn.closed:
                    raise
        return await call(await self.get())

    def _raw(self) -> asyncssh.SSHClientConnection | None:
        conn = self._conn
        return None if conn is None or conn.closed else conn.raw

    def _adopt(self, conn: Connection) -> Connection:
        if self.short_of_sessions:
            conn.spare_sessions()
        self._conn = conn
        self._openssh.connected(conn)
        if self._watch is not None:
            self._watch.cancel()
        self._watch = asyncio.create_task(self._watch_over(conn), name="ssh-watch")
        self._on_state("connected")
        return conn

    async def _watch_over(self, conn: Connection) -> None:
        """Reconnect when the connection is cut even if nobody asks: forwards depend on it."""
        await conn.wait_closed()
        self._openssh.cut()
        if self._closed:
            return
        try:
            await self.get()
        except SshError:
            # Shown to whoever asks next.
            return

    async def _reconnect(self) -> Connection:
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + self._give_up_s
        pauses = Backoff(_FIRST_DELAY_S, _MAX_DELAY_S, growth=RETRYING)
        reason = self._conn.close_reason if self._conn is not None else "not connected yet"
        if self._conn is not None:
            await self._conn.aclose()
        while True:
            self._on_state(f"reconnecting: {reason or 'the connection was lost'}")
            try:
                conn = await Connection.open(self.target)
            except (HostKeyChanged, SshAuthFailed):
                raise
            except UsageError as error:
                # Its key was there for the first connection: whoever has released it took it.
                raise SshAuthFailed(error.message, error.hint) from None
            except SshError as error:
                delay = next(pauses)
                if loop.time() + delay > self._deadline:
                    raise SshError(
                        f"{self.target.label} stayed out of reach for {self._give_up_s:g} s: "
                        f"{error.message}",
                        "the machine may be gone; ask its backend",
                    ) from None
                reason = error.message
            else:
                return self._adopt(conn)
            await asyncio.sleep(delay)

    def _check_open(self) -> None:
        if self._closed:
            raise SshError(f"the link to {self.target.label} is closed", "connect again")


def _seen(task: asyncio.Task[Connection]) -> None:
    if not task.cancelled():
        task.exception()
