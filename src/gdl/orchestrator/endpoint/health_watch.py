"""Watching a serving endpoint: what is told, and what is only kept for whoever asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from gdl.domain import events as ev
from gdl.domain.engine import EngineMetrics
from gdl.domain.health import Condition, HealthSample
from gdl.domain.host import CommandRunner
from gdl.endpoint.health_monitor import (
    LOOK_EVERY_S,
    SUSPECTED_S,
    HealthMonitor,
    Meter,
    look_at,
    sample_of,
)
from gdl.host.gpu_errors import GpuWatch
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.endpoint.served_endpoint import Endpoint

if TYPE_CHECKING:
    from gdl.endpoint.client import EndpointClient

DEAD_S = 30.0
"""A server whose engine is gone ends by itself within 10 s; one that does not is ended."""
RECHECK_S = 120.0
"""Between two rounds of all checks, a real inference among them."""


async def samples(
    client: EndpointClient,
    connected: Callable[[], bool],
    runner: CommandRunner | None,
    read_metrics: Callable[[str], EngineMetrics],
) -> AsyncGenerator[tuple[HealthSample, bool]]:
    """How the endpoint is, a few times a second, and whether that is news; without end. runner:
    reaches a machine with GPUs, which are then looked at as well. read_metrics: the engine's."""
    monitor, meter = HealthMonitor(readiness=client.readiness), Meter(read_metrics)
    gpus = None if runner is None else GpuWatch(runner)
    sampling = None if gpus is None else asyncio.create_task(gpus.run())
    try:
        while True:
            trouble = "" if gpus is None else gpus.trouble
            look = await look_at(client, connected=connected(), gpu=trouble)
            changed = monitor.judge(look)
            if monitor.condition is Condition.HEALTHY:
                await meter.refresh(client)
            yield sample_of(monitor, meter, look, "" if gpus is None else gpus.now), changed
            await asyncio.sleep(SUSPECTED_S if monitor.suspects else LOOK_EVERY_S)
    finally:
        if sampling is not None:
            sampling.cancel()
            await asyncio.gather(sampling, return_exceptions=True)


async def watch(
    deployment: Deployment,
    endpoint: Endpoint,
    *,
    connected: Callable[[], bool],
    pid: int | None,
    has_gpu: bool,
    on_dead: Callable[[str], None],
) -> None:
    """Tell changes as events, and keep the latest sample in `deployment.health`; without end.
    on_dead: told why, once the endpoint has been dead for DEAD_S, while its server may still run.
    Nothing is done where requests have to be run on the machine itself."""
    if endpoint.client is None:
        return
    checked_at, well = time.monotonic(), True
    dead_at: float | None = None
    checking: asyncio.Task[None] | None = None
    try:
        runner = endpoint.runner if has_gpu else None
        async with aclosing(
            samples(endpoint.client, connected, runner, deployment.engine.read_metrics)
        ) as watched:
            async for sample, changed in watched:
                deployment.readings.health = sample
                healthy = sample.condition is Condition.HEALTHY
                if sample.condition is not Condition.DEAD:
                    dead_at = None
                elif dead_at is None:
                    dead_at = time.monotonic()
                elif time.monotonic() - dead_at > DEAD_S:
                    on_dead(sample.reason)
                news = changed and not (well and healthy)
                if news:
                    await deployment.emit(
                        ev.HealthChanged(deployment.attempt, sample.condition, sample.reason)
                    )
                well = healthy if changed else well
                # Where a guard waits for requests to stop, our own are not to be among them.
                again = deployment.spec.idle_minutes is None
                due = news or (again and time.monotonic() - checked_at >= RECHECK_S)
                if due and healthy and (checking is None or checking.done()):
                    # Beside the samples: a check may hang for longer than a sample may wait.
                    checked_at = time.monotonic()
                    checking = asyncio.create_task(_recheck(deployment, endpoint, pid, has_gpu))
    finally:
        deployment.readings.health = None
        if checking is not None:
            checking.cancel()
            await asyncio.gather(checking, return_exceptions=True)


async def end_dead(deployment: Deployment, watching: asyncio.Task[None], why: str) -> None:
    """The server has ended: whoever sends it requests knows at once, as it takes longer to find out
    what for."""
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    deployment.readings.health = HealthSample(Condition.DEAD, why)


async def _recheck(
    deployment: Deployment, endpoint: Endpoint, pid: int | None, has_gpu: bool
) -> None:
    """All checks again; only what came out differently is told."""
    before = deployment.state.checks
    found = await endpoint.check(deployment.model.served_name, pid=pid, has_gpu=has_gpu)
    deployment.readings.keep_round(found)
    for check in found:
        was = before.get(check.name)
        if was is None or was.status is not check.status:
            await deployment.emit(ev.Checked(deployment.attempt, check))
