"""What the account has, and what Vast.ai charges it for."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from gdl.backends.scalars import Text
from gdl.backends.vastai import wire
from gdl.backends.vastai.api_client import V0, VastHttp
from gdl.backends.vastai.fields import PROVIDER, Amount, ContractId, Epoch, SoftPrice, Wire
from gdl.domain.money import Balance, Charge, CostReport, PriceRise

_PAGE = 100
_MOST_PAGES = 200
_COSTS_DAYS = 30
_HOUR_S = 3600
_SOURCE = "instance-"
_MARKS = (
    ("gpu", ("gpu",)),
    ("disk", ("disk", "storage", "volume")),
    ("traffic", ("bandwidth", "traffic", "upload", "download", "inet", "bwu", "bwd")),
)
"""Our kinds of charges, and what their types begin with or hold at Vast.ai."""
_CENTS = 1e-6


class _ItemWire(Wire):
    type: Text = ""
    amount: Amount


class _ChargeWire(_ItemWire):
    """One contract over some days. The items that its amount is made of may be missing."""

    source: Text = ""
    start: Epoch = None
    end: Epoch = None
    items: Any = None


class _RiseWire(Wire):
    """Prices of one GPU, and of one GB of disk, for each second; null where it stays."""

    contract_id: ContractId
    old_gpu_costpersec: SoftPrice = None
    new_gpu_costpersec: SoftPrice = None
    old_disk_ram_costpersec: SoftPrice = None
    new_disk_ram_costpersec: SoftPrice = None
    contract_end_date: Epoch = None


class Billing:
    """Raises BackendUnreachable, BackendRefused, BackendError."""

    def __init__(self, http: VastHttp, now: Callable[[], datetime]) -> None:
        self._http = http
        self._now = now

    async def account(self) -> wire.AccountWire:
        data = await self._http.get_data(f"{V0}/users/current/", "tell of the account")
        try:
            return wire.AccountWire.model_validate(data)
        except ValidationError:
            raise self._http.wrong_shape("the account") from None

    async def balance(self) -> Balance:
        account = await self.account()
        if account.credit is None:
            raise self._http.wrong_shape("the account's credit")
        return Balance(account.credit, "prepaid credit; at zero Vast.ai stops every machine")

    async def charges(self, since: datetime) -> list[Charge]:
        """Whole days, as they are charged: that of `since` is among them."""
        first = since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        last = self._http.clock.theirs() + timedelta(days=1)
        days = {"gte": int(first.timestamp()), "lte": int(last.timestamp())}
        params = {
            "select_filters": json.dumps({"day": days}),
            "latest_first": "false",
            "limit": str(_PAGE),
            "format": "tree",
        }
        path = f"{V0}/charges/"
        pages = await self._http.pages(path, "results", "charges", params, _MOST_PAGES)
        found = [charge for page in pages for row in page["results"] for charge in self._read(row)]
        return sorted(found, key=lambda c: (c.since, c.session_id))

    def _read(self, row: object) -> Iterator[Charge]:
        """One for each kind of what a contract was charged for."""
        try:
            read = _ChargeWire.model_validate(row)
        except ValidationError:
            raise self._http.wrong_shape("a charge") from None
        began = read.start or read.end or self._now()
        # A day is told by its beginning.
        ended = max(read.end or began, began) + timedelta(days=1)
        told = read.source.startswith(_SOURCE)
        session_id = read.source.removeprefix(_SOURCE) if told else ""
        amounts = _by_kind(read.items if isinstance(read.items, list) else ())
        rest = read.amount - sum(amounts.values())
        if abs(rest) > _CENTS:
            amounts["other"] = amounts.get("other", 0.0) + rest
        for kind, amount in amounts.items():
            yield Charge(session_id, amount, began, ended, kind)

    async def costs(self) -> CostReport:
        charges = await self.charges(self._now() - timedelta(days=_COSTS_DAYS))
        by_kind: dict[str, float] = defaultdict(float)
        for charge in charges:
            by_kind[charge.kind] += charge.amount
        parts = ", ".join(f"{kind} ${amount:.2f}" for kind, amount in sorted(by_kind.items()))
        total = sum(by_kind.values())
        return CostReport(
            total=total,
            session_count=len({c.session_id for c in charges if c.session_id}),
            by_provider={PROVIDER: total},
            note=f"as Vast.ai charged the whole account in the last {_COSTS_DAYS} days"
            + (f": {parts}" if parts else ""),
        )

    async def price_rises(self, instances: Sequence[wire.InstanceWire]) -> list[PriceRise]:
        """Of these machines alone, those that their hosts want more for."""
        data = await self._http.get_data(
            f"{V0}/instances/pending-price-increases/", "list the price rises"
        )
        rows = data.get("pending_price_increases")
        if not isinstance(rows, list | None):
            raise self._http.wrong_shape("a list of price rises")
        machines = {each.id: each for each in instances}
        found = []
        for row in rows or ():
            try:
                read = _RiseWire.model_validate(row)
            except ValidationError:
                raise self._http.wrong_shape("a price rise") from None
            machine = machines.get(read.contract_id)
            if machine is not None:
                found.append(_rise(read, machine))
        return found


def _by_kind(items: Iterable[Mapping[str, object]]) -> dict[str, float]:
    amounts: dict[str, float] = {}
    for item in items:
        try:
            read = _ItemWire.model_validate(item)
        except ValidationError:
            continue
        said = read.type.lower()
        kind = next((k for k, marks in _MARKS if any(mark in said for mark in marks)), "other")
        amounts[kind] = amounts.get(kind, 0.0) + read.amount
    return amounts


def _rise(read: _RiseWire, machine: wire.InstanceWire) -> PriceRise:
    session = machine.to_domain()
    gpus = max(machine.num_gpus, 1)
    more = _more(read.old_gpu_costpersec, read.new_gpu_costpersec) * gpus
    disk = max(machine.disk_space or 0.0, 0.0)
    more += _more(read.old_disk_ram_costpersec, read.new_disk_ram_costpersec) * disk
    before = session.price_per_hour
    after = before + more * _HOUR_S
    return PriceRise(session.id, before, after, read.contract_end_date)


def _more(old: float | None, new: float | None) -> float:
    return 0.0 if old is None or new is None else new - old
