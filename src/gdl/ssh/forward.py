"""Local port forwarding: a listener on loopback whose connections end on the machine.

The listener asks for the SSH connection each time somebody connects, so it outlives a
connection that is cut and made again: the local port stays the same. It may hand its port to
somebody who does the same quicker (openssh_forwards.py), and listens again when that one is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, cast

import asyncssh

from gdl.domain.errors import CommandTimeout, Disconnected, ForwardRefused, SshError
from gdl.ssh.backlog import LENGTH
from gdl.ssh.opening import opened

LOOPBACK = "127.0.0.1"

_WINDOW = 8 * 1024 * 1024
"""Bytes of one connection that may be on their way here. asyncssh asks for more when half of it is
used up, so that this keeps 4 MiB in flight at the least; OpenSSH has 2 MiB."""
_PACKET = 64 * 1024

_PROHIBITED = (asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, asyncssh.OPEN_UNKNOWN_CHANNEL_TYPE)

Dial = Callable[[], asyncssh.SSHClientConnection | None]
"""The live connection, or None while there is none."""

ForwardedBy = Literal["built-in", "openssh"]


async def probe_port(conn: asyncssh.SSHClientConnection, port: int, timeout: float) -> bool:
    """Whether something listens on the machine's loopback `port`; `timeout` in seconds.

    Raises ForwardRefused when the machine forbids forwarding, SshError when the connection is
    lost or does not answer in time.
    """
    chan: asyncssh.SSHTCPChannel[bytes]
    try:
        async with asyncio.timeout(timeout):
            chan, _ = await opened(
                conn.create_connection(_Probe, LOOPBACK, port), lambda late: late[0].abort()
            )
    except asyncssh.ChannelOpenError as error:
        if conn.is_closed():
            raise Disconnected("the SSH connection was lost", "it is made again") from None
        if error.code in _PROHIBITED:
            raise ForwardRefused(
                "the machine does not allow port forwarding",
                "set AllowTcpForwarding yes on it, or let the checks run on the machine itself",
            ) from None
        return False
    except TimeoutError:
        raise CommandTimeout(f"no answer about port {port} in {timeout:g} s", "try again") from None
    except (asyncssh.Error, OSError) as error:
        raise Disconnected(f"the SSH connection was lost: {error}", "it is made again") from None
    chan.abort()
    return True


class _Probe(asyncssh.SSHTCPSession[bytes]):
    """Wants to know only that the connection could be opened."""


class Taker(Protocol):
    """Who forwards ports, too."""

    async def prepare(self) -> None: ...
    async def open_forward(self, port: int, remote_port: int) -> None: ...


class Forward:
    """A local port on 127.0.0.1 that leads to a port on the machine's loopback.

    on_close: called once, first thing when it is closed.
    """

    def __init__(
        self,
        dial: Dial,
        remote_port: int,
        on_close: Callable[[Forward], Awaitable[None]] | None = None,
    ) -> None:
        self.remote_port = remote_port
        self.local_port = 0
        self.by: ForwardedBy = "built-in"
        """Who accepts connections now; those that are open stay where they are."""
        self._dial = dial
        self._on_close = on_close
        self._server: asyncio.Server | None = None
        self._closed = False
        self._ends: set[_LocalEnd] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self, local_port: int = 0) -> None:
        """Start to accept. Port 0 takes a free one. Raises SshError when the port is in use."""
        loop = asyncio.get_running_loop()
        try:
            # Not to accept at once: cut short there, asyncio would forget an open socket.
            self._server = await loop.create_server(
                lambda: _LocalEnd(self),
                LOOPBACK,
                local_port,
                backlog=LENGTH,
                start_serving=False,
            )
            await self._server.start_serving()
        except asyncio.CancelledError:
            self._stop()
            raise
        except OSError as error:
            raise _cannot_listen(local_port, error) from None
        self.local_port = int(self._server.sockets[0].getsockname()[1])
        if self._closed:
            self._stop()

    async def let_listen(self, taker: Taker, local_port: int = 0) -> None:
        """In place of `listen`: the taker does, from the start. Raises SshError: nobody does."""
        try:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((LOOPBACK, local_port))
                port = int(probe.getsockname()[1])
        except OSError as error:
            raise _cannot_listen(local_port, error) from None
        await taker.open_forward(port, self.remote_port)
        self.local_port = port
        self.by = "openssh"

    async def hand_over(self, taker: Taker) -> None:
        """Let the taker listen on the port from now on. Raises SshError when it does not: then
        nothing has changed."""
        await taker.prepare()
        # Who has connected by now is accepted by the loop before the listener goes.
        await asyncio.sleep(0)
        if self._closed:
            return
        self._stop()
        try:
            await taker.open_forward(self.local_port, self.remote_port)
        except BaseException:
            # Should the port be taken by now, even by the taker, that is no news for who cut this
            # short.
            with contextlib.suppress(SshError):
                await self.listen(self.local_port)
            raise
        self.by = "openssh"

    async def take_again(self) -> None:
        """Listen again, after the taker has ended. Raises SshError when the port is in use."""
        if self._server is None and not self._closed:
            await self.listen(self.local_port)
            self.by = "built-in"

    async def aclose(self) -> None:
        """Stop to accept and close what is open. Idempotent."""
        if self._on_close is not None and not self._closed:
            self._closed = True
            await self._on_close(self)
        self._closed = True
        self._stop()
        for end in list(self._ends):
            end.abort()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def accepted(self, end: _LocalEnd) -> None:
        """A local connection came in: open its other end, or close it."""
        conn = self._dial()
        if conn is None or self._closed:
            end.abort()
            return
        self._ends.add(end)
        task = asyncio.ensure_future(self._open(conn, end))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def ended(self, end: _LocalEnd) -> None:
        self._ends.discard(end)

    async def _open(self, conn: asyncssh.SSHClientConnection, end: _LocalEnd) -> None:
        try:
            await opened(
                conn.create_connection(
                    lambda: _RemoteEnd(end),
                    LOOPBACK,
                    self.remote_port,
                    window=_WINDOW,
                    max_pktsize=_PACKET,
                ),
                lambda late: late[0].abort(),
            )
        except (asyncssh.Error, OSError):
            # Nothing listens there yet, or the connection went: the client sees a closed socket.
            end.close()


def _cannot_listen(port: int, error: OSError) -> SshError:
    return SshError(
        f"cannot listen on {LOOPBACK}:{port}: {error.strerror or error}",
        "choose another local port, or 0 for any free one",
    )


class _LocalEnd(asyncio.Protocol):
    """The accepted socket. Nothing is read until its other end is open, but for a first piece on
    event loops that cannot be told so early to wait (uvloop)."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._transport: asyncio.Transport | None = None
        self._chan: asyncssh.SSHTCPChannel[bytes] | None = None
        self._early = bytearray()
        self._eof_seen = False
        self._eof_sent = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.pause_reading()
        self._forward.accepted(self)

    def attach(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        if self._transport is None:
            chan.abort()
            return
        self._chan = chan

    def start(self) -> None:
        if self._chan is not None:
            if self._early:
                self._chan.write(bytes(self._early))
                self._early.clear()
            if self._eof_seen:
                self._chan.write_eof()
        self.resume()

    def data_received(self, data: bytes) -> None:
        if self._chan is not None and not self._early:
            self._chan.write(data)
        else:
            self._early += data
            self.pause()

    def eof_received(self) -> bool:
        self._eof_seen = True
        if self._chan is not None:
            self._chan.write_eof()
        if self._eof_sent:
            self.close()
        return True

    def pause_writing(self) -> None:
        if self._chan is not None:
            self._chan.pause_reading()

    def resume_writing(self) -> None:
        if self._chan is not None:
            self._chan.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._forward.ended(self)
        if self._chan is not None:
            self._chan.close()
            self._chan = None

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def write_eof(self) -> None:
        self._eof_sent = True
        if self._eof_seen:
            self.close()
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def pause(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class _RemoteEnd(asyncssh.SSHTCPSession[bytes]):
    """The channel to the machine."""

    def __init__(self, local: _LocalEnd) -> None:
        self._local = local

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self._local.attach(chan)

    def session_started(self) -> None:
        self._local.start()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._local.write(data)

    def eof_received(self) -> bool:
        self._local.write_eof()
        return True

    def pause_writing(self) -> None:
        self._local.pause()

    def resume_writing(self) -> None:
        self._local.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._local.close()
