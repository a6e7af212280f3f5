"""One SSH connection to one machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType

import asyncssh

from gdl.domain.errors import CommandTimeout, Disconnected, SshError
from gdl.domain.host import CommandResult
from gdl.ssh.commands import Executor
from gdl.ssh.dial import Dialled, Target, dial
from gdl.ssh.files import RemoteFiles
from gdl.ssh.forward import Forward, probe_port
from gdl.ssh.openssh import Way, way_of
from gdl.ssh.output import OUTPUT_LIMIT, Bounded
from gdl.ssh.session_turns import Rank
from gdl.ssh.shell_session import OnData, OnStart

__all__ = ["OUTPUT_LIMIT", "Connection", "Forward", "Target"]

_ELSEWHERE_S = 10.0
"""For a command that ends another one."""
_BATCH_S = 0.02
_BATCH_BYTES = 256 * 1024


class Connection:
    """Commands, files and forwarded ports over one connection. Does not heal: see Link.

    Every method raises SshError when the connection is lost.
    """

    def __init__(self, target: Target, dialled: Dialled, *, helps: bool = False) -> None:
        """Use `open`. helps: it is there for another one, and needs none."""
        self.target = target
        self._dialled = dialled
        self._conn = dialled.conn
        elsewhere = None if helps else self._run_elsewhere
        self._executor = Executor(self._conn, target.label, elsewhere)
        self._files = RemoteFiles(self._conn, self._executor, target.label)
        self._forwards: set[Forward] = set()

    @classmethod
    async def open(cls, target: Target) -> Connection:
        """Connect, check the host key (or pin it, the first time), authenticate.

        Raises SshAuthFailed, HostKeyChanged, SshError (refused, timed out, unknown host,
        protocol), UsageError (a key file that is missing, unreadable or encrypted).
        """
        return cls(target, await dial(target))

    async def _run_elsewhere(self, command: str) -> None:
        """Run it by a connection of its own, where this one has no session left for it."""
        async with Connection(self.target, await dial(self.target), helps=True) as other:
            await other.run(command, timeout=_ELSEWHERE_S)

    @property
    def host_key_fingerprint(self) -> str:
        """As `SHA256:...`."""
        return self._dialled.fingerprint

    @property
    def closed(self) -> bool:
        return self._conn.is_closed()

    @property
    def close_reason(self) -> str:
        """Why it ended, in words; empty while it is up."""
        return self._dialled.client.reason

    @property
    def raw(self) -> asyncssh.SSHClientConnection:
        """asyncssh's own object, for what this package adds on top."""
        return self._conn

    def openssh_way(self) -> Way | str:
        """How the computer's own ssh gets where this connection leads; a reason if it cannot."""
        return way_of(self.target, self._dialled)

    @property
    def short_of_sessions(self) -> bool:
        """The machine has refused one before."""
        return self._executor.short_of_sessions

    def spare_sessions(self) -> None:
        """It is known to be short of them: keep none open for later."""
        self._executor.spare_sessions()

    async def run(
        self, command: str, *, timeout: float = 30.0, input: str | None = None
    ) -> CommandResult:
        """Run `command` in /bin/sh with the home folder as working directory.

        Of each stream the first 4 MiB are kept, bytes that are not UTF-8 replaced. Exit status
        -N: signal N ended it. Raises CommandTimeout after `timeout` seconds; its channel is
        closed then, and the command asked to end.
        """
        out, err = Bounded(), Bounded()
        status = await self._executor.execute(
            command,
            lambda data, is_error: (err if is_error else out).add(data),
            timeout=timeout,
            input=(input or "").encode("utf-8", "surrogateescape"),
        )
        return CommandResult(
            status,
            out.value().decode("utf-8", "replace"),
            err.value().decode("utf-8", "replace"),
        )

    async def run_again(
        self, command: str, *, timeout: float = 30.0, input: str | None = None
    ) -> CommandResult:
        """The same as `run`: there is no other connection to repeat it on. See Link."""
        return await self.run(command, timeout=timeout, input=input)

    async def stream(
        self, command: str, on_chunk: Callable[[bytes], None], *, timeout: float
    ) -> int:
        """Run `command` and hand on its output, both streams in one, in batches of about 20 ms.

        Returns the exit status as `run` does; everything has been handed on by then.
        """
        loop = asyncio.get_running_loop()
        held = bytearray()
        timer: asyncio.TimerHandle | None = None

        def hand_on() -> None:
            nonlocal timer
            if timer is not None:
                timer.cancel()
                timer = None
            if held:
                data = bytes(held)
                held.clear()
                on_chunk(data)

        def collect(data: bytes, _: bool) -> None:
            nonlocal timer
            held.extend(data)
            if len(held) >= _BATCH_BYTES:
                hand_on()
            elif timer is None:
                timer = loop.call_later(_BATCH_S, hand_on)

        try:
            return await self._executor.execute(
                command, collect, timeout=timeout, rank=Rank.SAMPLES
            )
        finally:
            hand_on()

    async def hold(self, command: str, on_data: OnData, on_start: OnStart) -> int:
        """Run a command that ends when its input does, for as long as it takes: `on_start` gets
        its channel, `on_data` its output as it comes. Returns the exit status as `run` does."""
        return await self._executor.execute(
            command, on_data, timeout=None, on_start=on_start, rank=Rank.LOG
        )

    async def talk(
        self,
        command: str,
        on_data: OnData,
        *,
        input: str = "",
        answered: asyncio.Event | None = None,
    ) -> int:
        """Run a command for as long as it takes: `on_data` gets its output as it comes. Returns the
        exit status as `run` does. answered: until that is set, it gives way to no other one.

        Raises GaveWay where it did, and is to be begun again; so do `stream` and `hold`.
        """
        data = input.encode("utf-8", "surrogateescape")
        return await self._executor.execute(
            command, on_data, timeout=None, input=data, rank=Rank.WATCH, answered=answered
        )

    async def put_text(self, path: str, text: str, mode: int = 0o600) -> None:
        """Write a file (UTF-8): 0600 from its first byte on, then `mode`, then renamed into
        place. Its folder must exist. The text never is part of an argument."""
        await self._files.put(path, text.encode("utf-8", "surrogateescape"), mode)

    async def read_at(self, path: str, offset: int, limit: int) -> tuple[bytes, int]:
        """At most `limit` bytes from `offset`, and the size of the file now, in bytes; a missing
        file gives (b"", 0)."""
        return await self._files.read_at(path, offset, limit)

    async def port_open(self, remote_port: int) -> bool:
        """Whether something listens on the machine's 127.0.0.1:`remote_port`.

        Raises ForwardRefused where the machine forbids to find out this way.
        """
        return await probe_port(self._conn, remote_port, self.target.connect_timeout_s)

    async def forward(self, remote_port: int, local_port: int = 0) -> Forward:
        """Forward 127.0.0.1:`local_port` (0: a free one) to the machine's `remote_port`.

        Nothing needs to listen there yet. Raises ForwardRefused when the machine forbids it, and
        SshError when the local port is taken.
        """
        await self.prepare_forward(remote_port)
        forward = Forward(lambda: None if self._conn.is_closed() else self._conn, remote_port)
        await forward.listen(local_port)
        self._forwards.add(forward)
        return forward

    async def prepare_forward(self, remote_port: int) -> None:
        """Check that forwarding is allowed. Also opens the SFTP session: with a session channel
        on the connection, servers send small packets at once, which forwarded answers need."""
        await self.port_open(remote_port)
        await self._files.warm()

    async def answers(self, within_s: float = 10.0) -> bool:
        """Whether the machine still answers; a connection on which it does not is closed. That it
        has no session left is an answer."""
        try:
            await self.run("true", timeout=within_s)
        except (CommandTimeout, Disconnected):
            await self.aclose()
        except SshError:
            pass
        return not self.closed

    async def wait_closed(self) -> None:
        """Until the connection has ended, for whatever reason."""
        await self._conn.wait_closed()

    async def aclose(self) -> None:
        """Close forwards and connection. Idempotent; takes 2 s at most."""
        for forward in list(self._forwards):
            await forward.aclose()
        self._forwards.clear()
        await self._executor.aclose()
        self._files.close()
        for conn in (self._conn, *reversed(self._dialled.hops)):
            conn.close()
            try:
                async with asyncio.timeout(1.0):
                    await conn.wait_closed()
            except TimeoutError:
                conn.abort()

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
