"""What earlier deployments left running on a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdl.domain.errors import DeployError
from gdl.domain.lazy_dataclass import dataclass
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.machine.guard import GUARD_JOB
from gdl.ssh import jobs

if TYPE_CHECKING:
    from gdl.ssh.reconnecting import Link

ENGINE_JOB = "engine"


@dataclass(frozen=True, slots=True)
class EarlierServer:
    """survivors: pids of what an ended server left running."""

    job: jobs.Job
    running: bool = False
    survivors: tuple[int, ...] = ()


async def find_server(link: Link, work_dir: str) -> EarlierServer | None:
    """What is left of a server that was started on this machine before."""
    found = await jobs.look(link, work_dir, ENGINE_JOB)
    if found is None:
        return None
    return EarlierServer(found.job, found.status.running, found.survivors)


async def refuse_server(deployment: Deployment, link: Link, earlier: EarlierServer | None) -> bool:
    """Raises DeployError for one that runs. Ends what a server of ours that is gone left behind: it
    holds the port or the GPU. Told apart by the mark of its job, so nobody else's process is
    touched. Whether there was anything to end."""
    if earlier is not None and earlier.running:
        raise DeployError(
            f"an earlier deployment still serves on this machine (pid {earlier.job.pid})",
            "`gdl-tui sessions` shows it where it was deployed; attach to it or destroy it there",
        )
    if earlier is None or not earlier.survivors:
        return False
    await jobs.stop(link, earlier.job)
    shown = ", ".join(str(pid) for pid in earlier.survivors[:8])
    await deployment.note(
        f"ended {len(earlier.survivors)} processes that an earlier server of ours left"
        f" (pid {shown})"
    )
    return True


async def end_jobs(link: Link, work_dir: str) -> None:
    """All that was started there, the guard included. Raises SshError when something survives."""
    for job in await jobs.running_jobs(link, work_dir):
        await jobs.stop(link, job)


async def end_all(deployment: Deployment, link: Link, work_dir: str) -> None:
    """On a machine taken over from a process that is gone: end what it had started."""
    for job in await jobs.running_jobs(link, work_dir):
        if job.name == GUARD_JOB:
            continue  # the machine is guarded all the time
        await deployment.note(f"ending an earlier {job.name} (pid {job.pid})")
        await jobs.stop(link, job)
