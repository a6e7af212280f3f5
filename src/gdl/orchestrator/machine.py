"""One machine: enter it, look at it, install, start the server, and see it become ready."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import shlex
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from gdl.diagnose.engine import diagnose
from gdl.domain import events as ev
from gdl.domain.errors import CommandTimeout, DeployError, SshAuthFailed, SshError
from gdl.domain.events import Phase
from gdl.domain.models import HostFacts, Lease, Session, SshAddress
from gdl.domain.secret import Secret
from gdl.engines.base import Engine, Plan, Step
from gdl.journal.keys import write_key
from gdl.journal.store import Journal, Rental
from gdl.orchestrator.deployment import Deployment
from gdl.probes.host import inspect_host
from gdl.settings import Settings
from gdl.ssh import jobs
from gdl.ssh.connection import Target
from gdl.ssh.link import Link
from gdl.ssh.tail import follow

WORK_DIR = ".gdl-tui"
"""Our folder in the home of a machine that is not this one."""

ENGINE_JOB = "engine"

_KEY_SPREADS_S = 60.0
"""A marketplace key takes 10-15 s to reach its machine; after a minute it never will."""
_SSHD_COMES_S = 120.0
_TAIL_KEPT = 4000


def target_for(rental: Rental, settings: Settings) -> Target:
    return Target(
        address=SshAddress(rental.host, rental.port, rental.user),
        identity_file=Path(rental.key_file) if rental.key_file else None,
        host_key_file=Path(rental.host_key_file),
        agent_auth=rental.agent_auth,
        connect_timeout_s=settings.timeouts.connect,
        keepalive_s=settings.timeouts.keepalive,
        config_alias=rental.alias or None,
    )


class Machine:
    """What is done on one rented machine, for one attempt of a deployment."""

    def __init__(
        self,
        deployment: Deployment,
        engine: Engine,
        journal: Journal,
        settings: Settings,
        *,
        cpu_allowed: bool,
        rents: bool,
    ) -> None:
        self._deployment = deployment
        self._engine = engine
        self._journal = journal
        self._settings = settings
        self._cpu_allowed = cpu_allowed
        self._rents = rents
        self._tail: deque[str] = deque(maxlen=_TAIL_KEPT)
        self.link: Link | None = None
        self.job: jobs.Job | None = None
        self.api_key: Secret = Secret("")
        self.facts: HostFacts | None = None
        self.ended = asyncio.Event()
        self.ready_said = asyncio.Event()
        self.end_status: int | None = None
        self._watchers: list[asyncio.Task[None]] = []

    # -- entering ------------------------------------------------------------------------------

    async def connect(self, lease: Lease, session: Session) -> Link:
        """The first connection, which pins the host key. A fresh machine may still lack the key
        or its sshd, so both are waited for on rented machines."""
        assert session.ssh is not None and self._deployment.rental is not None
        rental = replace(
            self._deployment.rental,
            host=session.ssh.host,
            port=session.ssh.port,
            user=session.ssh.user,
        )
        await self._save(rental)
        link = Link(target_for(rental, self._settings), on_state=self._link_state)
        self.link = self._deployment.link = link
        started = time.monotonic()
        wait = 0.2
        while True:
            try:
                await link.connect()
                return link
            except SshError as error:
                patience = _KEY_SPREADS_S if isinstance(error, SshAuthFailed) else _SSHD_COMES_S
                waited = time.monotonic() - started
                if not self._rents or waited > patience or error.kind == "host_key_changed":
                    raise
                await self._deployment.progress(
                    f"{error.message}; waited {waited:.0f} of {patience:.0f} s"
                )
            await asyncio.sleep(wait)
            wait = min(wait * 1.7, 5.0)

    def _link_state(self, state: str) -> None:
        if state != "connected":
            self._background(self._deployment.note(f"SSH: {state}", "warning"))

    def _background(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)  # type: ignore[arg-type]
        self._watchers.append(task)
        task.add_done_callback(self._watchers.remove)

    async def inspect(self) -> HostFacts:
        """Facts about the machine; refuses early what would fail late."""
        assert self.link is not None and self._deployment.rental is not None
        work_dir = self._deployment.rental.work_dir
        if not work_dir:
            home = await self.link.run('printf %s "$HOME"', timeout=self._settings.timeouts.command)
            work_dir = f"{home.stdout.strip() or '/tmp'}/{WORK_DIR}"  # noqa: S108 - no home at all
        facts = await inspect_host(self.link, work_dir, timeout=self._settings.timeouts.command)
        self.facts = facts
        engine_log = self._deployment.rental.engine_log
        if not engine_log or "log" in self._settings.engine.model_fields_set:
            engine_log = self._settings.engine.log
        await self._save(
            replace(
                self._deployment.rental,
                work_dir=work_dir,
                engine_log=engine_log,
                engine_port=self._settings.engine.port,
                has_gpu=facts.has_gpu,
            )
        )
        await self._deployment.emit(ev.HostInspected(self._deployment.attempt, facts))
        await self._refuse_occupied_port()
        return facts

    async def _refuse_occupied_port(self) -> None:
        assert self.link is not None and self._deployment.rental is not None
        port = self._settings.engine.port
        earlier = await jobs.find(self.link, self._deployment.rental.work_dir, ENGINE_JOB)
        if earlier is not None and (await jobs.status(self.link, earlier)).running:
            raise DeployError(
                f"an earlier deployment still serves on this machine (pid {earlier.pid})",
                "`gdl-tui sessions` shows it; attach to it or destroy it first",
            )
        connection = await self.link.get()
        with contextlib.suppress(SshError):
            if await connection.port_open(port):
                raise DeployError(
                    f"port {port} on the machine is already in use",
                    f"end what listens there, or choose another: GDL_ENGINE__PORT={port + 1}",
                )

    # -- installing ----------------------------------------------------------------------------

    def plan(self) -> Plan:
        assert self.facts is not None and self._deployment.rental is not None
        return self._engine.plan(
            self._deployment.spec,
            self.facts,
            self._deployment.model,
            self._settings,
            cpu_allowed=self._cpu_allowed,
            api_key=self.api_key,
            log_path=self._deployment.rental.engine_log,
            port=self._deployment.rental.engine_port,
        )

    async def make_api_key(self) -> Secret:
        """A key for the endpoint, on disk before it is used anywhere."""
        assert self._deployment.rental is not None
        rental = self._deployment.rental
        key = Secret(f"gdl-{secrets.token_urlsafe(24)}")
        path = self._settings.keys_dir / f"{rental.intent_id}.api"
        await asyncio.to_thread(write_key, path, key)
        await self._save(replace(rental, api_key_file=str(path)))
        self.api_key = key
        return key

    async def install(self, plan: Plan) -> None:
        total = len(plan.steps)
        for index, step in enumerate(plan.steps, 1):
            await self._run_step(step, index, total)

    async def _run_step(self, step: Step, index: int, total: int) -> None:
        dep = self._deployment
        started = time.monotonic()
        await dep.emit(ev.StepStarted(dep.attempt, step.name, step.title, index, total))
        if step.check is not None and await self._holds(step):
            await self._step_ended(step, "skipped", started, "already there")
            return
        repaired = ""
        for repair in (*step.repairs, None):
            status, output = await self._run_job(f"step-{step.name}", step.script, step)
            if status == 0 and (step.check is None or await self._holds(step)):
                await self._step_ended(step, "repaired" if repaired else "done", started, repaired)
                return
            script = _repair_for(step.repairs, output)
            if repair is None or script is None or repaired:
                break
            repaired = "after a known repair"
            await dep.note(f"{step.title} failed in a known way: repairing", "warning")
            await self._run_job(f"repair-{step.name}", script, step)
        await self._step_ended(step, "failed", started, "")
        await self._fail(f"{step.title} failed", output, status)

    async def _step_ended(self, step: Step, outcome: str, started: float, detail: str) -> None:
        seconds = round(time.monotonic() - started, 2)
        await self._deployment.emit(
            ev.StepFinished(self._deployment.attempt, step.name, outcome, seconds, detail)
        )

    async def _holds(self, step: Step) -> bool:
        assert self.link is not None and self._deployment.rental is not None
        check = f"cd {shlex.quote(self._deployment.rental.work_dir)} && (\n{step.check}\n)"
        result = await self.link.run(
            "/bin/sh", input=check, timeout=self._settings.timeouts.command
        )
        return result.ok

    async def _run_job(self, name: str, script: str, step: Step) -> tuple[int | None, list[str]]:
        """Run detached, stream the output as events; (exit status, last lines)."""
        assert self.link is not None and self._deployment.rental is not None
        spec = jobs.JobSpec(
            name=name,
            workdir=self._deployment.rental.work_dir,
            script=script,
            files=step.files,
        )
        output: deque[str] = deque(maxlen=_TAIL_KEPT)
        job = await jobs.start(self.link, spec)
        stop = asyncio.Event()
        pump = asyncio.create_task(self._pump(job.log, "install", stop, output))
        try:
            status = await jobs.wait(self.link, job, timeout=step.timeout_s)
        except CommandTimeout:
            await jobs.stop(self.link, job)
            output.append(f"ended after {step.timeout_s:.0f} s, the limit of this step")
            return None, list(output)
        except asyncio.CancelledError:
            with contextlib.suppress(SshError, asyncio.TimeoutError):
                async with asyncio.timeout(15):
                    await jobs.stop(self.link, job, grace_s=3)
            raise
        finally:
            stop.set()
            await _ended(pump)
        return status.exit_status, list(output)

    async def _pump(
        self, log: str, source: str, stop: asyncio.Event, keep: deque[str], offset: int = 0
    ) -> None:
        """A growing remote file to events, to the file on this computer and to `keep`."""
        assert self.link is not None
        async for chunk in self._lines(log, source, stop, offset):
            keep.extend(chunk.lines)
            await self._deployment.emit(chunk)
            if source == "engine":
                await self._read_marks(chunk.lines)

    async def _lines(
        self, log: str, source: str, stop: asyncio.Event, offset: int
    ) -> AsyncIterator[ev.LogLines]:
        assert self.link is not None
        folder = self._deployment.log_dir
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        attempt = self._deployment.attempt
        with (folder / f"attempt-{attempt}-{source}.log").open("ab") as file:

            def sink(data: bytes) -> None:
                file.write(data)

            async for chunk in follow(self.link, log, offset=offset, stop=stop, sink=sink):
                if chunk.lines or chunk.dropped:
                    yield ev.LogLines(
                        attempt, source, chunk.lines, chunk.first_offset, chunk.dropped
                    )
                file.flush()

    # -- starting ------------------------------------------------------------------------------

    async def start(self, plan: Plan) -> None:
        """Start the server detached, and watch its log and its life."""
        assert self.link is not None and self._deployment.rental is not None
        self.ended.clear()
        self.ready_said.clear()
        self._tail.clear()
        server = plan.server
        spec = jobs.JobSpec(
            name=ENGINE_JOB,
            workdir=self._deployment.rental.work_dir,
            script=server.script,
            log=server.log,
            secret_env=server.secret_env,
        )
        self.job = await jobs.start(self.link, spec)
        self.watch()

    def watch(self, offset: int = 0) -> None:
        """Follow the log from a byte offset, and learn of the end of the server."""
        stop = asyncio.Event()
        self._background(self._follow_engine(stop, offset))
        self._background(self._await_end(stop))

    async def _follow_engine(self, stop: asyncio.Event, offset: int) -> None:
        assert self.job is not None
        try:
            await self._pump(self.job.log, "engine", stop, self._tail, offset)
        except SshError as error:
            await self._deployment.note(
                f"the log can no longer be read: {error.message}", "warning"
            )

    async def _await_end(self, stop: asyncio.Event) -> None:
        assert self.link is not None and self.job is not None
        try:
            status = await jobs.wait(self.link, self.job, timeout=7 * 24 * 3600.0)
            self.end_status = status.exit_status
        except (SshError, DeployError):
            self.end_status = None
        stop.set()
        self.ended.set()

    async def _read_marks(self, lines: tuple[str, ...]) -> None:
        dep = self._deployment
        for line in lines:
            mark = self._engine.read_line(line)
            if mark is None:
                continue
            if mark.stage == "ready":
                self.ready_said.set()
            if mark.stage == "loading" and dep.state.phase is Phase.STARTING:
                await dep.enter(Phase.LOADING)
            if dep.state.phase in (Phase.STARTING, Phase.LOADING):
                await dep.progress(mark.text, mark.fraction)

    async def repair_start(self, plan: Plan, tried: set[str]) -> bool:
        """After the server ended: apply the first known repair that was not tried. True: the
        server is worth another start."""
        output = await self.tail()
        for pattern, script in plan.server.repairs:
            if pattern in tried or not any(re.search(pattern, line) for line in output):
                continue
            tried.add(pattern)
            dep = self._deployment
            await dep.note(
                "the server ended in a known way: repairing and starting again", "warning"
            )
            await dep.enter(Phase.INSTALLING, "repair")
            step = Step(
                "repair", "Repair the installation", script, self._settings.timeouts.install
            )
            await self._run_step(step, 1, 1)
            return True
        return False

    async def tail(self) -> list[str]:
        """The last lines of the server's log, once its end is known and the log is read out."""
        deadline = time.monotonic() + 3.0
        while self.ended.is_set() and self._watchers and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        return list(self._tail)

    async def fail_ended(self, what: str) -> None:
        await self._fail(what, await self.tail(), self.end_status)

    async def _fail(self, what: str, output: list[str], status: int | None) -> None:
        """Say why, then raise DeployError."""
        found = diagnose(output, exit_status=status, phase=str(self._deployment.state.phase))
        await self._deployment.emit(
            ev.Diagnosed(
                self._deployment.attempt, found.cause, found.remedy, found.evidence, found.rule
            )
        )
        ended = (
            "" if status is None else f" (exit {status})" if status >= 0 else f" (signal {-status})"
        )
        raise DeployError(f"{what}{ended}: {found.cause}", found.remedy)

    # -- leaving -------------------------------------------------------------------------------

    async def stop_engine(self, *, tidy: bool) -> None:
        """End our server by pid. tidy: also remove the job's files. Raises SshError."""
        if self.link is None or self.job is None:
            return
        await jobs.stop(self.link, self.job)
        if tidy:
            await self.link.run(f"rm -rf -- {shlex.quote(self.job.dir)}")

    async def close(self) -> None:
        for task in list(self._watchers):
            task.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        if self.link is not None:
            await self.link.aclose()
        self._deployment.link = None

    async def _save(self, rental: Rental) -> None:
        self._deployment.rental = rental
        await self._journal.save(rental)


def _repair_for(repairs: tuple[tuple[str, str], ...], output: list[str]) -> str | None:
    for pattern, script in repairs:
        if any(re.search(pattern, line) for line in output):
            return script
    return None


async def _ended(task: asyncio.Task[None]) -> None:
    """Let a reader finish what is there, but not for ever."""
    try:
        async with asyncio.timeout(10):
            await asyncio.shield(task)
    except (TimeoutError, SshError):
        task.cancel()
    except asyncio.CancelledError:
        task.cancel()
        raise
