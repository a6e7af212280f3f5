"""The server on the machine: start it detached, follow its log and what it does, learn of its end
at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from itertools import takewhile

from gdl.diagnosis.rule_engine import Diagnosis, by_id, diagnose
from gdl.domain import events as ev
from gdl.domain.errors import DeployError, HostKeyChanged, SshAuthFailed, SshError
from gdl.domain.phase import Phase
from gdl.domain.server_memory import ServerMemory
from gdl.domain.transitions import IllegalTransition
from gdl.engines.base import LogMark, Plan
from gdl.host import process_stats
from gdl.orchestrator.deployment.engine_habits import cache_exports
from gdl.orchestrator.machine import engine_end, gpu_sampler, process_sampler
from gdl.orchestrator.machine.connection import TAIL_KEPT, Machine
from gdl.orchestrator.machine.earlier_work import ENGINE_JOB, EarlierServer, end_jobs
from gdl.orchestrator.machine.remembered import is_told, read, telling
from gdl.orchestrator.machine.startup_progress import StartupProgress
from gdl.ssh import jobs
from gdl.ssh.job_watch import Watch
from gdl.ssh.tail import Stop

STARTS = (Phase.STARTING, Phase.LOADING)

_SAMPLE_S = 2.0
_NEWS_S = 10.0
_WATCH_S = 7 * 24 * 3600.0
"""Longer than anything is rented for."""
_LOOK_AGAIN_S = 5.0
"""While it serves and its machine is out of reach: between two tries to watch it again."""


class EngineProcess:
    """`ended` is set within a second of the server's end, `ready_said` when its log says that it
    is ready. `exit_status` as in jobs.JobStatus, once ended. `trouble`: why it can no longer be
    watched; whether it runs is then not known. `memory`: what its log says of it. `over` is set
    when there is nothing left to wait for: it has ended, or `hopeless` says why it is given up."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._engine = machine.deployment.engine
        self._tail: deque[str] = deque(maxlen=TAIL_KEPT)
        self._reader: asyncio.Task[None] | None = None
        self._sampling: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._before: asyncio.Task[engine_end.Before] | None = None
        self._plan: Plan | None = None
        self._at_head = True
        self._survivors: tuple[int, ...] = ()
        self.job: jobs.Job | None = None
        self.ended = asyncio.Event()
        self.over = asyncio.Event()
        self.hopeless: Diagnosis | None = None
        self._progress = StartupProgress(time.monotonic())
        self.ready_said = asyncio.Event()
        self.exit_status: int | None = None
        self.trouble: SshError | None = None
        self.memory = ServerMemory()

    @property
    def pid(self) -> int | None:
        return self.job.pid if self.job else None

    async def start(self, plan: Plan) -> None:
        """Start it, the first time or again. Raises DeployError, SshError."""
        machine = self._machine
        if self.job is not None:
            await self._clear_up(self.job)
        elif self._before is None:
            self._before = asyncio.create_task(
                engine_end.before_start(machine.link, has_gpu=machine.rental.has_gpu)
            )
        for event in (self.ended, self.over, self.ready_said):
            event.clear()
        self.hopeless = self.trouble = None
        self._tail.clear()
        self._progress = StartupProgress(time.monotonic())
        exports = cache_exports(self._engine.info, machine.deployment.spec.query.volume)
        spec = jobs.JobSpec(
            name=ENGINE_JOB,
            workdir=machine.rental.work_dir,
            script=exports + telling(plan.server.remembered) + plan.server.script,
            log=plan.server.log,
            secret_env=plan.server.secret_env,
        )
        self._plan, self._at_head = plan, True
        await self._tell_plan(plan)
        watch = await Watch.start(machine.link, spec)
        self.job = watch.job
        self._follow_on(watch)
        self._sampling = machine.spawn(self._sample(self.job.pid))

    async def _tell_plan(self, plan: Plan) -> None:
        dep = self._machine.deployment
        attempt = dep.state.attempt
        applied = {one.remedy.name for one in attempt.remedies} if attempt is not None else set()
        can = next((left for flag, left in plan.lessened if flag in applied), plan.capabilities)
        await dep.emit(ev.ServerPlanned(dep.attempt, can, plan.notes, plan.launch))

    async def _tell_remembered(self, lines: Sequence[str]) -> None:
        """What an earlier deployment's remedies add to this start: it is said before all else."""
        dep = self._machine.deployment
        told = list(takewhile(is_told, lines))
        self._at_head = len(told) == len(lines)
        attempt, lessens = dep.state.attempt, False
        known = {(r.remedy.kind, r.remedy.name) for r in attempt.remedies} if attempt else set()
        for remedy in filter(None, map(read, told)):
            if (remedy.kind, remedy.name) in known:
                continue
            text = f"as an earlier deployment here had to, {remedy.words}"
            await dep.emit(ev.RemedyApplied(dep.attempt, "", remedy, text, "earlier"))
            lessens = lessens or (
                self._plan is not None and remedy.name in dict(self._plan.lessened)
            )
        if lessens and self._plan is not None:
            await self._tell_plan(self._plan)

    async def _clear_up(self, job: jobs.Job) -> None:
        """The processes of its engine may have outlived it, and hold the GPU's memory."""
        dep, link = self._machine.deployment, self._machine.link
        await engine_end.end_survivors(dep, link, job, self._survivors)
        self._survivors = ()
        await self._seen_to_end()
        await engine_end.await_free_gpu(dep, link, await self._state_before())

    async def _state_before(self) -> engine_end.Before:
        return engine_end.Before() if self._before is None else await self._before

    def take_up(self, earlier: EarlierServer) -> None:
        """Watch a server that a process that is gone had started, as if it had been started here:
        its log is read from the start, and its end, if it has ended, is known at once."""
        self.job = earlier.job
        self._follow_on(Watch(self._machine.link, earlier.job))
        if earlier.running:
            self._sampling = self._machine.spawn(self._sample(earlier.job.pid))

    async def adopt(self) -> None:
        """Watch a server that runs already. Raises DeployError when there is none."""
        link, rental = self._machine.link, self._machine.rental
        found = await jobs.look(link, rental.work_dir, ENGINE_JOB)
        if found is None or not found.status.running:
            raise DeployError(
                f"the server on session {rental.session_id} has ended",
                f"`gdl-tui destroy {rental.session_id}` releases the machine; then deploy again",
            )
        self.job = job = found.job
        _, size = await link.read_at(job.log, 0, 0)
        self._follow_on(Watch(link, job), size)

    def _follow_on(self, watch: Watch, offset: int = 0) -> None:
        """Follow the log from a byte offset, and wait for the end."""
        stop = Stop()
        self._reader = self._machine.spawn(self._follow(stop, offset))
        self._machine.spawn(self._watch_gpus(stop))
        self._ending = self._machine.spawn(self._await_end(stop, watch))

    async def _watch_gpus(self, stop: Stop) -> None:
        await gpu_sampler.watch(self._machine.deployment, self._machine.link, stop)

    async def _seen_to_end(self) -> None:
        """The news of the last end is in, and cannot be taken for that of the next server."""
        if self._ending is not None:
            await asyncio.wait({self._ending}, timeout=_NEWS_S)
            self._ending.cancel()

    async def _follow(self, stop: Stop, offset: int) -> None:
        assert self.job is not None
        machine = self._machine
        try:
            await machine.pump(self.job.log, "engine", stop, self._heard, offset)
        except SshError as error:
            await machine.note(f"the log cannot be read: {error.message}", "warning")

    async def _await_end(self, stop: Stop, watch: Watch) -> None:
        dep, size = self._machine.deployment, None
        while True:
            try:
                status = await watch.wait(timeout=_WATCH_S)
                self.exit_status, size = status.exit_status, status.log_size
                break
            except SshError as error:
                final = isinstance(error, HostKeyChanged | SshAuthFailed)
                if final or dep.state.phase is not Phase.SERVING:
                    self.exit_status, self.trouble = None, error
                    break
                # A laptop that was asleep is no reason to release a serving machine. Should
                # the machine itself be gone, its backend tells.
                words = f"the server cannot be watched now: {error.message}"
                await self._machine.note(words, "warning")
            await asyncio.sleep(_LOOK_AGAIN_S)
        stop.set(size)
        if self._sampling is not None:
            self._sampling.cancel()
        self.ended.set()
        self.over.set()

    async def _heard(self, lines: Sequence[str]) -> None:
        """Phases and progress from a batch of the log's lines."""
        self._tail.extend(lines)
        self._progress.heard(time.monotonic())
        if self._at_head:
            await self._tell_remembered(lines)
        for line in lines:
            mark = self._engine.read_line(line)
            if mark is not None:
                await self._marked(mark)

    async def _marked(self, mark: LogMark) -> None:
        dep = self._machine.deployment
        if mark.begins:
            self.memory = ServerMemory()
        if mark.memory is not None:
            self.memory = self.memory.then(mark.memory)
        if mark.stage == "ready":
            self.ready_said.set()
        if mark.stage == "loading" and dep.state.phase is Phase.STARTING:
            # Meanwhile it may have answered a request, and be verified already.
            with contextlib.suppress(IllegalTransition):
                await dep.enter(Phase.LOADING)
        self._progress.mark(mark)
        await self._show()
        if self._progress.loops and dep.state.phase in STARTS:
            found = diagnose(self._machine.rules, list(self._tail))
            why = [found.cause, *found.evidence] if found.known else found.evidence
            self._give_up(by_id(self._machine.rules, "restart-loop", why))

    async def _show(self) -> None:
        dep, progress = self._machine.deployment, self._progress
        if dep.state.phase in STARTS:
            words = progress.words(str(dep.state.phase), time.monotonic())
            shown = dep.state.progress
            if shown is None or (shown.text, shown.fraction) != (words, progress.fraction):
                part, share = progress.part, progress.part_fraction
                await dep.progress(words, progress.fraction, part=part, part_fraction=share)

    # -- what it does while it starts ------------------------------------------------------------

    async def _sample(self, pid: int) -> None:
        """Look at the machine now and then until the server serves; give up on a stall."""
        machine = self._machine
        samples: asyncio.Queue[process_stats.ProcessStats] = asyncio.Queue()
        sampler = asyncio.create_task(
            process_sampler.follow(
                machine.link,
                pid,
                samples.put_nowait,
                has_gpu=machine.rental.has_gpu,
                every_s=_SAMPLE_S,
            )
        )
        try:
            while not self.over.is_set() and machine.deployment.state.phase in STARTS:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(2 * _SAMPLE_S):
                        sample = await samples.get()
                        self._progress.sampled(sample, time.monotonic())
                        machine.deployment.readings.gpu = gpu_sampler.of_stats(sample)
                idle = self._progress.idle_s(time.monotonic())
                if idle > machine.settings.timeouts.stall:
                    words = f"nothing for {idle:.0f} s"
                    self._give_up(by_id(machine.rules, "stalled", [words, *self._last()]))
                if machine.rents and self._progress.rate.hopeless(time.monotonic()):
                    words = self._progress.rate.words
                    self._give_up(by_id(machine.rules, "slow-download", [words, *self._last()]))
                await self._show()
        finally:
            sampler.cancel()
            await asyncio.gather(sampler, return_exceptions=True)

    def _give_up(self, why: Diagnosis) -> None:
        if self.hopeless is None and not self.over.is_set():
            self.hopeless = why
            self.over.set()

    async def ends_within(self, seconds: float) -> bool:
        """Whether the server has ended, or does so within that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.ended.wait()
        return self.ended.is_set()

    async def tail(self) -> list[str]:
        """The last lines of the log; after the end, once it was read out."""
        if self.ended.is_set() and self._reader is not None:
            await asyncio.wait({self._reader}, timeout=3)
        return list(self._tail)

    async def fail(self, what: str) -> None:
        """Say why as an event, and raise DeployError: why it was given up, or what its log says.
        Or raise what keeps us from watching it."""
        if self.trouble is not None:
            raise self.trouble
        if self.hopeless is not None:
            await self._machine.give_up(self.hopeless)
        machine = self._machine
        found, self._survivors = await engine_end.explain(
            machine.link,
            machine.rules,
            self.job,
            await self.tail(),
            self.exit_status,
            str(machine.deployment.state.phase),
            await self._state_before(),
        )
        await machine.failed(what, found, self.exit_status)

    def give_up_dead(self, reason: str) -> None:
        """It runs, and its endpoint has been dead for too long. reason: as its health says."""
        self._give_up(by_id(self._machine.rules, "dead-while-running", [reason, *self._last()]))

    def _last(self) -> list[str]:
        return list(self._tail)[-3:]

    async def slow(self) -> None:
        """Its time is over, and it was busy to the end."""
        words = self._progress.words(str(self._machine.deployment.state.phase), time.monotonic())
        await self._machine.tell(by_id(self._machine.rules, "slow-start", [words, *self._last()]))

    async def end_found(self) -> None:
        """End what a process that is gone had started on the machine, and know its server's job, so
        that `stop` removes it. Raises SshError."""
        link, work_dir = self._machine.link, self._machine.rental.work_dir
        if not work_dir:
            return
        await end_jobs(link, work_dir)
        found = await jobs.look(link, work_dir, ENGINE_JOB)
        self.job = found.job if found is not None else None

    async def stop(self) -> None:
        """End it by its pid and remove its job's files. Raises SshError."""
        if self.job is None:
            return
        await jobs.stop(self._machine.link, self.job, remove=True)
