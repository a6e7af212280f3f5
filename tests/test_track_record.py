"""What earlier deployments say of machines is read without reading all that they reported."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gdl.journal import history
from gdl.journal.store import DeploymentRow, Journal
from gdl.orchestrator.leasing.track_record import TrackRecords

BEGAN = datetime(2026, 11, 1, 12, tzinfo=UTC)
LARGE = {"samples": ["x" * 1000] * 20}


async def deployed(journal: Journal, number: int, failed: str = "") -> None:
    """One deployment in the journal, as the event channel writes it."""
    ident, began = f"d-{number:04}", BEGAN + timedelta(hours=number)
    await journal.add_deployment(DeploymentRow(ident, began, "org/model", "vastai", "destroyed", 1))
    told: list[tuple[str, int, dict[str, Any]]] = [
        ("deployment_planned", 0, {"served_name": "org/model", "plan": LARGE}),
        (
            "attempt_started",
            1,
            {
                "provider": "vastai",
                "machine_id": "m-1",
                "gpu_name": "H100",
                "gpu_count": 2,
                "expected": {"download_gb": 12.0},
                "backend": "vastai",
            },
        ),
        ("session_rented", 10, {"session_id": "s", "since": None}),
        ("host_inspected", 40, {"facts": {"download_mb_s": 100.0, "packages": LARGE}}),
        ("phase_changed", 60, {"phase": "INSTALLING"}),
    ]
    if failed:
        told.append(("attempt_failed", 70, {"kind": failed}))
    else:
        told.append(("phase_changed", 310, {"phase": "SERVING"}))
        told.append(("bench_finished", 400, {"report": {"output_throughput": 900.0, **LARGE}}))
    for seq, (kind, after_s, payload) in enumerate(told):
        at = (began + timedelta(seconds=after_s)).isoformat()
        await journal.write(
            "INSERT INTO events (deployment_id, seq, at, type, payload) VALUES (?, ?, ?, ?, ?)",
            (ident, seq, at, kind, json.dumps(payload)),
        )


async def test_an_attempt_is_what_its_events_tell(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "journal.sqlite")
    await deployed(journal, 0)
    await deployed(journal, 1, failed="ssh")
    served, failed = sorted(
        await history.attempts(journal, "vastai"), key=lambda each: each.served, reverse=True
    )
    assert (served.model, served.provider, served.machine_id) == ("org/model", "vastai", "m-1")
    assert (served.gpu_name, served.gpu_count, served.setup_s) == ("H100", 2, 300.0)
    assert (served.mbps, served.download_gb, served.tokens_per_s) == (800.0, 12.0, [900.0])
    assert (failed.served, failed.failed, failed.setup_s) == (False, "ssh", None)
    record = await TrackRecords(journal, "vastai").of("org/model")
    assert record.tokens_per_s == {("H100", 2): 900.0}
    assert record.success["m-1"] == 0.5
    await journal.aclose()


async def test_reports_stay_in_the_journal_however_many_there_are(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "journal.sqlite")
    for number in range(40):
        await deployed(journal, number)
    rows: list[Any] = []
    read = journal.read

    async def counted(sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        found = await read(sql, values)
        rows.extend(found)
        return found

    journal.read = counted  # type: ignore[method-assign]
    assert len(await history.attempts(journal, "vastai")) == 40
    size = sum(len(str(cell)) for row in rows for cell in tuple(row))
    # Each deployment has 60 000 characters of events, of which this is asked for.
    assert size < 40 * 1000
    await journal.aclose()
