"""What earlier attempts came to, read from the journal's events."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from gdl.domain.phase import Phase
from gdl.domain.session_price import MB_PER_S
from gdl.journal.store import Journal, payload_at

LOOK_BACK = 300
"""Deployments that are looked at: machines and providers change."""

_USED = "instr(',' || backend || ',', ',' || ? || ',') > 0"
"""Of a deployment that used one of several backends, too."""

_TOLD_BY = {
    "deployment_planned": payload_at("$.served_name"),
    "attempt_started": "payload",
    "session_rented": payload_at("$.since"),
    "host_inspected": payload_at("$.facts.download_mb_s"),
    "phase_changed": "''",
    "choice_awaited": "''",
    "choice_made": "''",
    "attempt_failed": payload_at("$.kind"),
    "bench_finished": payload_at("$.report.output_throughput"),
}
"""What each of these events tells, in SQL: the events themselves hold whole reports and machines,
and reading all of these takes a hundred times as long."""
_TOLD = " ".join(f"WHEN '{kind}' THEN {told}" for kind, told in _TOLD_BY.items())


@dataclass(slots=True)
class PastAttempt:
    """failed: the kind of the error that ended it, "" without one. setup_s: seconds from rent to
    serving, without waited_s, in which a choice was waited for. tokens_per_s: output tokens a
    second that its benchmark found. mbps: 10^6 bit/s that the machine was measured to download at.
    download_gb: what was to be downloaded, 0 where nobody knew. backend: whose offer it was on, ""
    where there was one alone. image: the container image that it was rented with, "" for the
    market's usual one."""

    model: str
    provider: str
    machine_id: str
    gpu_name: str
    gpu_count: int
    rented_at: datetime | None = None
    served: bool = False
    failed: str = ""
    setup_s: float | None = None
    tokens_per_s: list[float] = field(default_factory=list)
    mbps: float | None = None
    download_gb: float = 0.0
    backend: str = ""
    image: str = ""
    asked_at: str = ""
    waited_s: float = 0.0

    @property
    def work_s(self) -> float | None:
        """Of the set-up, what was not waiting for the download; None where that is not known."""
        if self.setup_s is None or not self.mbps or not self.download_gb:
            return None
        return max(self.setup_s - self.download_gb * 1000 * MB_PER_S / self.mbps, 0.0)


async def attempts(journal: Journal, backend: str, limit: int = LOOK_BACK) -> list[PastAttempt]:
    """The attempts on one backend of the latest deployments that used it, in no promised order."""
    marks = ", ".join("?" for _ in _TOLD_BY)
    rows = await journal.read(
        f"SELECT deployment_id, type, at, CASE type {_TOLD} END AS told"  # noqa: S608 - our names
        " FROM events WHERE deployment_id IN"
        f" (SELECT id FROM deployments WHERE {_USED} ORDER BY created_at DESC LIMIT ?)"
        f" AND type IN ({marks}) AND (type <> 'phase_changed' OR payload LIKE '%\"SERVING\"%')"
        " ORDER BY deployment_id, seq",
        (backend, limit, *_TOLD_BY),
    )
    by_deployment: dict[str, list[tuple[str, str, Any]]] = defaultdict(list)
    for row in rows:
        by_deployment[row["deployment_id"]].append((row["type"], row["at"], row["told"]))
    found = [attempt for events in by_deployment.values() for attempt in _attempts_of(events)]
    # Where several were used, each attempt says whose it was.
    return [attempt for attempt in found if attempt.backend in ("", backend)]


def _attempts_of(events: list[tuple[str, str, Any]]) -> list[PastAttempt]:
    model = ""
    found: list[PastAttempt] = []
    for kind, at, told in events:
        if kind == "deployment_planned":
            model = str(told or "")
        elif kind == "attempt_started":
            found.append(_begun(model, json.loads(told)))
        elif found:
            _go_on(found[-1], kind, at, told)
    return found


def _begun(model: str, data: dict[str, Any]) -> PastAttempt:
    return PastAttempt(
        model,
        str(data.get("provider", "")),
        str(data.get("machine_id", "")),
        str(data.get("gpu_name", "")),
        int(data.get("gpu_count", 0)),
        download_gb=float((data.get("expected") or {}).get("download_gb", 0.0)),
        backend=str(data.get("backend", "")),
        image=str(data.get("image", "")),
    )


