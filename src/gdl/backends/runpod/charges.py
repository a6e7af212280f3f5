"""What RunPod charged, by its billing records: a row for each pod and hour or day."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from gdl.backends.runpod.wire import BACKEND, ChargeWire
from gdl.domain.money import Charge, CostReport

_DAYS = 30
"""As far as the records go back where nothing is said of it."""


def charges_of(
    rows: Iterable[ChargeWire], since: datetime, ours: Callable[[datetime | None], datetime | None]
) -> Sequence[Charge]:
    """Oldest first; ours: turns their times into ours. Rows that tell no times are dropped."""
    found = []
    for row in rows:
        began, ended = ours(row.startTime), ours(row.endTime)
        if began is None or ended is None or ended <= since:
            continue
        parts = {"gpu": row.gpuAmount, "disk": row.diskAmount}
        parts["other"] = row.totalAmount - sum(parts.values())
        found += [
            Charge(row.podId, amount, began, ended, kind)
            for kind, amount in parts.items()
            if amount > 0.000001
        ]
    return tuple(sorted(found, key=lambda charge: charge.since))


def report(rows: Sequence[ChargeWire]) -> CostReport:
    total = sum(row.totalAmount for row in rows)
    return CostReport(
        total=total,
        session_count=len({row.podId for row in rows if row.podId}),
        by_provider={BACKEND: total} if total else {},
        note=f"all pods of the account in the last {_DAYS} days, as RunPod counts them",
    )
