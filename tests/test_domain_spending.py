"""Days, months and caps: what falls into which, by whose clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gdl.domain.ledger import LedgerEntry, LedgerKind, accounts
from gdl.domain.money import Charge
from gdl.domain.spending import (
    Cap,
    Cost,
    SpendingRow,
    charged_costs,
    costs_of,
    per_hour,
    period_of,
    spending_rows,
    spent_within,
    zone_words,
)

BERLIN = ZoneInfo("Europe/Berlin")
LATE = datetime(2026, 11, 27, 22, 30, tzinfo=UTC)
"""Half an hour before midnight in Berlin."""


def entry(at: datetime, kind: LedgerKind, session: str = "s-1", price: float = 0.6) -> LedgerEntry:
    return LedgerEntry(at, kind, "vastai", "d-1", 1, f"i-{session}", session, "", "o", price, "")


def test_a_night_is_divided_at_the_midnight_of_the_zone() -> None:
    night = Cost("vastai", LATE, LATE + timedelta(hours=2), 4.0)
    rows = spending_rows([night], [], [], "day", zone=BERLIN)
    assert rows == [
        SpendingRow("2026-11-28", "vastai", 3.0),
        SpendingRow("2026-11-27", "vastai", 1.0),
    ]
    utc = spending_rows([night], [], [], "day", zone=UTC)
    assert [(row.period, row.spent) for row in utc] == [("2026-11-28", 1.0), ("2026-11-27", 3.0)]
    assert spending_rows([night], [], [], "month", zone=BERLIN) == [
        SpendingRow("2026-11", "vastai", 4.0)
    ]


@pytest.mark.parametrize(
    ("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 11, 1), 24)]
)
def test_a_day_is_as_long_as_the_clocks_make_it(day: tuple[int, int, int], hours: int) -> None:
    since, until = period_of(datetime(*day, 12, tzinfo=BERLIN), "day", BERLIN)
    assert until - since == timedelta(hours=hours)
    whole = Cost("vastai", since, until, 1.0)
    assert [row.spent for row in spending_rows([whole], [], [], "day", zone=BERLIN)] == [1.0]


def test_months_have_their_own_lengths() -> None:
    for month, days in ((1, 31), (2, 28), (4, 30), (12, 31)):
        since, until = period_of(datetime(2026, month, 15, tzinfo=UTC), "month", UTC)
        assert (since.day, until.day, until - since) == (1, 1, timedelta(days=days))


def test_what_was_charged_stands_beside_our_own_count() -> None:
    ours = [Cost("vastai", LATE, LATE + timedelta(minutes=20), 0.2), Cost("ours", LATE, LATE, 0.1)]
    theirs = charged_costs("vastai", [Charge("1", 0.23, LATE, LATE, "gpu")], LATE)
    gpu, own = spending_rows(ours, theirs, ["vastai"], "day", zone=BERLIN)[::-1]
    assert (gpu.backend, gpu.charged) == ("vastai", 0.23)
    assert gpu.difference == pytest.approx(0.03)
    assert (own.backend, own.charged, own.difference) == ("ours", None, None)
    (unknown,) = spending_rows([], theirs, ["vastai"], "day", zone=BERLIN)
    assert (unknown.spent, unknown.charged) == (0.0, 0.23)  # rented elsewhere with the same account


def test_a_charge_for_a_day_that_is_not_over_is_none_for_the_next() -> None:
    day = Charge("1", 0.2, LATE - timedelta(hours=1), LATE + timedelta(hours=23), "gpu")
    rows = spending_rows([], charged_costs("vastai", [day], LATE), ["vastai"], "day", zone=BERLIN)
    assert [(row.period, row.charged) for row in rows] == [("2026-11-27", 0.2)]


def test_the_ledger_says_what_sessions_cost_and_what_they_go_on_costing() -> None:
    now = LATE + timedelta(hours=3)
    entries = [
        entry(LATE, LedgerKind.RENTED),
        entry(LATE + timedelta(hours=1), LedgerKind.RELEASED),
        entry(LATE + timedelta(hours=2), LedgerKind.RENTED, "s-2", 0.9),
        entry(LATE + timedelta(hours=2), LedgerKind.RELEASE_UNCERTAIN, "s-3", 0.1),
    ]
    told = accounts(entries, now)
    assert [(c.until, c.amount) for c in costs_of(told, now)] == [
        (LATE + timedelta(hours=1), 0.6),
        (now, 0.9),
        (now, 0.1),  # nobody has proved that it ended
    ]
    assert per_hour(told) == pytest.approx(1.0)
    assert spent_within(costs_of(told, now), *period_of(now, "day", BERLIN)) == pytest.approx(1.3)


def test_a_cap_is_reached_when_the_money_is_gone_or_not_at_all() -> None:
    midnight = LATE + timedelta(minutes=30)

    def left(limit: float, spent: float, rate: float) -> float | None:
        return Cap("day", limit, spent, rate, midnight).left_s(LATE)

    assert left(5.0, 4.0, 4.0) == 900
    assert left(5.0, 4.0, 1.0) is None  # the next day comes before
    assert left(5.0, 5.1, 1.0) == 0
    assert left(5.0, 4.0, 0.0) is None


def test_the_zone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        monkeypatch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        assert zone_words(LATE) == "CET, UTC+01:00"
        assert period_of(LATE, "day")[1] == LATE + timedelta(minutes=30)
        monkeypatch.setenv("TZ", "UTC")
        time.tzset()
        assert zone_words(LATE) == "UTC"
    finally:
        monkeypatch.undo()
        time.tzset()
