"""Telling a running OpenSSH client to forward a port: its protocol of multiplexing, PROTOCOL.mux
in OpenSSH's sources (version 4, the same since OpenSSH 5.4).

`ssh -O forward` does the same by a program that has to start first; here the listener is taken over
within a millisecond, which nobody who connects notices.
"""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

from gdl.domain.errors import SshError
from gdl.domain.text import one_line

_VERSION = 4
_HELLO = 0x00000001
_OPEN_FORWARD = 0x10000006
_CLOSE_FORWARD = 0x10000007
_OK = 0x80000001
_LOCAL = 1
_LARGEST = 64 * 1024
_ANSWER_S = 10.0


class Mux:
    """One conversation with the client that listens on a control socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use `open`."""
        self._reader = reader
        self._writer = writer
        self._asked = 0

    @classmethod
    async def open(cls, path: Path) -> Mux:
        """Raises SshError when nobody answers, or in another version of the protocol."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(str(path), limit=_LARGEST)
        except (OSError, TimeoutError) as error:
            raise _broken(str(error) or "no answer") from None
        mux = cls(reader, writer)
        try:
            mux._send(struct.pack(">II", _HELLO, _VERSION))
            kind, version = struct.unpack(">II", (await mux._receive())[:8])
            if (kind, version) != (_HELLO, _VERSION):
                raise _broken(f"version {version} of its protocol")
        except BaseException:
            mux.close()
            raise
        return mux

    async def open_forward(self, host: str, port: int, remote_port: int) -> None:
        """Listen on `host`:`port`, and lead to the machine's own `host`:`remote_port`. Raises
        SshError: refused, or the port is taken."""
        await self._ask(_OPEN_FORWARD, host, port, remote_port)

    async def close_forward(self, host: str, port: int, remote_port: int) -> None:
        """Stop to listen; open connections stay. Raises SshError."""
        await self._ask(_CLOSE_FORWARD, host, port, remote_port)

    def close(self) -> None:
        """What was opened stays open."""
        self._writer.close()

    async def _ask(self, kind: int, host: str, port: int, remote_port: int) -> None:
        self._asked += 1
        name = _string(host)
        ends = name + struct.pack(">I", port) + name + struct.pack(">I", remote_port)
        self._send(struct.pack(">III", kind, self._asked, _LOCAL) + ends)
        answer = await self._receive()
        said, number = struct.unpack(">II", answer[:8])
        if number != self._asked:
            raise _broken("an answer to another question")
        if said != _OK:
            raise _broken(answer[12:].decode("utf-8", "replace") or "refused")

    def _send(self, message: bytes) -> None:
        self._writer.write(_string(message))

    async def _receive(self) -> bytes:
        try:
            async with asyncio.timeout(_ANSWER_S):
                (size,) = struct.unpack(">I", await self._reader.readexactly(4))
                if not 8 <= size <= _LARGEST:
                    raise _broken(f"a message of {size} bytes")
                return await self._reader.readexactly(size)
        except (OSError, EOFError, TimeoutError):
            raise _broken("no answer") from None


def _string(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(">I", len(data)) + data


def _broken(why: str) -> SshError:
    return SshError(f"this computer's ssh does not forward: {one_line(why, 200)}", "try again")
