"""What the GPUs do while a server runs on them, and what goes through the machine's network: the
latest readings, for whoever shows them."""

from __future__ import annotations

import asyncio
import contextlib

from gdl.domain.errors import SshError
from gdl.domain.host import CommandRunner
from gdl.domain.phase import Phase
from gdl.domain.readings import GpuLoad
from gdl.host.gpu import GpuStatus, gpu_status
from gdl.host.process_stats import ProcessStats
from gdl.host.traffic import COMMAND, traffic_of
from gdl.orchestrator.deployment.context import Deployment

LOOK_EVERY_S = 5.0
"""nvidia-smi costs the machine some tens of milliseconds a time."""
TRAFFIC_EVERY = 12
"""Looks at the GPUs until the traffic is read again."""
_STARTS = (Phase.STARTING, Phase.LOADING)
"""Others look at the machine then, and tell of its GPUs too."""


def of_stats(stats: ProcessStats) -> GpuLoad | None:
    if stats.gpu_total_mib is None and stats.gpu_percent is None:
        return None
    return GpuLoad(stats.gpu_used_mib, stats.gpu_total_mib, stats.gpu_percent)


def of_status(status: GpuStatus) -> GpuLoad | None:
    """All GPUs as one; None without any that tells."""
    if not status.gpus:
        return None
    used = [g.memory_used_mib for g in status.gpus if g.memory_used_mib is not None]
    total = [g.memory_total_mib for g in status.gpus if g.memory_total_mib is not None]
    percent = [g.utilization_percent for g in status.gpus if g.utilization_percent is not None]
    heat = [g.temperature_c for g in status.gpus if g.temperature_c is not None]
    power = [g.power_w for g in status.gpus if g.power_w is not None]
    return GpuLoad(
        sum(used) if used else None,
        sum(total) if total else None,
        max(percent, default=None),
        max(heat, default=None),
        sum(power) if power else None,
    )


async def watch(deployment: Deployment, runner: CommandRunner, ended: asyncio.Event) -> None:
    """Keep the readings of GPUs and traffic fresh until the server has ended. A machine out of
    reach, or without a GPU, has no reading of that; the last one of the traffic stays."""
    looks = 0
    try:
        while not ended.is_set():
            has_gpu = deployment.rental is not None and deployment.rental.has_gpu
            if has_gpu and deployment.state.phase not in _STARTS:
                try:
                    deployment.readings.gpu = of_status(await gpu_status(runner))
                except SshError:
                    deployment.readings.gpu = None
            if deployment.state.phase is Phase.SERVING:
                if looks % TRAFFIC_EVERY == 0:
                    await _read_traffic(deployment, runner)
                looks += 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY_S):
                    await ended.wait()
    finally:
        deployment.readings.gpu = None


async def _read_traffic(deployment: Deployment, runner: CommandRunner) -> None:
    with contextlib.suppress(SshError):
        told = traffic_of((await runner.run(COMMAND)).stdout)
        deployment.readings.traffic = told or deployment.readings.traffic
