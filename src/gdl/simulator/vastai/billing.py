"""What the stand-in for Vast.ai charges."""

from __future__ import annotations

from datetime import UTC, datetime

from gdl.simulator.contracts import Account, Contract, Meter
from gdl.simulator.vastai.errors import VastRefusal
from gdl.simulator.vastai.hosts import Host
from gdl.simulator.vastai.market import VastMarket
from gdl.simulator.vastai.search import chosen, page
from gdl.simulator.vastai.volumes import Volumes
from gdl.simulator.wire_format import Json

_MOST = 100
_USUAL = 20


class Billing:
    def __init__(self, market: VastMarket, volumes: Volumes) -> None:
        self._market = market
        self._hosting = market.hosting
        self._volumes = volumes

    def user(self, account: Account) -> Json:
        left = account.credit - self._hosting.spent(account) - self._volumes.spent(account)
        return {
            "id": account.id,
            "username": "simulated",
            "email": "simulated@example.invalid",
            "email_verified": True,
            "credit": round(left, 6),
            "balance": 0.0,
            "balance_threshold": 1.0,
            "balance_threshold_enabled": False,
            "can_pay": True,
            "has_billing": True,
            "ssh_key": account.public_keys[-1] if account.public_keys else None,
            "api_key": "hidden",
        }

    def charges(self, account: Account, query: Json) -> Json:
        """One page. Raises VastRefusal."""
        now = datetime.now(UTC)
        rows = [
            _row(one, self._market.host_of(one), now)
            for one in self._hosting.contracts.values()
            if one.account is account
        ]
        rows += self._volumes.charges(account, now)
        wanted = query.get("select_filters") or {}
        if not isinstance(wanted, dict) or "day" not in wanted:
            raise VastRefusal(400, "invalid_args", "error 400/1014: select_filters: day")
        days = wanted["day"]
        others = {name: test for name, test in wanted.items() if name != "day"}
        rows = [row for row in chosen(rows, others, {}) if _within(row, days)]
        rows.sort(key=lambda row: float(row["start"]), reverse=bool(query.get("latest_first")))
        numbered = [{**row, "id": place} for place, row in enumerate(rows)]
        limit = min(int(query.get("limit") or _USUAL), _MOST)
        found, token = page(numbered, limit, str(query.get("after_token") or ""))
        for row in found:
            del row["id"]
        return {
            "success": True,
            "results": found,
            "count": len(found),
            "total": len(rows),
            "next_token": token,
        }


def _within(row: Json, days: Json) -> bool:
    """Whether some of it falls into that time."""
    since, until = days.get("gte", 0), days.get("lte", float("inf"))
    return bool(row["end"] >= since and row["start"] <= until)


def _row(contract: Contract, host: Host, now: datetime) -> Json:
    items = [
        _item("gpu", "GPU", contract.gpu, now),
        _item("disk", "Storage", contract.disk, now),
        _traffic("bwd", "Download", contract, contract.down_gb * host.down_cost, now),
        _traffic("bwu", "Upload", contract, contract.up_gb * host.up_cost, now),
    ]
    items = [item for item in items if item["amount"]]
    return {
        "type": "instance",
        "source": f"instance-{contract.id}",
        "description": f"Instance {contract.id}",
        "amount": sum(item["amount"] for item in items),
        "start": contract.made.timestamp(),
        "end": (contract.disk.ended or now).timestamp(),
        "metadata": {"instance_id": int(contract.id), "label": contract.label or None},
        "items": items,
    }


def _item(kind: str, words: str, meter: Meter, now: datetime) -> Json:
    amount = meter.dollars(now)
    hours = amount / meter.per_hour if meter.per_hour else 0.0
    return {
        "type": kind,
        "source": None,
        "description": f"{words}: {hours:.3f} hours at ${meter.per_hour:.4f}/hour",
        "amount": amount,
        "start": meter.begun.timestamp() if meter.begun else None,
        "end": (meter.ended or now).timestamp() if meter.begun else None,
        "metadata": {},
        "items": [],
    }


def _traffic(kind: str, words: str, contract: Contract, amount: float, now: datetime) -> Json:
    return {
        "type": kind,
        "source": None,
        "description": f"{words} traffic",
        "amount": amount,
        "start": contract.made.timestamp(),
        "end": (contract.disk.ended or now).timestamp(),
        "metadata": {},
        "items": [],
    }
