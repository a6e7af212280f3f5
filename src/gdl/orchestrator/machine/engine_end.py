"""What is found out after a server's end: who ended it, what it left running, and whether the GPU's
memory is free again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gdl.diagnosis.rule_engine import Diagnosis, RuleSet, by_id, diagnose
from gdl.domain.errors import SshError
from gdl.domain.host import CommandRunner
from gdl.domain.lazy_dataclass import dataclass
from gdl.host.gpu import gpu_status
from gdl.host.killed import OutOfMemory, out_of_memory
from gdl.orchestrator.deployment.context import Deployment
from gdl.ssh import jobs
from gdl.ssh.repeating import Repeating

if TYPE_CHECKING:
    from gdl.ssh.reconnecting import Link

_LOOK_S = 10.0
"""A machine that answers late is not waited for with a failure untold."""
_FREE_S = 60.0
_FREE_LOOK_S = 0.5
_SPARE_MIB = 600
"""More than before: others' small processes come and go."""
_KILLED = frozenset({"engine-killed", "engine-dead", "signal-9", "host-memory", "unknown"})
"""What may be the kernel's doing: nothing in the log says more."""


@dataclass(frozen=True, slots=True)
class Before:
    """How the machine was before the server ran. gpu_mib: memory in use, of all GPUs together."""

    memory: OutOfMemory | None = None
    gpu_mib: int | None = None


async def before_start(link: Link, *, has_gpu: bool) -> Before:
    """Never raises; what the machine does not tell stays None."""
    memory, used = None, None
    with contextlib.suppress(SshError, TimeoutError):
        async with asyncio.timeout(_LOOK_S):
            memory = await out_of_memory(link)
            used = await _gpu_used(link) if has_gpu else None
    return Before(memory, used)


async def explain(
    link: Link,
    rules: RuleSet,
    job: jobs.Job | None,
    output: Sequence[str],
    status: int | None,
    phase: str,
    before: Before,
) -> tuple[Diagnosis, tuple[int, ...]]:
    """Why a server ended: from its log, then from the kernel; and the pids of what it left."""
    found = diagnose(rules, output, exit_status=status, phase=phase)
    survivors: tuple[int, ...] = ()
    evidence: tuple[str, ...] = ()
    with contextlib.suppress(SshError, TimeoutError):
        async with asyncio.timeout(_LOOK_S):
            if job is not None:
                survivors = await jobs.survivors(link, job)
            if found.rule in _KILLED:
                evidence = (await out_of_memory(link)).since(before.memory)
    if evidence:
        found = by_id(rules, "host-memory", [*evidence, *found.evidence])
    elif survivors and status in (-1, -9) and found.rule in (*_KILLED, "signal-1"):
        # Memory that runs out takes the big process first, which is the engine: a shell's word
        # "Killed" about the server alone does not tell of that.
        found = by_id(rules, "left-behind", found.evidence, signal=str(-status))
    return found, survivors


async def end_survivors(
    deployment: Deployment, link: Link, job: jobs.Job, survivors: Sequence[int]
) -> None:
    """End what an ended server left running, by pid. Raises SshError."""
    await jobs.stop(link, job)
    if survivors:
        shown = ", ".join(str(pid) for pid in survivors[:8])
        count = len(survivors)
        processes = "process that the server left" if count == 1 else "processes that it left"
        await deployment.note(f"ended {count} {processes} running (pid {shown})")


async def await_free_gpu(deployment: Deployment, link: Link, before: Before) -> None:
    """Until the GPUs hold no more than before the server ran; the driver takes a while to give
    memory back. Nothing is waited for where that is not known. Raises SshError."""
    if before.gpu_mib is None:
        return
    deadline = time.monotonic() + _FREE_S
    while True:
        used = await _gpu_used(Repeating(link))
        if used is None or used <= before.gpu_mib + _SPARE_MIB:
            return
        if time.monotonic() >= deadline:
            await deployment.note(
                f"{used / 1024:.1f} GiB of the GPU's memory is still in use, of "
                f"{before.gpu_mib / 1024:.1f} before the server ran",
                "warning",
            )
            return
        await deployment.progress(
            f"waiting for the GPU's memory: {used / 1024:.1f} GiB is still in use"
        )
        await asyncio.sleep(_FREE_LOOK_S)


async def _gpu_used(link: CommandRunner) -> int | None:
    used = [gpu.memory_used_mib for gpu in (await gpu_status(link)).gpus]
    known = [mib for mib in used if mib is not None]
    return sum(known) if known else None