def _go_on(attempt: PastAttempt, kind: str, at: str, told: Any) -> None:
    if kind in _END_A_WAIT and attempt.asked_at:
        attempt.waited_s += _between(attempt.asked_at, at).total_seconds()
        attempt.asked_at = ""
    match kind:
        case "session_rented":
            # Attached again: its set-up was another deployment's.
            attempt.rented_at = None if told else datetime.fromisoformat(at)
        case "host_inspected":
            if isinstance(told, int | float) and told > 0:
                attempt.mbps = told * MB_PER_S
        case "phase_changed":
            attempt.served = True
            if attempt.rented_at is not None and attempt.setup_s is None:
                took = datetime.fromisoformat(at) - attempt.rented_at
                attempt.setup_s = max(took.total_seconds() - attempt.waited_s, 0.0)
        case "choice_awaited":
            attempt.asked_at = at
        case "attempt_failed":
            attempt.failed = str(told or "")
        case "bench_finished":
            if isinstance(told, int | float) and told > 0:
                attempt.tokens_per_s.append(float(told))


_END_A_WAIT = frozenset({"choice_awaited", "choice_made", "phase_changed"})
"""No choice is made where the process that asked is gone; what took over asks again, or goes on."""


def _between(since: str, until: str) -> timedelta:
    """Not negative, whatever the clock did."""
    return max(datetime.fromisoformat(until) - datetime.fromisoformat(since), timedelta())


_PASSED = (
    "RENTING", "CONNECTING", "PREFLIGHT", "INSTALLING", "STARTING", "LOADING", "VERIFYING",
    "SERVING",
)  # fmt: skip


async def phase_times(
    journal: Journal, backends: Sequence[str], without: str, limit: int = LOOK_BACK
) -> list[tuple[str, dict[Phase, float]]]:
    """(model, seconds by phase) of earlier attempts: of phases that were passed, not of those in
    which they failed. without: a deployment that does not count."""
    used = " OR ".join(_USED for _ in backends)
    rows = await journal.read(
        f"SELECT deployment_id, type, at, {payload_at('$.phase')} AS phase,"  # noqa: S608 - our text
        f" {payload_at('$.served_name')} AS model,"
        f" {payload_at('$.since')} AS since FROM events WHERE deployment_id IN"
        f" (SELECT id FROM deployments WHERE ({used}) AND id <> ?"
        " ORDER BY created_at DESC LIMIT ?)"
        " AND type IN ('deployment_planned', 'attempt_started', 'session_rented', 'phase_changed',"
        " 'choice_awaited', 'choice_made')"
        " ORDER BY deployment_id, seq",
        (*backends, without, limit),
    )
    found: list[tuple[str, dict[Phase, float]]] = []
    model, entered, asked = "", ("", ""), ""
    for row in rows:
        if asked and row["type"] in _END_A_WAIT:
            # Whoever was waited for, it was not the phase's work.
            phase, since = entered
            if phase:
                began = datetime.fromisoformat(since) + _between(asked, row["at"])
                entered = (phase, began.isoformat())
            asked = ""
        if row["type"] == "deployment_planned":
            model, entered = str(row["model"] or ""), ("", "")
        elif row["type"] == "attempt_started":
            found.append((model, {}))
            entered, asked = ("", ""), ""
        elif row["type"] == "choice_awaited":
            asked = row["at"]
        elif row["type"] == "session_rented" and row["since"] and found:
            # Attached again: nothing was set up.
            found[-1], entered = (model, {}), ("", "")
        elif row["type"] == "phase_changed" and found:
            phase, since = entered
            if phase in _PASSED and row["phase"] in _PASSED:
                took = datetime.fromisoformat(row["at"]) - datetime.fromisoformat(since)
                times = found[-1][1]
                times[Phase(phase)] = times.get(Phase(phase), 0.0) + took.total_seconds()
            entered = (str(row["phase"]), row["at"])
    return [(name, times) for name, times in found if times]
