"""The steps of a plan on a machine: check, run detached, check again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence

from gdl.diagnosis.rule_engine import Diagnosis, by_id
from gdl.domain import events as ev
from gdl.domain.errors import CommandTimeout, DeployError, SshError, UsageError
from gdl.engines.base import Plan, Step
from gdl.host import process_stats
from gdl.orchestrator.deployment.engine_habits import cache_exports
from gdl.orchestrator.machine import install_script, process_sampler
from gdl.orchestrator.machine.connection import TAIL_KEPT, Machine
from gdl.orchestrator.machine.install_watch import InstallWatch
from gdl.settings import Settings
from gdl.ssh import jobs
from gdl.ssh.job_watch import Watch
from gdl.ssh.tail import Chunk, Stop

INSTALL_JOB = "install"
AHEAD_JOB = "ahead"
_SAMPLE_S = 3.0
_SCRIPT_BYTES = 1024 * 1024


async def install(machine: Machine, plan: Plan) -> Plan:
    """Every step in order; when one fails for good and the plan has another way, that way. The
    plan that worked. Raises DeployError with the diagnosis of the step that failed."""
    first = ""
    while True:
        try:
            await run_steps(machine, plan.steps)
            return plan
        except DeployError as error:
            if plan.otherwise is None:
                error.message += f"; before that: {first}" if first else ""
                raise
            first = error.message
            plan = plan.otherwise
            await machine.note(f"{first}; now {plan.summary}", "warning")


async def run_steps(machine: Machine, steps: Sequence[Step]) -> None:
    """The steps as one job; those whose check holds already are skipped. Raises DeployError."""
    if steps:
        await _Run(machine, steps).run()


class Ahead:
    """A step that is done while the machine is looked at. Whatever comes of it, the installation
    looks at it again: all that can be won is time."""

    def __init__(self, machine: Machine, step: Step) -> None:
        self._machine = machine
        self._step = step
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        machine, steps = self._machine, [self._step]
        job: jobs.Job | None = None
        try:
            spec = jobs.JobSpec(
                name=AHEAD_JOB,
                workdir=machine.folder,
                script=install_script.script(
                    steps, machine.run_token, exports=_exports(machine), ahead=True
                ),
                files=install_script.files(steps),
            )
            # The address of a package index may have a password in it.
            places = machine.settings.install
            known = not (places.extra_index_url or places.find_links)
            watch = await Watch.start(machine.link, spec, open_text=known)
            job = watch.job
            if (await watch.wait(timeout=self._step.timeout_s)).exit_status == 0:
                machine.done_ahead.add(self._step.name)
        except CommandTimeout:
            if job is not None:
                await _stop(machine, job)
        except (DeployError, SshError, UsageError):
            return
        except asyncio.CancelledError:
            if job is not None:
                await _stop(machine, job)
            raise

    async def done(self) -> None:
        if not self._task.done():
            dep = self._machine.deployment
            await dep.progress(self._step.title)
            async with InstallWatch(dep, self._step.title).beating():
                await asyncio.wait({self._task})

    async def cancel(self) -> None:
        """End it, and leave nothing of it running."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def begun_ahead(machine: Machine, settings: Settings) -> Ahead | None:
    """What every installation begins with, while the machine is looked at. Not on a rented one: its
    download rate is measured meanwhile."""
    step = machine.deployment.engine.first_of_all(settings)
    return None if step is None or machine.rents else Ahead(machine, step)


