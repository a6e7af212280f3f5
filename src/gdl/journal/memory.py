"""What servers held, beside what was predicted."""

from __future__ import annotations

import json
from datetime import datetime

from pydantic import TypeAdapter

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.serialization import to_plain
from gdl.domain.server_memory import MemoryComparison
from gdl.journal.store import Journal, insertion

LIMIT = 1000
_COMPARISON: TypeAdapter[MemoryComparison] = TypeAdapter(MemoryComparison)


@dataclass(frozen=True, slots=True)
class _Row:
    deployment_id: str
    attempt: int
    at: datetime
    model: str
    gpu: str
    gpu_count: int
    release: str
    difference: float
    simulated: bool
    comparison: MemoryComparison


async def add(
    journal: Journal,
    one: MemoryComparison,
    deployment_id: str,
    attempt: int,
    at: datetime,
    *,
    simulated: bool,
) -> None:
    """Keep it; a later one of the same server takes its place."""
    row = _Row(
        deployment_id,
        attempt,
        at,
        one.model,
        one.gpu,
        one.gpu_count,
        one.release,
        one.cache_difference or 0.0,
        simulated,
        one,
    )
    text = json.dumps(to_plain(one), ensure_ascii=False)
    await journal.write(
        *insertion("memory_comparisons", row, verb="INSERT OR REPLACE", comparison=text)
    )


async def kept(
    journal: Journal, *, simulated: bool = False, limit: int = LIMIT
) -> list[MemoryComparison]:
    """Newest first. simulated: those of simulated servers, else those of real ones."""
    rows = await journal.read(
        "SELECT comparison FROM memory_comparisons WHERE simulated = ? ORDER BY at DESC LIMIT ?",
        (int(simulated), limit),
    )
    return [_COMPARISON.validate_json(row["comparison"]) for row in rows]
