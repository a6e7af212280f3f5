"""Fleets: which there are, who runs them, and what is asked of them."""

from __future__ import annotations

import json
from datetime import datetime

from pydantic import TypeAdapter

from gdl.domain.fleet_orders import ORDER_TYPES, FleetOrder, name_of
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.serialization import to_plain
from gdl.journal.store import Journal, insertion


@dataclass(frozen=True, slots=True)
class FleetRow:
    """As a DeploymentRow."""

    id: str
    created_at: datetime
    model: str
    backend: str
    outcome: str
    owner_pid: int
    owner_mark: str = ""


async def add(journal: Journal, row: FleetRow) -> None:
    await journal.write(*insertion("fleets", row))


async def set_outcome(journal: Journal, fleet_id: str, outcome: str) -> None:
    """It has ended, and belongs to no process."""
    await journal.write(
        "UPDATE fleets SET outcome = ?, owner_pid = 0 WHERE id = ?", (outcome, fleet_id)
    )


async def known(journal: Journal) -> list[FleetRow]:
    """Newest first."""
    rows = await journal.read("SELECT * FROM fleets ORDER BY created_at DESC, id DESC")
    return [
        FleetRow(
            row["id"],
            datetime.fromisoformat(row["created_at"]),
            row["model"],
            row["backend"],
            row["outcome"],
            row["owner_pid"],
            row["owner_mark"],
        )
        for row in rows
    ]


async def claim(journal: Journal, row: FleetRow, pid: int, mark: str) -> bool:
    """Make a fleet this process's; False when somebody was quicker. row: as it was read when its
    process was found to be gone."""
    changed = await journal.write(
        "UPDATE fleets SET outcome = '', owner_pid = ?, owner_mark = ?"
        " WHERE id = ? AND outcome = ? AND owner_pid = ? AND owner_mark = ?",
        (pid, mark, row.id, row.outcome, row.owner_pid, row.owner_mark),
    )
    return changed == 1


async def members(journal: Journal, fleet_id: str) -> list[str]:
    """Ids of all deployments that were made as its replicas, oldest first; those of which the
    fleet's own events do not tell yet, too."""
    rows = await journal.read(
        "SELECT id FROM deployments WHERE fleet = ? ORDER BY created_at, id", (fleet_id,)
    )
    return [row["id"] for row in rows]


async def fleet_of(journal: Journal) -> dict[str, str]:
    """The fleet of each deployment that is a replica."""
    rows = await journal.read("SELECT id, fleet FROM deployments WHERE fleet <> ''")
    return {row["id"]: row["fleet"] for row in rows}


# -- orders --------------------------------------------------------------------------------------


async def order(journal: Journal, fleet_id: str, what: FleetOrder, at: datetime) -> None:
    """Leave an order for whoever runs the fleet."""
    text = json.dumps({"type": name_of(what), **to_plain(what)}, ensure_ascii=False)
    await journal.write(
        "INSERT INTO fleet_orders (fleet_id, at, what) VALUES (?, ?, ?)",
        (fleet_id, at.isoformat(), text),
    )


async def orders(journal: Journal, fleet_id: str, after: int) -> list[tuple[int, FleetOrder]]:
    """Those with a number above `after`, in order. Kinds that this version does not know are
    skipped."""
    rows = await journal.read(
        "SELECT id, what FROM fleet_orders WHERE fleet_id = ? AND id > ? ORDER BY id",
        (fleet_id, after),
    )
    found: list[tuple[int, FleetOrder]] = []
    for row in rows:
        told = json.loads(row["what"])
        kind = ORDER_TYPES.get(told.pop("type", ""))
        if kind is not None:
            found.append((row["id"], TypeAdapter(kind).validate_python(told)))
    return found