class _Run:
    """One job. Its steps are told as its log tells them, and in order whatever gets lost of it."""

    def __init__(self, machine: Machine, steps: Sequence[Step]) -> None:
        self._machine = machine
        self._steps = steps
        self._token = machine.run_token
        self._output: deque[str] = deque(maxlen=TAIL_KEPT)
        self._aside: dict[int, deque[str]] = {}
        self._broken: int | None = None
        self._finished = 0
        self._begun = False
        self._since = time.monotonic()
        self._limit: asyncio.Timeout | None = None
        self._hopeless: Diagnosis | None = None
        self._watch = InstallWatch(machine.deployment)

    async def run(self) -> None:
        """Raises DeployError for the step that fails."""
        machine = self._machine
        spec = jobs.JobSpec(
            name=INSTALL_JOB,
            workdir=machine.rental.work_dir,
            script=install_script.script(self._steps, self._token, exports=_exports(self._machine)),
            files=install_script.files(self._steps),
            secret_env={k: v for step in self._steps for k, v in step.secret_env.items()},
        )
        async with self._watch.beating():
            status = await self._until_over(await self._start(spec))
        if self._hopeless is not None:
            await self._failed()
            await machine.give_up(self._hopeless)
        if self._broken is not None:
            await self._leave_for(self._broken)
        if status == 0:
            await self._reach(len(self._steps))
            return
        step = await self._failed()
        if status == install_script.UNSOUND:
            await machine.fail(f"{step.title} succeeded, but had no effect", [*self._output], None)
        await machine.fail(machine.named(f"{step.title} failed"), [*self._output], status)

    async def _start(self, spec: jobs.JobSpec) -> Watch:
        """An installation that still runs is not started twice: the same one, of this deployment
        when its process was another, is followed; another one is waited for, as what it has done
        is not done again. Raises DeployError, SshError."""
        machine = self._machine
        try:
            return await Watch.start(machine.link, spec)
        except DeployError:
            found = await jobs.look(machine.link, spec.workdir, spec.name)
            if found is None or not found.status.running:
                raise
            earlier, watch = found.job, Watch(machine.link, found.job)
        what = f"an earlier installation still runs on this machine (pid {earlier.pid})"
        script, size = await machine.link.read_at(f"{earlier.dir}/script.sh", 0, _SCRIPT_BYTES)
        if size <= _SCRIPT_BYTES and script == spec.script.encode():
            await machine.note(f"{what}: following it")
            self._finished = self._done_before()
            return watch
        await machine.note(f"{what}: waiting")
        await watch.wait(timeout=self._longest_s)
        return await Watch.start(machine.link, spec)

    def _done_before(self) -> int:
        """How many of the first steps were done by what a process that is gone has journaled."""
        attempt = self._machine.deployment.state.attempt
        steps = attempt.steps if attempt is not None else ()
        ended = {s.name for s in steps if s.outcome in ("done", "skipped")}
        names = [self._machine.named(step.name) for step in self._steps]
        return next((n for n, name in enumerate(names) if name not in ended), len(names))

    @property
    def _longest_s(self) -> float:
        return sum(step.timeout_s for step in self._steps) + 60

    async def _until_over(self, watch: Watch) -> int | None:
        """Exit status; None when a step's time was over or the job vanished without a trace."""
        machine, job = self._machine, watch.job
        stop = Stop()
        reader = asyncio.create_task(self._read(job, stop))
        sampler = asyncio.create_task(self._watch_rate(job))
        try:
            async with asyncio.timeout(self._steps[0].timeout_s) as self._limit:
                status = await watch.wait(timeout=self._longest_s)
            if trouble := await _read_out(reader, stop, status.log_size):
                self._output.append(trouble)
            if status.exit_status != 0 and any(step.after for step in self._steps):
                await _stop(machine, job)  # what ran beside the step that failed
            return status.exit_status
        except (CommandTimeout, TimeoutError):
            await jobs.stop(machine.link, job)
            if self._broken is not None:
                return None
            seconds = self._step.timeout_s
            self._output.append(f"ended after {seconds:.0f} s, the limit of this step")
            return None
        except asyncio.CancelledError:
            await _stop(machine, job)
            raise
        finally:
            for task in (reader, sampler):
                task.cancel()
            await asyncio.gather(reader, sampler, return_exceptions=True)

    async def _watch_rate(self, job: jobs.Job) -> None:
        """How fast things come; give up where that is too slow to pay rent for."""
        machine, watch = self._machine, self._watch
        samples: asyncio.Queue[process_stats.ProcessStats] = asyncio.Queue()
        sampling = asyncio.create_task(
            process_sampler.follow(
                machine.link, job.pid, samples.put_nowait, has_gpu=False, every_s=_SAMPLE_S
            )
        )
        clock = asyncio.get_running_loop().time
        try:
            while True:
                await watch.sampled((await samples.get()).net_bytes)
                if machine.rents and watch.rate.hopeless(clock()) and self._limit is not None:
                    evidence = [watch.rate.words, *list(self._output)[-3:]]
                    self._hopeless = by_id(self._machine.rules, "slow-download", evidence)
                    self._limit.reschedule(clock())
                    return
        finally:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)

    # -- what its log tells ----------------------------------------------------------------------

    async def _read(self, job: jobs.Job, stop: Stop) -> None:
        async for chunk in self._machine.read(job.log, "install", stop):
            await self._hear(chunk)

    async def _hear(self, chunk: Chunk) -> None:
        dropped = chunk.dropped
        for piece in install_script.pieces(chunk.lines, self._token, len(self._steps)):
            if isinstance(piece, install_script.Mark):
                await self._marked(piece)
                continue
            if isinstance(piece, install_script.Beside):
                lines, its_turn = piece.lines, self._begun and piece.number == self._finished + 1
                aside = self._aside.setdefault(piece.number, deque(maxlen=TAIL_KEPT))
                aside.extend(lines)
            else:
                lines, its_turn = piece, True
            await self._machine.said("install", lines, chunk.first_offset, dropped)
            dropped = 0
            if its_turn:
                self._output.extend(lines)
                await self._watch.heard(lines)

    async def _marked(self, mark: install_script.Mark) -> None:
        if mark.what == "failed" and self._steps[mark.number - 1].after and self._broken is None:
            if self._finished < mark.number - 1 and self._limit is not None:
                # What runs beside it is in vain.
                self._broken = mark.number
                self._limit.reschedule(asyncio.get_running_loop().time())
            return
        await self._reach(mark.number - 1)
        if mark.number <= self._finished:
            return
        await self._begin()
        if mark.what == "skipped" and self._step.name in self._machine.done_ahead:
            self._machine.done_ahead.discard(self._step.name)
            await self._end("done", "while the machine was looked at")
        elif mark.what in ("skipped", "done"):
            await self._end(mark.what, "already there" if mark.what == "skipped" else "")

    @property
    def _step(self) -> Step:
        """The step that is not finished yet."""
        return self._steps[min(self._finished, len(self._steps) - 1)]

    async def _reach(self, count: int) -> None:
        """So many steps are done, also those whose marks were lost."""
        while self._finished < count:
            await self._begin()
            await self._end("done")

    async def _begin(self) -> None:
        if self._begun:
            return
        dep, step = self._machine.deployment, self._step
        self._begun, self._since = True, time.monotonic()
        self._output.clear()
        self._output.extend(self._aside.get(self._finished + 1, ()))
        if self._limit is not None and not self._limit.expired():
            with contextlib.suppress(RuntimeError):  # it is over, and this is read afterwards
                self._limit.reschedule(asyncio.get_running_loop().time() + step.timeout_s)
        number, total = self._finished + 1, len(self._steps)
        name, title = self._machine.named(step.name), self._machine.named(step.title)
        await dep.emit(ev.StepStarted(dep.attempt, name, title, number, total))
        self._watch.begin(title)

    async def _end(self, outcome: str, detail: str = "") -> None:
        dep, step = self._machine.deployment, self._step
        seconds = round(time.monotonic() - self._since, 2)
        self._finished, self._begun = self._finished + 1, False
        name = self._machine.named(step.name)
        await dep.emit(ev.StepFinished(dep.attempt, name, outcome, seconds, detail))

    async def _leave_for(self, number: int) -> None:
        """Raises DeployError for a step that has failed beside the one that was at work."""
        step = self._steps[number - 1]
        if self._begun:
            await self._end("failed", f"ended, because this failed: {step.title}")
        self._finished = number - 1
        await self._failed()
        await self._machine.fail(f"{step.title} failed", [*self._output], None)

    async def _failed(self) -> Step:
        """The step that failed, told as such."""
        step = self._step
        if self._finished < len(self._steps):
            await self._begin()
            await self._end("failed")
        return step


def _exports(machine: Machine) -> str:
    dep = machine.deployment
    return cache_exports(dep.engine.info, dep.spec.query.volume)


async def _stop(machine: Machine, job: jobs.Job) -> None:
    """Within bounds, because nobody wants to wait any more."""
    with contextlib.suppress(SshError, TimeoutError):
        async with asyncio.timeout(15):
            await jobs.stop(machine.link, job, grace_s=3)


async def _read_out(reader: asyncio.Task[None], stop: Stop, size: int | None) -> str:
    """Let the reader finish what is there, within bounds; what kept it from that, or "". size: of
    the log at the job's end, if known."""
    stop.set(size)
    await asyncio.wait({reader}, timeout=10)
    if reader.done() and isinstance(error := reader.exception(), SshError):
        return f"the output could not be read to its end: {error.message}"
    return ""
