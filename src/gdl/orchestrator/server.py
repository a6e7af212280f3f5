"""The server on the machine: start it detached, follow its log, learn of its end at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque

from gdl.domain.errors import DeployError, SshError
from gdl.domain.events import LogLines, Phase
from gdl.engines.base import Engine, Plan, Step
from gdl.orchestrator import installing
from gdl.orchestrator.machine import ENGINE_JOB, TAIL_KEPT, Machine
from gdl.ssh import jobs

_WATCH_S = 7 * 24 * 3600.0
"""Longer than anything is rented for."""


class Server:
    """`ended` is set within a second of the server's end, `ready_said` when its log says that it
    is ready. `exit_status` as in jobs.JobStatus, once ended."""

    def __init__(self, machine: Machine, engine: Engine) -> None:
        self._machine = machine
        self._engine = engine
        self._tail: deque[str] = deque(maxlen=TAIL_KEPT)
        self._reader: asyncio.Task[None] | None = None
        self._tried: set[str] = set()
        self.job: jobs.Job | None = None
        self.ended = asyncio.Event()
        self.ready_said = asyncio.Event()
        self.exit_status: int | None = None

    @property
    def pid(self) -> int | None:
        return self.job.pid if self.job else None

    async def start(self, plan: Plan) -> None:
        self.ended.clear()
        self.ready_said.clear()
        self._tail.clear()
        spec = jobs.JobSpec(
            name=ENGINE_JOB,
            workdir=self._machine.rental.work_dir,
            script=plan.server.script,
            log=plan.server.log,
            secret_env=plan.server.secret_env,
        )
        self.job = await jobs.start(self._machine.link, spec)
        self.watch()

    async def adopt(self) -> None:
        """Watch a server that runs already. Raises DeployError when there is none."""
        link, rental = self._machine.link, self._machine.rental
        job = await jobs.find(link, rental.work_dir, ENGINE_JOB)
        if job is None or not (await jobs.status(link, job)).running:
            raise DeployError(
                f"the server on session {rental.session_id} has ended",
                f"`gdl-tui destroy {rental.session_id}` gives the machine back; then deploy again",
            )
        self.job = job
        _, size = await link.read_at(job.log, 0, 0)
        self.watch(size)

    def watch(self, offset: int = 0) -> None:
        """Follow the log from a byte offset, and wait for the end."""
        stop = asyncio.Event()
        self._reader = self._machine.spawn(self._follow(stop, offset))
        self._machine.spawn(self._await_end(stop))

    async def _follow(self, stop: asyncio.Event, offset: int) -> None:
        assert self.job is not None
        machine = self._machine
        marks = machine.spawn(self._read_marks())
        try:
            await machine.pump(self.job.log, "engine", stop, self._tail, offset)
        except SshError as error:
            await machine.deployment.note(f"the log cannot be read: {error.message}", "warning")
        finally:
            marks.cancel()

    async def _await_end(self, stop: asyncio.Event) -> None:
        assert self.job is not None
        try:
            status = await jobs.wait(self._machine.link, self.job, timeout=_WATCH_S)
            self.exit_status = status.exit_status
        except SshError as error:
            self.exit_status = None
            await self._machine.deployment.note(
                f"the server can no longer be watched: {error.message}", "warning"
            )
        stop.set()
        self.ended.set()

    async def _read_marks(self) -> None:
        """Phases and progress from the log, as it is published."""
        dep = self._machine.deployment
        async for recorded in dep.channel.follow(after=dep.state.last_seq):
            event = recorded.event
            if not isinstance(event, LogLines) or event.source != "engine":
                continue
            for line in event.lines:
                mark = self._engine.read_line(line)
                if mark is None:
                    continue
                if mark.stage == "ready":
                    self.ready_said.set()
                if mark.stage == "loading" and dep.state.phase is Phase.STARTING:
                    await dep.enter(Phase.LOADING)
                if dep.state.phase in (Phase.STARTING, Phase.LOADING):
                    await dep.progress(mark.text, mark.fraction)

    async def ends_within(self, seconds: float) -> bool:
        """Whether the server has ended, or does so within that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.ended.wait()
        return self.ended.is_set()

    async def repair(self, plan: Plan) -> bool:
        """After the end: apply the first known repair not tried yet. True: worth a new start."""
        script = installing.known_repair(plan.server.repairs, await self.tail(), self._tried)
        if script is None:
            return False
        dep, settings = self._machine.deployment, self._machine.settings
        await dep.note("the server ended in a known way: repairing and starting again", "warning")
        await dep.enter(Phase.INSTALLING, "repair")
        step = Step("repair", "Repair the installation", script, settings.timeouts.install)
        await installing.run_step(self._machine, step, 1, 1)
        return True

    async def tail(self) -> list[str]:
        """The last lines of the log; after the end, once it was read out."""
        if self.ended.is_set() and self._reader is not None:
            await asyncio.wait({self._reader}, timeout=3)
        return list(self._tail)

    async def fail(self, what: str) -> None:
        """Diagnose the log and raise DeployError."""
        await self._machine.fail(what, await self.tail(), self.exit_status)

    async def stop(self) -> None:
        """End it by its pid and remove its job's files. Raises SshError."""
        if self.job is None:
            return
        await jobs.stop(self._machine.link, self.job)
        await jobs.remove(self._machine.link, self.job)
