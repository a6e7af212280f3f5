"""Which process works on a deployment: of several that want to, one gets it."""

from __future__ import annotations

from gdl.journal.store import DeploymentRow, Journal


async def claim_deployment(journal: Journal, row: DeploymentRow, pid: int, mark: str) -> bool:
    """Make a deployment without an end this process's; False when somebody was quicker. row: as it
    was read when its process was found to be gone."""
    changed = await journal.write(
        "UPDATE deployments SET outcome = '', owner_pid = ?, owner_mark = ?"
        " WHERE id = ? AND outcome = ? AND owner_pid = ? AND owner_mark = ?",
        (pid, mark, row.id, row.outcome, row.owner_pid, row.owner_mark),
    )
    return changed == 1
