"""Which way forwarded connections take: by our own SSH connection, or by the computer's own `ssh`.

When a forward is wanted, ssh enters the machine by itself and listens on the port; where it cannot,
or takes too long, we do, on the connection that we have. When it ends, we listen in its place until
it is there again. Whoever uses a port notices nothing of it but the speed.
"""

from __future__ import annotations

import asyncio
import contextlib

from gdl.domain.backoff import RETRYING, Backoff
from gdl.domain.errors import SshError
from gdl.ssh.connection import Connection
from gdl.ssh.forward import Forward
from gdl.ssh.openssh import OpenSsh, Way

_SOON_S = 5.0
"""A port that is to be opened waits so long for ssh."""
_TRIES = 3
"""In a row without success; then not before the connection is made again."""
_FIRST_DELAY_S, _MAX_DELAY_S = 1.0, 30.0
_ANSWERS_S = 10.0
"""After our own connection was cut, ssh has so long to show that its own stands."""
_STEADY_S = 60.0
"""Who ends sooner did not come about."""
_PORT_DELAY_S = 1.0
"""Until a port is asked for again that somebody took in the moment between two listeners."""


class OpenSshForwards:
    """Keeps an ssh running for the forwards of one link, as long as there are any."""

    def __init__(self) -> None:
        self.reason = ""
        """Why they go by the built-in way; "" when they do not, or it is not known yet."""
        self._forwards: set[Forward] = set()
        self._conn: Connection | None = None
        self._news = asyncio.Event()
        """A connection was made or cut, or a forward added."""
        self._in_doubt = False
        self._settled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.process: OpenSsh | None = None
        """While there is one that is connected."""

    def connected(self, conn: Connection) -> None:
        """The link has made its connection, for the first time or again."""
        self._conn = conn
        self._news.set()

    def cut(self) -> None:
        """The link's connection is no more. A cut of the network is one of ssh's connection, too,
        and ssh may take longer to see it."""
        self._in_doubt = True
        self._news.set()

    def expect(self) -> None:
        """A forward will be wanted soon: let ssh connect meanwhile. Returns at once."""
        if self._task is None or self._task.done():
            self._settled.clear()
            self._task = asyncio.create_task(self._run(), name="openssh-forwards")

    async def open(self, forward: Forward, local_port: int) -> None:
        """Have the forward listened on, by ssh if it is ready soon: who takes a port over later
        turns somebody away who connects in that very moment. Raises SshError when the local port
        is taken."""
        self.expect()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SOON_S):
                await self._settled.wait()
        if self.process is not None:
            with contextlib.suppress(SshError):
                await forward.let_listen(self.process, local_port)
        if forward.by == "built-in":
            await forward.listen(local_port)
        self._forwards.add(forward)
        self._news.set()

    async def remove(self, forward: Forward) -> None:
        """Nobody listens on its port then."""
        self._forwards.discard(forward)
        if not self._forwards:
            await self.aclose()
        elif self.process is not None and forward.by == "openssh":
            with contextlib.suppress(SshError):
                await self.process.close_forward(forward.local_port, forward.remote_port)

    async def aclose(self) -> None:
        """End ssh and what it forwards. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    # -- the task --------------------------------------------------------------------------------

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        pauses = Backoff(_FIRST_DELAY_S, _MAX_DELAY_S, growth=RETRYING)
        failed = 0
        while True:
            conn = await self._connection()
            way = conn.openssh_way()
            if isinstance(way, str):
                self.reason = way
            if isinstance(way, str) or failed >= _TRIES:
                failed = 0
                pauses.reset()
                self._settled.set()
                await self._next_connection(conn)
                continue
            began = loop.time()
            try:
                await self._while_it_runs(way)
            except SshError as error:
                self.reason = error.message
                self._settled.set()
            if loop.time() - began > _STEADY_S:
                failed = 0
                pauses.reset()
            else:
                failed += 1
                await asyncio.sleep(next(pauses))

    async def _connection(self) -> Connection:
        while self._conn is None or self._conn.closed:
            self._news.clear()
            await self._news.wait()
        return self._conn

    async def _next_connection(self, last: Connection) -> None:
        while self._conn is last:
            self._news.clear()
            await self._news.wait()

    async def _while_it_runs(self, way: Way) -> None:
        """Raises SshError when it does not come about."""
        openssh = self.process = await OpenSsh.start(way)
        try:
            await self._hand_over(openssh)
            self.reason = ""
            self._settled.set()
            await self._watch(openssh)
        finally:
            self.process = None
            await openssh.aclose()
            await self._take_again()

    async def _hand_over(self, openssh: OpenSsh) -> None:
        for forward in list(self._forwards):
            if forward.by == "built-in":
                await forward.hand_over(openssh)

    async def _watch(self, openssh: OpenSsh) -> None:
        """Until it has ended, or is of no use any more."""
        self._in_doubt = False
        ended = asyncio.create_task(openssh.wait_ended())
        news: asyncio.Task[bool] | None = None
        try:
            while True:
                news = asyncio.create_task(self._news.wait())
                await asyncio.wait({ended, news}, return_when=asyncio.FIRST_COMPLETED)
                self._news.clear()
                if ended.done():
                    return
                if self._in_doubt and not await openssh.answers(_ANSWERS_S):
                    return
                self._in_doubt = False
                await self._hand_over(openssh)
        finally:
            tasks = [task for task in (ended, news) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take_again(self) -> None:
        for forward in list(self._forwards):
            while True:
                try:
                    await forward.take_again()
                    break
                except SshError as error:
                    self.reason = error.message
                    await asyncio.sleep(_PORT_DELAY_S)
