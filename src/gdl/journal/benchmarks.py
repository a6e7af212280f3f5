"""The benchmarks that were kept."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime

from pydantic import TypeAdapter

from gdl.domain.benchmark import BenchReport, Measurement
from gdl.domain.serialization import to_plain
from gdl.journal.store import Journal, insertion, payload_at

LIMIT = 1000
_REPORT: TypeAdapter[BenchReport] = TypeAdapter(BenchReport)


async def add(journal: Journal, one: Measurement) -> None:
    """Keep it."""
    report = json.dumps(to_plain(one.report), ensure_ascii=False)
    await journal.write(*insertion("benchmarks", one, report=report))


async def kept(journal: Journal, model: str | None = None, limit: int = LIMIT) -> list[Measurement]:
    """Newest first; of one model, or all."""
    rows = await journal.read(
        "SELECT * FROM benchmarks WHERE ? IS NULL OR model = ? ORDER BY at DESC, id DESC LIMIT ?",
        (model, model, limit),
    )
    return [_measurement(row) for row in rows]


async def hardware(journal: Journal, offer_id: str) -> tuple[str, int]:
    """(GPU, how many) of an offer that was tried; ("", 0) when nothing is known of it."""
    rows = await journal.read(
        "SELECT payload FROM events WHERE type = 'attempt_started'"  # noqa: S608 - our text
        f" AND {payload_at('$.offer_id')} = ?"
        f" AND {payload_at('$.gpu_name')} <> '' ORDER BY at DESC LIMIT 1",
        (offer_id,),
    )
    if not rows:
        return "", 0
    data = json.loads(rows[0]["payload"])
    return str(data.get("gpu_name", "")), int(data.get("gpu_count", 0))


def _measurement(row: sqlite3.Row) -> Measurement:
    return Measurement(
        at=datetime.fromisoformat(row["at"]),
        deployment_id=row["deployment_id"],
        session_id=row["session_id"],
        backend=row["backend"],
        model=row["model"],
        gpu=row["gpu"],
        gpu_count=row["gpu_count"],
        provider=row["provider"],
        price=row["price"],
        workload=row["workload"],
        best=bool(row["best"]),
        simulated=bool(row["simulated"]),
        report=_REPORT.validate_json(row["report"]),
    )
