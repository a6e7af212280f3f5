"""Pipes between a child process and an SSH channel, each end owned and closed by name."""

from __future__ import annotations

import asyncio
import contextlib
import os
from contextlib import AsyncExitStack

import asyncssh

_CHUNK = 64 * 1024


class ChildEnd:
    """The end of a pipe that a child gets; closed on our side once the child has it."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def close(self) -> None:
        """Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


async def read_end(stack: AsyncExitStack) -> tuple[ChildEnd, asyncio.StreamReader]:
    """A pipe that the child writes and we read."""
    ours, theirs = os.pipe()
    end = ChildEnd(theirs)
    stack.callback(end.close)
    return end, await reader_of(stack, ours)


async def write_end(stack: AsyncExitStack) -> tuple[ChildEnd, asyncio.StreamWriter]:
    """A pipe that the child reads and we write."""
    theirs, ours = os.pipe()
    end = ChildEnd(theirs)
    stack.callback(end.close)
    return end, await writer_of(stack, ours)


async def reader_of(stack: AsyncExitStack, fd: int) -> asyncio.StreamReader:
    """A reader of `fd`, which it owns; closed with the stack."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", 0)
    )
    stack.callback(transport.close)
    return reader


async def writer_of(stack: AsyncExitStack, fd: int) -> asyncio.StreamWriter:
    """A writer of `fd`, which it owns; closed with the stack, unwritten bytes dropped."""
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(fd, "wb", 0)
    )

    def drop() -> None:
        # A pipe transport that has ended already cannot be aborted once more.
        if not transport.is_closing() or transport.get_write_buffer_size():
            transport.abort()

    stack.callback(drop)
    return asyncio.StreamWriter(transport, protocol, None, loop)


async def pump_in(
    source: asyncssh.SSHReader[bytes], sink: asyncio.StreamWriter, *, close: bool = True
) -> None:
    """Channel to child, until the client sends no more or the child reads no more."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
    if close:
        sink.close()


async def pump_out(source: asyncio.StreamReader, sink: asyncssh.SSHWriter[bytes]) -> None:
    """Child to channel, until the child (and whoever inherited its output) closes it. A terminal
    ends with an input/output error rather than with an end of file."""
    with contextlib.suppress(OSError, asyncssh.Error):
        while data := await source.read(_CHUNK):
            sink.write(data)
            await sink.drain()
