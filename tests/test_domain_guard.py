"""What the guard on a machine will do when, and what it is known to have done."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from gdl.domain.guard import (
    Guard,
    GuardStatus,
    end_words,
    ended_by_guard,
    limits,
    read_status,
    words,
)

SINCE = datetime(2026, 11, 28, 14, 0, tzinfo=UTC)
"""When a machine at 36 cents an hour began to cost; a dollar lasts 160 minutes and 2 cents more."""
CAPPED = Guard("machine", SINCE, 0.36, max_spend=1.0, spent_before=0.04, installed=True)


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-28T{clock}:00+00:00")


def test_the_money_of_other_machines_counts_too() -> None:
    assert CAPPED.limit_s == 9600
    assert CAPPED.spent_at == at("16:40")
    assert CAPPED.spent(at("16:40")) == pytest.approx(1.0)
    assert replace(CAPPED, price=0.0).limit_s is None
    assert not Guard("server", SINCE, 0.0, max_spend=1.0).wants
    assert replace(CAPPED, spent_before=2.0).limit_s == 1, "it is over already"


@pytest.mark.parametrize("dollars", [1e7, 1e12, 1e308])
def test_a_limit_that_nobody_lives_to_see_has_no_date(dollars: float) -> None:
    far = replace(CAPPED, max_spend=dollars, price=0.01, idle_minutes=30)
    assert far.wants and far.spent_at is None and not far.due()
    assert words(far, SINCE) == "ends after 30 min without a request"


def test_what_it_will_do_is_said_in_one_line() -> None:
    seen = replace(CAPPED, idle_minutes=30, unseen_hours=12, seen_at=at("15:00"), idle_s=1230)
    assert words(CAPPED, at("15:00")) == "ends at $1.00, about 16:40 UTC"
    assert words(seen, at("15:01")) == (
        "ends at $1.00, about 16:40 UTC; idle 20 min of 30; ends after 12 h with nobody connected"
    )
    # What was seen long ago says nothing about now.
    assert "ends after 30 min without a request" in words(seen, at("15:10"))
    assert "not active yet" in words(replace(seen, installed=False), at("15:01"))
    assert words(replace(CAPPED, ends="server"), SINCE).endswith("ends only the server")
    assert "reserved time" in words(replace(CAPPED, ends="reservation"), SINCE)


def test_a_time_of_another_day_is_told_with_its_date() -> None:
    long = replace(CAPPED, max_spend=13.0)
    assert words(long, at("15:00")) == "ends at $13.00, about 30 Nov 02:00 UTC"
    assert words(long, long.spent_at or SINCE) == "ends at $13.00, about 02:00 UTC"
    ended = ended_by_guard(CAPPED, at("22:00") + timedelta(days=3))
    assert ended is not None
    away = "the guard ended it at 28 Nov 16:40 UTC: $1.00 spent"
    assert words(ended, at("22:00") + timedelta(days=3)) == away


def test_the_cap_is_told_as_the_cause_of_an_end_after_it() -> None:
    ended = ended_by_guard(CAPPED, at("22:00"))
    assert ended is not None
    assert end_words(ended) == "the guard ended it at 16:40 UTC: $1.00 spent"
    assert words(ended, at("22:00")) == end_words(ended)
    assert ended_by_guard(CAPPED, at("16:30")) is None, "it cannot have been the guard"


def test_requests_after_the_last_look_may_have_put_the_end_off() -> None:
    idle = replace(CAPPED, idle_minutes=30, seen_at=at("15:00"), idle_s=600)
    assert ended_by_guard(idle, at("15:10")) is None, "it ended before anything was due"
    ended = ended_by_guard(idle, at("22:00"))
    assert ended is not None and (ended.ended, ended.ended_at) == ("idle", at("15:20"))
    assert end_words(ended) == (
        "the guard ended it at 15:20 UTC or later: no request for 30 min, at least $0.52 spent"
    )
    # Nothing that was on the machine of one's own cost anything.
    server = Guard("server", SINCE, idle_minutes=30, ended="idle", ended_at=at("15:20"))
    assert end_words(server) == ("the guard stopped the server at 15:20 UTC: no request for 30 min")


def test_nobody_connected_for_hours() -> None:
    alone = Guard("machine", SINCE, 0.36, unseen_hours=2, installed=True, seen_at=at("15:00"))
    ended = ended_by_guard(alone, at("20:00"))
    assert ended is not None
    assert end_words(ended) == (
        "the guard ended it at 17:00 UTC: nobody connected for 2 h, $1.08 spent"
    )


def test_a_guard_that_was_never_seen_at_work_has_done_nothing() -> None:
    assert ended_by_guard(replace(CAPPED, installed=False), at("22:00")) is None
    assert ended_by_guard(replace(CAPPED, ends="server"), at("22:00")) is None


STATE = """id abc
pid 12
counted 5000
idle 60
unseen 4
served 1
boot b1
now 900
wall 1800000000
reason spend
asked 2
answer 429
survives cron
up 905
boot_now b1
alive 1
"""


def test_its_state_is_read() -> None:
    assert read_status(STATE) == GuardStatus(
        id="abc",
        alive=True,
        counted_s=5000,
        idle_s=60,
        unseen_s=4,
        reason="spend",
        asked=2,
        answer="429",
        survives="cron",
        ago_s=5,
    )


@pytest.mark.parametrize(
    "text", ["", "none\n", "counted \x1b[31m\nidle -4\nreason rm -rf\n", "counted " + "9" * 400]
)
def test_a_machine_may_say_anything(text: str) -> None:
    read = read_status(text)
    assert (read.counted_s, read.idle_s, read.reason, read.alive) == (0, 0, "", False)


def test_times_of_another_boot_are_not_compared() -> None:
    assert read_status(STATE.replace("boot_now b1", "boot_now b2")).ago_s is None
    assert timedelta(0) <= timedelta(seconds=read_status(STATE).ago_s or 0)


def test_limits_are_said_before_anything_is_rented() -> None:
    assert limits(30, 12) == "30 min idle, 12 h unseen"
    assert (limits(None, 0.5), limits(None, None)) == ("0.5 h unseen", "")
