"""What the service counts and stores beside its sessions: costs, benchmarks, templates."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from gdl.domain.lazy_dataclass import dataclass
from gdl.simulator.benchmark_fields import wrong_field
from gdl.simulator.wire_format import Json, Query, Refusal, rfc3339

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Rent:
    """One session, as far as it costs. ended None: it runs. failed_create: there was no machine,
    and the service counts an hour for it."""

    session_id: str
    consumer_id: str
    provider: str
    gpu_type: str
    price: float
    created: datetime
    ended: datetime | None
    failed_create: bool

    @property
    def hours(self) -> int:
        """Whole hours of the clock from its first to its last moment: a short session has none."""
        if self.failed_create:
            return 1
        end = self.ended or datetime.now(UTC)
        first = self.created.replace(minute=0, second=0, microsecond=0) + _HOUR
        last = end.replace(minute=0, second=0, microsecond=0)
        return max(int((last - first) / _HOUR), 0)

    @property
    def cost(self) -> float:
        return self.hours * self.price


def costs(rents: Iterable[Rent], query: Query) -> Json:
    """What `/costs` answers."""
    session_id = query.text("session_id")
    if session_id:
        total = sum(r.cost for r in rents if r.session_id == session_id)
        return {"currency": "USD", "session_id": session_id, "total_cost": round(total, 6)}
    if not query.text("consumer_id"):
        raise Refusal(400, "consumer_id or session_id is required")
    return summary(rents, query)


def summary(rents: Iterable[Rent], query: Query) -> Json:
    """What `/costs/summary` answers."""
    consumer = query.text("consumer_id")
    begin, end = _period(query.text("period"))
    counted = [
        r for r in rents if r.cost and consumer in ("", r.consumer_id) and begin <= r.created < end
    ]
    by_provider: dict[str, float] = {}
    by_gpu: dict[str, float] = {}
    for rent in counted:
        by_provider[rent.provider] = round(by_provider.get(rent.provider, 0) + rent.cost, 6)
        by_gpu[rent.gpu_type] = round(by_gpu.get(rent.gpu_type, 0) + rent.cost, 6)
    return {
        "consumer_id": consumer,
        "total_cost": round(sum(r.cost for r in counted), 6),
        "session_count": len(counted),
        "hours_used": sum(r.hours for r in counted),
        "by_provider": by_provider,
        "by_gpu_type": by_gpu,
        "period_start": begin.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "period_end": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _period(name: str) -> tuple[datetime, datetime]:
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if name in ("day", "daily"):
        return day, day + timedelta(days=1)
    if name in ("week", "weekly"):
        begin = day - timedelta(days=day.weekday())
        return begin, begin + timedelta(days=7)
    begin = day.replace(day=1)
    return begin, (begin + timedelta(days=32)).replace(day=1)


class Benchmarks:
    """Stored benchmark reports. rows: oldest first."""

    def __init__(self) -> None:
        self.rows: list[Json] = []

    def add(self, body: Json) -> Json:
        """What `POST /benchmarks` answers. Raises Refusal."""
        if wrong := wrong_field(body):
            raise Refusal(400, f"invalid benchmark data: json: cannot unmarshal {wrong}")
        model, results = body.get("model"), body.get("results")
        if not isinstance(model, dict) or not model.get("name"):
            raise Refusal(400, "model.name is required")
        if not isinstance(results, dict):
            raise Refusal(400, "results is required")
        row = {"id": str(uuid.uuid4()), "timestamp": rfc3339(datetime.now(UTC)), **body}
        self.rows.append(row)
        return {"benchmark": row, "cost_analysis": _analysis(row)}

    def show(self, query: Query) -> Json:
        rows = self._of(query)
        return {"benchmarks": rows or None, "count": len(rows)}

    def chosen(self, which: str, query: Query) -> Json:
        """What `/benchmarks/best|cheapest|compare|recommendations` answer. Raises Refusal."""
        model = query.text("model")
        if not model:
            raise Refusal(400, "model is required")
        rows = sorted(self._of(query), key=_speed, reverse=True)
        if which in ("compare", "recommendations"):
            shown = [{"benchmark": row, "cost_analysis": _analysis(row)} for row in rows]
            return {which if which != "compare" else "benchmarks": shown, "count": len(shown)}
        if not rows:
            raise Refusal(404, f"no benchmarks found for model: {model}")
        if which == "cheapest":
            rows.sort(key=lambda row: _analysis(row)["cost_per_million_tokens"])
        return {"benchmark": rows[0], "cost_analysis": _analysis(rows[0])}

    def _of(self, query: Query) -> list[Json]:
        model = query.text("model")
        return [row for row in self.rows if model in ("", str(row["model"].get("name")))]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _speed(row: Json) -> float:
    return _number(row["results"].get("avg_tokens_per_second"))


def _analysis(row: Json) -> Json:
    price, speed = _number(row.get("price_per_hour")), _speed(row)
    tokens = speed * 3600
    return {
        "price_per_hour": price,
        "tokens_per_hour": tokens,
        "cost_per_million_tokens": round(price / tokens * 1e6, 6) if tokens else 0,
        "tokens_per_dollar": round(tokens / price) if price else 0,
    }


TEMPLATES: tuple[Json, ...] = (
    {
        "hash_id": "5a1f0c7e2d9b4e63a8c1f7d20b6e94aa",
        "name": "vLLM (simulated)",
        "image": "vllm/vllm-openai:v0.32.0",
        "use_ssh": True,
        "recommended": True,
    },
    {
        "hash_id": "91c4e07b3fd84a1c9e52d6ab7f083c15",
        "name": "PyTorch CUDA development (simulated)",
        "image": "pytorch/pytorch:2.13.0-cuda13.0-cudnn9-devel",
        "use_ssh": True,
        "recommended": False,
    },
)
