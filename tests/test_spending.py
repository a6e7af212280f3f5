"""`gdl-tui spending`: our own count beside what the marketplaces charged, and what is left."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from cli_support import SCENARIOS, Scripted, opener_of
from failover_support import journal_of
from gdl.backends.base import Backend
from gdl.cli.app import run
from gdl.domain.backend import BackendTraits
from gdl.domain.errors import BackendUnreachable
from gdl.domain.ledger import LedgerEntry, LedgerKind
from gdl.domain.money import Balance, Charge
from gdl.domain.spending import Cap, SpendingReport, SpendingRow
from gdl.journal import ledger
from gdl.journal.store import Journal
from gdl.orchestrator.leasing.budget import Budget
from gdl.orchestrator.leasing.spending_report import SpendingReports
from gdl.settings import Settings, load

NOON = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


@dataclass
class Telling:
    """As much of a marketplace as is asked for its charges and its balance."""

    name: str = "vastai"
    traits: BackendTraits = field(default_factory=BackendTraits)
    told: tuple[Charge, ...] = ()
    away: bool = False
    slow: bool = False
    asked: list[datetime] = field(default_factory=list)
    balances_asked: int = 0

    async def charges(self, since: datetime) -> Sequence[Charge]:
        self.asked.append(since)
        if self.slow:
            await asyncio.Event().wait()
        if self.away:
            raise BackendUnreachable("vastai does not answer", "try again later")
        return self.told

    async def balance(self) -> Balance:
        self.balances_asked += 1
        if self.away:
            raise BackendUnreachable("vastai does not answer", "try again later")
        return Balance(12.3)


def reports(journal: Journal, settings: Settings, *backends: Telling) -> SpendingReports:
    markets = [cast(Backend, b) for b in backends]
    budget = Budget(markets, journal, settings, lambda: NOON)
    return SpendingReports(markets, settings, lambda: NOON, budget)


async def rented(
    journal: Journal, backend: str, since: datetime, until: datetime | None, price: float
) -> None:
    name = f"s-{backend}-{since:%d%H}"
    for kind, at in ((LedgerKind.RENTED, since), (LedgerKind.RELEASED, until)):
        if at is not None:
            one = LedgerEntry(at, kind, backend, "d", 1, f"i-{name}", name, "", "o", price, "")
            await ledger.add(journal, one)


def settings(folder: Path, **flags: object) -> Settings:
    return load(None, **{"data_dir": folder, **flags})


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


async def test_our_own_count_and_the_charges_by_day(tmp_path: Path) -> None:
    yesterday = NOON - timedelta(days=1)
    async with journal_of(tmp_path) as journal:
        await rented(journal, "vastai", yesterday, yesterday + timedelta(hours=1), 0.4)
        await rented(journal, "vastai", NOON - timedelta(hours=2), None, 0.5)
        await rented(journal, "shopper", NOON - timedelta(hours=1), NOON, 0.2)
        await rented(journal, "sandbox", NOON - timedelta(hours=1), NOON, 9.0)
        await rented(journal, "vastai", NOON - timedelta(days=90), NOON - timedelta(days=89), 1.0)
        charge = Charge("1", 0.47, yesterday, yesterday + timedelta(hours=1), "gpu")
        market = Telling(told=(charge,))
        made = reports(journal, settings(tmp_path, spending={"per_day": 5}), market)
        report = await made.report("day")
    assert report.rows == (
        SpendingRow("2026-11-28", "shopper", 0.2),
        SpendingRow("2026-11-28", "vastai", 1.0, 0.0),
        SpendingRow("2026-11-27", "vastai", 0.4, 0.47),
    )
    assert [row.difference for row in report.rows][2] == pytest.approx(0.07)
    assert report.caps == (Cap("day", 5.0, 1.2, 0.5, datetime(2026, 11, 29, tzinfo=UTC)),)
    assert report.balances == {"vastai": Balance(12.3)} and report.silent == {}
    # Charges are asked for from the day on from which the ledger has something.
    assert market.asked == [datetime(2026, 11, 27, tzinfo=UTC)]


async def test_months_reach_a_year_back(tmp_path: Path) -> None:
    async with journal_of(tmp_path) as journal:
        for days in (400, 90, 0):
            since = NOON - timedelta(days=days, hours=1)
            await rented(journal, "vastai", since, since + timedelta(hours=1), 1.0)
        report = await reports(journal, settings(tmp_path), Telling()).report("month")
    assert [row.period for row in report.rows] == ["2026-11", "2026-08"]


@pytest.mark.parametrize("how", ["away", "slow"])
async def test_a_marketplace_that_does_not_answer_is_named(tmp_path: Path, how: str) -> None:
    async with journal_of(tmp_path) as journal:
        await rented(journal, "vastai", NOON - timedelta(hours=1), NOON, 0.4)
        market = Telling(away=how == "away", slow=how == "slow")
        made = reports(journal, settings(tmp_path, timeouts={"http": 0.05}), market)
        report = await made.report("day")
    assert report.rows == (SpendingRow("2026-11-28", "vastai", 0.4, None),)
    assert list(report.silent) == ["vastai"]


async def test_a_balance_is_asked_for_once_a_minute(tmp_path: Path) -> None:
    async with journal_of(tmp_path) as journal:
        market = Telling()
        made = reports(journal, settings(tmp_path), market)
        assert await made.balances() == await made.balances() == {"vastai": Balance(12.3)}
    assert market.balances_asked == 1


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    monkeypatch.setenv("GDL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    rows = (
        SpendingRow("2026-11-28", "vastai", 1.2, 1.32),
        SpendingRow("2026-11-27", "shopper", 0.4),
    )
    caps = (Cap("day", 5.0, 1.2, 0.4, NOON + timedelta(hours=12)),)
    report = SpendingReport(
        "day", "CET, UTC+01:00", rows, caps, ("s-9",), {"vastai": Balance(3.1)}, {"runpod": "away"}
    )
    return Scripted(SCENARIOS["destroy"], spent=report)


def test_it_is_shown_as_a_table(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["spending"], opener=opener_of(scripted)) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "DAY         BACKEND  SPENT  CHARGED  DIFFERENCE",
        "2026-11-28  vastai   $1.20    $1.32      +$0.12",
        "2026-11-27  shopper  $0.40        -           -",
        "$1.60 in all, by our own clock; marketplaces report $1.32, perhaps not all yet",
        "$1.20 of $5.00 today, $0.400/h now (spending.per_day)",
        "vastai has $3.10 left",
        "Days are in local time (CET, UTC+01:00)",
    ]
    assert "runpod did not report its charges: away" in err and "in doubt: s-9" in err


def test_and_as_json(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["spending", "--by", "month", "--json"], opener=opener_of(scripted)) == 0
    first, _, total = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first == {
        "type": "period", "by": "day", "period": "2026-11-28", "backend": "vastai",
        "spent": 1.2, "charged": 1.32, "difference": 0.12,
    }  # fmt: skip
    assert total["type"] == "total" and total["spent"] == 1.6 and total["charged"] == 1.32
    assert total["balances"] == {"vastai": 3.1} and total["silent"] == {"runpod": "away"}
    assert total["caps"][0]["limit"] == 5.0 and total["time_zone"] == "CET, UTC+01:00"
    assert "spending month" in scripted.calls
