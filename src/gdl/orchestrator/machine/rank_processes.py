"""The servers of one model over several machines, watched as one: when one ends, all are over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from gdl.diagnosis.rule_engine import diagnose
from gdl.domain.errors import GdlError, SshError
from gdl.domain.rank_failures import RankSeen, failed_first, is_error, own
from gdl.engines.base import LogMark, Plan
from gdl.orchestrator.machine.connection import Machine
from gdl.orchestrator.machine.engine_process import EngineProcess
from gdl.orchestrator.machine.joined_machine import JoinedMachine
from gdl.ssh.job_watch import Watch
from gdl.ssh.tail import Stop

_LINGERS_S = 10.0
"""How long a server goes on after an error of its own that is known to end it: one whose worker was
killed may stay for ever."""
_ENDS_IT = frozenset({"engine-killed", "engine-dead"})
_ONE_ERROR_S = 10.0
"""Lines of an error come at once; what comes so much later is another one."""
_OF_AN_ERROR = 60
"""Lines that a traceback and its cause have, of the first error."""
_TOLD_S = 2.0
"""Until what the others said at the same moment is here."""


class RankProcess(EngineProcess):
    """One of them. `seen`: when it failed."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._error_at: float | None = None
        self._error: list[str] = []
        self._ended_at: float | None = None
        self._last_error_at = -_ONE_ERROR_S

    @property
    def seen(self) -> RankSeen:
        return RankSeen(self._error_at if own(self._error) else None, self._ended_at)

    def _follow_on(self, watch: Watch, offset: int = 0) -> None:
        self._error_at, self._ended_at = None, None
        self._error, self._last_error_at = [], -_ONE_ERROR_S
        super()._follow_on(watch, offset)

    async def _await_end(self, stop: Stop, watch: Watch) -> None:
        await super()._await_end(stop, watch)
        self._ended_at = time.monotonic()

    async def _heard(self, lines: Sequence[str]) -> None:
        now = time.monotonic()
        for line in lines:
            if is_error(line):
                if now - self._last_error_at > _ONE_ERROR_S:
                    self._error_at = now
                    self._error = []
                self._last_error_at = now
            if self._error_at is not None and len(self._error) < _OF_AN_ERROR:
                self._error.append(line)
        await super()._heard(lines)


class JoinedProcess(RankProcess):
    """A server that serves nobody by itself: it takes part in no phase."""

    def __init__(self, machine: JoinedMachine) -> None:
        super().__init__(machine)
        self.number = machine.number
        self.host = machine.rental.host

    async def _heard(self, lines: Sequence[str]) -> None:
        before = self._error_at
        await super()._heard(lines)
        if self._error_at != before:
            self._machine.spawn(self._give_up_lingering())

    async def _give_up_lingering(self) -> None:
        """A server that says that its worker was killed has failed, whether or not it ends."""
        if await self.ends_within(_LINGERS_S):
            return
        found = diagnose(self._machine.rules, list(self._tail))
        if found.rule in _ENDS_IT and own(self._error):
            self._give_up(found)

    async def _tell_plan(self, plan: Plan) -> None:
        """That of the server with the endpoint is told."""

    async def _marked(self, mark: LogMark) -> None:
        """Likewise."""

    async def _sample(self, pid: int) -> None:
        """Likewise."""

    async def _watch_gpus(self, stop: Stop) -> None:
        """Likewise."""


class HeadProcess(RankProcess):
    """The server with the endpoint, and all that belong to it. plans: of the others, before it is
    started."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.joined: list[JoinedProcess] = []
        self.plans: Sequence[Plan] = ()
        self._watching: list[asyncio.Task[None]] = []

    async def start(self, plan: Plan) -> None:
        """Number 0 first: the others meet at it. Raises DeployError, SshError."""
        await super().start(plan)
        pairs = zip(self.joined, self.plans, strict=True)
        await asyncio.gather(*(process.start(own) for process, own in pairs))
        self._watch_all()

    async def adopt(self) -> None:
        """Watch all of them, which run already. Raises DeployError when one does not."""
        await super().adopt()
        await asyncio.gather(*(process.adopt() for process in self.joined))
        self._watch_all()

    def _watch_all(self) -> None:
        for task in self._watching:
            task.cancel()
        self._watching = [self._machine.spawn(self._until_over(each)) for each in self.joined]

    async def _until_over(self, process: JoinedProcess) -> None:
        await process.over.wait()
        self.over.set()

    async def ends_within(self, seconds: float) -> bool:
        """Whether one of them has ended, or does so within that time."""
        try:
            async with asyncio.timeout(seconds):
                await self.over.wait()
        except TimeoutError:
            return False
        return True

    async def fail(self, what: str) -> None:
        """As of one server, by the log of the one that failed first, which is named."""
        await asyncio.sleep(_TOLD_S)  # no event tells that nothing more comes of the others
        number = failed_first([each.seen for each in (self, *self.joined)])
        away = next((each for each in self.joined if each.trouble is not None), None)
        if number:
            await _fail(self.joined[number - 1])
        if away is not None and not self.ended.is_set():
            await _fail(away)
        await super().fail(f"rank 0 failed first: {what}")

    async def end_found(self) -> None:
        """On all machines."""
        await super().end_found()
        await asyncio.gather(*(process.end_found() for process in self.joined))

    async def stop(self) -> None:
        """All of them, whether or not one cannot be. Raises SshError."""
        for task in self._watching:
            task.cancel()
        ends = [EngineProcess.stop(self), *(process.stop() for process in self.joined)]
        ended = await asyncio.gather(*ends, return_exceptions=True)
        for number, error in enumerate(ended):
            if isinstance(error, SshError):
                error.message = f"rank {number}: {error.message}"
                raise error
            if isinstance(error, BaseException):
                raise error


async def _fail(process: JoinedProcess) -> None:
    """Raises why that one failed."""
    who = f"rank {process.number} ({process.host})"
    try:
        await process.fail(f"{who} failed first: its server ended")
    except GdlError as error:
        if who not in error.message:
            error.message = f"{who} failed first: {error.message}"
        raise
