"""A process that carries a share of a load: `python -m gdl.loadgen.worker`, started by
`gdl.loadgen.workers`. It ends when its stdin does, whatever it is at."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable

from gdl.domain.errors import GdlError
from gdl.domain.secret import Secret
from gdl.loadgen import worker_messages
from gdl.loadgen.load import measure
from gdl.loadgen.transport_factory import transport_for
from gdl.loadgen.worker_messages import Begin, Done, Failed, Message, Ready, Share, packed

_TELL_EVERY_S = 0.25
_NEAR_S = 0.003
"""Before the begin the rest is waited for without the event loop, whose timers are rounded."""


async def _work(reader: asyncio.StreamReader) -> None:
    key = Secret(str(await worker_messages.read(reader)))
    share = await worker_messages.read(reader)
    assert isinstance(share, Share)
    transport = transport_for(share.url, key, share.limits, share.tls)
    told = 0.0

    async def begin() -> None:
        _tell(Ready(time.perf_counter()))
        word = await worker_messages.read(reader)
        assert isinstance(word, Begin)
        await asyncio.sleep(max(word.at - time.perf_counter() - _NEAR_S, 0.0))
        while time.perf_counter() < word.at:
            pass

    def progress(done: int, _: int) -> None:
        nonlocal told
        if (now := time.perf_counter()) - told > _TELL_EVERY_S:
            told = now
            _tell(Done(done))

    try:
        measured = await measure(
            transport,
            share.request_template,
            share.conversations,
            key,
            concurrency=share.concurrency,
            due=share.due,
            limit_s=share.limit_s,
            on_progress=progress,
            begin=begin,
        )
        _tell(measured)
    except GdlError as error:
        _tell(Failed(error.message, error.hint))
    finally:
        await transport.aclose()


def _tell(message: Message) -> None:
    """At once. Only the figures are more than a pipe holds, and when they come no clock runs."""
    data = memoryview(packed(message))
    while data:
        data = data[os.write(1, data) :]


async def _run() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: _Input(reader), sys.stdin.buffer)
    await _work(reader)


class _Input(asyncio.StreamReaderProtocol):
    """Nobody waits for the figures once stdin has ended."""

    def eof_received(self) -> bool:
        os._exit(0)


def main() -> None:
    """Run one share and leave."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    try:
        import uvloop

        factory = uvloop.new_event_loop
    except ImportError:
        pass
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_run())


if __name__ == "__main__":
    main()
