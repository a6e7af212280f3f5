"""The steps of a plan on a machine: check, run detached, check again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque

from gdl.domain import events as ev
from gdl.domain.errors import CommandTimeout, DeployError, SshError
from gdl.engines.base import Plan, Step
from gdl.orchestrator import watching
from gdl.orchestrator.machine import TAIL_KEPT, Machine
from gdl.ssh import jobs


async def install(machine: Machine, plan: Plan) -> Plan:
    """Every step in order; when one fails for good and the plan has another way, that way. The
    plan that worked. Raises DeployError with the diagnosis of the step that failed."""
    first = ""
    while True:
        try:
            for index, step in enumerate(plan.steps, 1):
                await run_step(machine, step, index, len(plan.steps))
            return plan
        except DeployError as error:
            if plan.otherwise is None:
                error.message += f"; before that: {first}" if first else ""
                raise
            first = error.message
            plan = plan.otherwise
            await machine.deployment.note(f"{first}; now {plan.summary}", "warning")


async def run_step(machine: Machine, step: Step, index: int, total: int) -> None:
    """One step; skipped when its check holds already. Raises DeployError."""
    dep = machine.deployment
    started = time.monotonic()
    await dep.emit(ev.StepStarted(dep.attempt, step.name, step.title, index, total))

    async def ended(outcome: str, detail: str = "") -> None:
        seconds = round(time.monotonic() - started, 2)
        await dep.emit(ev.StepFinished(dep.attempt, step.name, outcome, seconds, detail))

    if step.check is not None and await machine.holds(step.check):
        await ended("skipped", "already there")
        return
    status, output = await _run_job(machine, f"step-{step.name}", step.script, step)
    if await _succeeded(machine, step, status):
        await ended("done")
        return
    await ended("failed")
    what = f"{step.title} failed" if status else f"{step.title} ended well, but did not work"
    await machine.fail(what, output, status)


async def _succeeded(machine: Machine, step: Step, status: int | None) -> bool:
    return status == 0 and (step.check is None or await machine.holds(step.check))


async def _run_job(
    machine: Machine, name: str, script: str, step: Step
) -> tuple[int | None, list[str]]:
    """Run detached and stream the output as events; (exit status, last lines). The status is
    None when the time was over or the job vanished without a trace."""
    spec = jobs.JobSpec(name=name, workdir=machine.rental.work_dir, script=script, files=step.files)
    output: deque[str] = deque(maxlen=TAIL_KEPT)
    job = await jobs.start(machine.link, spec)
    stop = asyncio.Event()
    pump = asyncio.create_task(machine.pump(job.log, "install", stop, output))
    try:
        async with watching.told(machine.deployment, step.title):
            status = await jobs.wait(machine.link, job, timeout=step.timeout_s)
            trouble = await _read_out(pump, stop)
        return status.exit_status, output_of(output, trouble)
    except CommandTimeout:
        await jobs.stop(machine.link, job)
        output.append(f"ended after {step.timeout_s:.0f} s, the limit of this step")
        return None, list(output)
    except asyncio.CancelledError:
        with contextlib.suppress(SshError, TimeoutError):
            async with asyncio.timeout(15):
                await jobs.stop(machine.link, job, grace_s=3)
        raise
    finally:
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)


async def _read_out(pump: asyncio.Task[None], stop: asyncio.Event) -> str:
    """Let the reader finish what is there, within bounds; what kept it from that, or ""."""
    stop.set()
    await asyncio.wait({pump}, timeout=10)
    if pump.done() and isinstance(error := pump.exception(), SshError):
        return f"the output could not be read to its end: {error.message}"
    return ""


def output_of(lines: deque[str], trouble: str) -> list[str]:
    return [*lines, trouble] if trouble else list(lines)
