"""The proof that a server does what was promised: checks as events, and what it holds."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

from gdl.domain import events as ev
from gdl.domain.engine import Capabilities
from gdl.domain.errors import GdlError, VerificationError
from gdl.domain.health import Check, CheckStatus, degraded
from gdl.domain.host import HostFacts
from gdl.domain.requirements.allocation import Allocation, GpuKind
from gdl.domain.requirements.gpus import of_driver
from gdl.domain.requirements.of_facts import architecture_of
from gdl.domain.server_memory import (
    MemoryComparison,
    ServerMemory,
    compared,
    memory_check,
)
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.endpoint.measurements import Measurements
from gdl.orchestrator.endpoint.served_endpoint import Emitter, Endpoint
from gdl.orchestrator.machine.connection import Machine
from gdl.orchestrator.machine.engine_process import EngineProcess

MUST_PASS = frozenset({"process", "health", "models", "inference"})
"""Checks without which a deployment is no deployment. The GPU's status is for information, and
what is degraded serves all the same."""
_LOG_S = 3.0
"""The log comes a little later than the answers to requests."""


async def verify(
    deployment: Deployment,
    endpoint: Endpoint,
    server: EngineProcess,
    machine: Machine,
    measurements: Measurements,
) -> None:
    """Run every check as events, again after a cut of the connection. Raises VerificationError
    when one that must pass fails."""
    for last in (False, False, True):
        async with endpoint.silence() as silence:
            checks = await _checked(deployment, endpoint, server.pid, machine.rental.has_gpu)
            failed = any(c.name in MUST_PASS and c.status is CheckStatus.FAILED for c in checks)
            if not failed or last or not await silence.broken():
                break
        await endpoint.heals()
        await deployment.note("the connection was cut meanwhile: the checks are run again")
    deployment.readings.keep_round(checks)
    require_passed(checks)
    memory = await _compare_memory(deployment, endpoint, server, machine, measurements)
    await _tell_degraded(deployment, [*checks, *memory])


def require_passed(checks: list[Check]) -> None:
    """Raise VerificationError for the first check that must pass and did not."""
    for check in checks:
        if check.name in MUST_PASS and check.status is CheckStatus.FAILED:
            raise VerificationError(
                f"check {check.name} failed: {check.detail}",
                "the server's log says more; another machine may do better",
            )


async def _tell_degraded(deployment: Deployment, checks: list[Check]) -> None:
    if names := degraded(checks):
        text = f"it serves, but degraded: {', '.join(names)}; the checks say what came back"
        await deployment.note(text, "warning")


async def _checked(
    deployment: Deployment, endpoint: Endpoint, pid: int | None, gpu: bool
) -> list[Check]:
    emit = Emitter(deployment)
    try:
        return await endpoint.check(
            deployment.model.served_name,
            pid=pid,
            has_gpu=gpu,
            can=capabilities(deployment),
            on_check=lambda check: emit(ev.Checked(deployment.attempt, check)),
        )
    finally:
        await emit.drain()


def capabilities(deployment: Deployment) -> Capabilities:
    """What the running server was started for."""
    attempt = deployment.state.attempt
    planned = attempt.server if attempt is not None else None
    return Capabilities() if planned is None else planned.capabilities


# -- what it holds ------------------------------------------------------------------------


async def _compare_memory(
    deployment: Deployment,
    endpoint: Endpoint,
    server: EngineProcess,
    machine: Machine,
    measurements: Measurements,
) -> list[Check]:
    """Tell and keep what the server says beside what was predicted; nothing where it says
    nothing, or where its log was not followed from its start."""
    told = await _told(endpoint, server, deployment.model.served_name)
    attempt = deployment.state.attempt
    if attempt is None or attempt.facts is None or told.context is None:
        return []
    if measurements.simulated:
        told = replace(told, unpredicted="it comes from a simulated server")
    found = compare(deployment, told, attempt.facts)
    if found == attempt.memory:
        return []
    await deployment.emit(ev.MemoryCompared(deployment.attempt, found))
    check = memory_check(found)
    await deployment.emit(ev.Checked(deployment.attempt, check))
    if found.cache_difference is not None:
        # A disk that is full is no reason to give up a server that serves.
        with contextlib.suppress(GdlError):
            await measurements.keep_memory(machine.rental, found)
    if found.is_off:
        await deployment.note("the prediction was off; `gdl-tui doctor` counts how often", "info")
    return [check]


async def _told(endpoint: Endpoint, server: EngineProcess, model: str) -> ServerMemory:
    """From the log, and from the list of models where the log does not tell the context."""
    if server.memory.load is not None and server.memory.sequences is None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOG_S):
                await server.ready_said.wait()
    told = server.memory
    way = endpoint.way
    if told.context is None and told.load is not None and way is not None:
        with contextlib.suppress(GdlError):
            told = replace(told, context=(await way.models()).get(model))
    return told


def compare(deployment: Deployment, told: ServerMemory, facts: HostFacts) -> MemoryComparison:
    """What the server told beside the engine's own prediction for this machine."""
    query, info = deployment.spec.query, deployment.engine.info
    facts_of_model = deployment.model.facts
    known = MemoryComparison(
        model=facts_of_model.id if facts_of_model is not None else deployment.model.location,
        engine=info.display_name,
        gpu=facts.gpus[0].name if facts.gpus else "",
        gpu_count=len(facts.gpus),
        asked_context=query.context or 0,
        asked_sequences=query.concurrency or 0,
    )
    allocation, why = _allocation(deployment, told, facts)
    return compared(told, allocation, replace(known, unpredicted=why))


def _allocation(
    deployment: Deployment, told: ServerMemory, facts: HostFacts
) -> tuple[Allocation | None, str]:
    """For one sequence as long as the server takes; or why there is none."""
    try:
        architecture = architecture_of(deployment.model.facts)
    except GdlError as error:
        return None, error.message
    if architecture is None:
        return None, "the model's configuration is not known"
    if told.load is None:
        return None, "its arguments are not known"
    if not facts.gpus and not told.cache_given:
        return None, "there is no GPU"
    load = replace(told.load, context=told.context or told.load.context, sequences=1)
    return deployment.engine.memory.allocation(architecture, load, _gpu(facts)), ""


def _gpu(facts: HostFacts) -> GpuKind:
    """The smallest of the machine's GPUs; without any, its memory as that of one."""
    if not facts.gpus:
        return GpuKind("CPU", facts.ram_gib)
    smallest = min(facts.gpus, key=lambda gpu: gpu.memory_mib)
    major, _, minor = smallest.compute_capability.partition(".")
    known = major.isdigit() and minor.isdigit()
    capability = (int(major), int(minor)) if known else None
    return of_driver(smallest.name, smallest.memory_mib, capability)
