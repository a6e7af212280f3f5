"""Before money and time go into an install: wait for what may pass, leave what will not do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from gdl.domain.errors import DeployError
from gdl.domain.host import CommandRunner, HostFacts
from gdl.domain.model import Model
from gdl.domain.offers import Offer
from gdl.domain.promises import broken_promise
from gdl.domain.volumes import MOUNT_PATH
from gdl.host import download
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.machine.download_rate import SLOW_MB_S

DRIVER_COMES_S = 1200.0
"""Some hosts rebuild their driver for 7 to 19 minutes after SSH answers."""
LOCK_GOES_S = 300.0
"""A package manager that is still at work may be changing the driver. Nothing of ours needs the
lock, so that after this we go on."""

_REBUILDING = "Driver/library version mismatch"
_POLL_S = 3.0
_SECOND_LOOK_S = 10
_SMALL_SHM_MIB = 1024

Look = Callable[[bool], Awaitable[HostFacts]]
"""Called with True for the first look, which may take longer and measure more."""


async def settled(
    look: Look,
    tell: Callable[[str], Awaitable[None]],
    *,
    fresh: bool,
    limit_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> HostFacts:
    """The facts, once the machine has finished setting itself up, as far as that can be seen.

    look: has a look at it. tell: says what is being waited for. fresh: it was rented just now, so
    that a package manager at work is part of its setting up. limit_s: the most to wait for a
    driver. Raises DeployError when the driver is still being rebuilt after that.
    """
    began = clock()
    facts = await look(True)
    rate = facts.download_mb_s
    while True:
        waited = clock() - began
        rebuilding = not facts.gpus and _REBUILDING in facts.gpu_error
        longest_s = min(limit_s, DRIVER_COMES_S if rebuilding else LOCK_GOES_S)
        if rebuilding:
            what = "the GPU driver is being rebuilt"
        elif facts.dpkg_lock and (fresh or not facts.gpus):
            what = "the machine still installs packages of its own"
        else:
            return facts
        if waited >= longest_s:
            if not rebuilding:
                return facts
            raise DeployError(
                f"the GPU driver is still being rebuilt after {waited / 60:.0f} min: {_REBUILDING}",
                "take the next offer; a restart of the machine may help as well",
            )
        await tell(f"{what}; waited {waited:.0f} of {longest_s:.0f} s")
        await sleep(min(_POLL_S, max(longest_s - waited, 0.1)))
        facts = replace(await look(False), download_mb_s=rate)


def refuse_less_than_listed(offer: Offer, facts: HostFacts) -> None:
    """Raises DeployError when the machine is less than its listing said."""
    if broken := broken_promise(offer, facts):
        raise DeployError(broken, "take the next offer; this listing is not true")


def refuse_occupied_memory(model: Model, facts: HostFacts) -> None:
    """Raises DeployError when others hold so much GPU memory that the weights do not fit."""
    if model.shape is None or not facts.gpus:
        return
    total = sum(gpu.memory_mib for gpu in facts.gpus) * 1.048576e-3
    used = facts.gpu_memory_used_mib * 1.048576e-3
    need = model.shape.weights_gb
    if total >= need > total - used:
        pids = ", ".join(str(p.pid) for p in facts.gpu_processes[:3])
        who = f" (pid {pids})" if pids else ""
        raise DeployError(
            f"others use {used:.0f} of {total:.0f} GB GPU memory{who}, "
            f"{model.served_name} needs {need:.0f} GB",
            "take the next offer: somebody else uses these GPUs",
        )


async def refuse_slow(
    runner: CommandRunner, facts: HostFacts, project: str, to_fetch_gb: float, limit_s: float
) -> HostFacts:
    """Raises DeployError when downloads are slow, at a second and longer look as well, and what
    there is to fetch would take longer than `limit_s`. The facts with the rate last found."""
    if facts.download_mb_s is None or facts.download_mb_s >= SLOW_MB_S:
        return facts
    again = await download.measure(runner, project, _SECOND_LOOK_S)
    if again is None:
        return facts
    facts = replace(facts, download_mb_s=max(again, facts.download_mb_s))
    best = max(again, facts.download_mb_s or 0.0)
    takes = to_fetch_gb * 1000 / best
    if best < SLOW_MB_S and takes > limit_s:
        raise DeployError(
            f"downloads at {best:.1f} MB/s: {to_fetch_gb:.0f} GB would take {takes / 60:.0f} min",
            "take the next offer; this machine's network is slow",
        )
    return facts


def worth_knowing(facts: HostFacts, offer: Offer | None, *, rented: bool) -> list[str]:
    """What does not stop anything and may explain later trouble, a line each."""
    lines = []
    if offer is not None and not rented and (broken := broken_promise(offer, facts)):
        lines.append(broken)
    if not facts.gpus and facts.gpu_error and "not found" not in facts.gpu_error:
        lines.append(f"no GPU can be used, nvidia-smi says: {facts.gpu_error[:160]}")
    lines += [
        f"process {process.pid} holds {process.memory_mib / 1024:.1f} GiB of GPU memory"
        for process in facts.gpu_processes
        if process.memory_mib
    ]
    if len(facts.gpus) > 1 and 0 < facts.shm_mib < _SMALL_SHM_MIB:
        lines.append(f"{facts.shm_mib} MiB of shared memory: GPUs may fail to exchange data")
    if facts.download_mb_s is not None and facts.download_mb_s < SLOW_MB_S:
        lines.append(f"this machine downloads at {facts.download_mb_s:.1f} MB/s only")
    return lines


async def judge(
    deployment: Deployment,
    runner: CommandRunner,
    facts: HostFacts,
    offer: Offer | None,
    *,
    rented: bool,
    limit_s: float,
) -> None:
    """Leave a machine that is not what its listing said, that others use, or that will never have
    downloaded everything. On a machine of one's own, say so and go on. Raises DeployError."""
    if (volume := deployment.spec.query.volume) is not None:
        if facts.volume_free_gib is None:
            raise DeployError(
                f"the volume {volume.name} is not mounted at {MOUNT_PATH}",
                "take the next offer, or omit --volume",
            )
        await deployment.note(
            f"weights and caches are kept on the volume {volume.name},"
            f" {facts.volume_free_gib:.0f} GiB free"
        )
    if rented and offer is not None:
        refuse_less_than_listed(offer, facts)
        if not deployment.adopted:
            refuse_occupied_memory(deployment.model, facts)
        facts = await refuse_slow(
            runner,
            facts,
            deployment.engine.probe.index_page,
            _to_fetch_gb(deployment, facts),
            limit_s,
        )
    for line in worth_knowing(facts, offer, rented=rented):
        await deployment.note(line, "warning")


def _to_fetch_gb(deployment: Deployment, facts: HostFacts) -> float:
    """Packages and weights, less what is there."""
    model = deployment.model
    packages = 0.0 if facts.engine.installed else deployment.engine.memory.download_gb
    if model.shape is None or model.source != "hub":
        return packages
    return packages + max(model.shape.files_gb - facts.model_gib * 1.073741824, 0.0)
