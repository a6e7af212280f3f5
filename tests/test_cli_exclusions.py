"""`gdl-tui exclusions` and what `offers` says about cost and exclusions."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from cli_support import SCENARIOS, Scripted, offer, opener_of
from gdl.cli.app import run
from gdl.domain.offers import Exclusion, OfferTerms

pytestmark = pytest.mark.usefixtures("own_data")

SINCE = datetime(2026, 5, 6, 7, 8, tzinfo=UTC)
UNTIL = datetime(2026, 5, 13, 7, 8, tzinfo=UTC)


@pytest.fixture
def scripted() -> Scripted:
    return Scripted(
        SCENARIOS["destroy"],
        offered=(offer("cheap", 0.3),),
        left_out=(
            Exclusion("machine", "m-1\x1b[2J", "CUDA cannot start", SINCE, UNTIL, "broken"),
            Exclusion("provider", "vastai", "by you", SINCE, scope="user"),
        ),
    )


def gdl(scripted: Scripted, *arguments: str) -> int:
    return run(arguments, opener=opener_of(scripted))


def test_who_is_left_out_until_when(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert gdl(scripted, "exclusions") == 0
    head, machine, provider = capsys.readouterr().out.splitlines()
    assert head.split() == ["KIND", "KEY", "UNTIL", "REASON"]
    assert "m-1" in machine and "13 May 07:08 UTC" in machine and "\x1b" not in machine
    assert provider.split()[:3] == ["provider", "vastai", "cleared"]


def test_the_same_as_json(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert gdl(scripted, "exclusions", "--json") == 0
    machine, provider = map(json.loads, capsys.readouterr().out.splitlines())
    assert (machine["kind"], machine["until"]) == ("machine", UNTIL.isoformat())
    assert (provider["key"], provider["until"]) == ("vastai", None)


def test_clear_one_or_all_but_never_by_accident(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gdl(scripted, "exclusions", "clear") == 2
    assert gdl(scripted, "exclusions", "clear", "m-1", "--all") == 2
    assert not [c for c in scripted.calls if c.startswith("clear")]
    assert gdl(scripted, "exclusions", "clear", "m-1") == 0
    assert gdl(scripted, "exclusions", "clear", "--all", "--json") == 0
    assert [c for c in scripted.calls if c.startswith("clear")] == ["clear m-1", "clear None"]
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"cleared": 2}


def test_add_knows_three_kinds(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert gdl(scripted, "exclusions", "add", "planet", "mars") == 2
    assert gdl(scripted, "exclusions", "add", "offer", "vastai-7", "--reason", "slow") == 0
    assert "exclude offer vastai-7" in scripted.calls
    assert "offer vastai-7 is excluded" in capsys.readouterr().out


@pytest.mark.parametrize("what", [("clear", "--all"), ("add", "offer", "x")])
def test_read_only_changes_nothing(scripted: Scripted, what: tuple[str, ...]) -> None:
    assert gdl(scripted, "--read-only", "exclusions", *what) == 2
    assert scripted.calls == []


def test_offers_show_what_a_session_will_cost(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gdl(scripted, "offers") == 0
    head, row = capsys.readouterr().out.splitlines()
    assert "SESSION" in head and "PER 1M" not in head and "$0.33" in row
    assert gdl(scripted, "offers", "--json") == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["session_cost"] == pytest.approx(0.33)
    assert plain["usd_per_million"] is None and plain["excluded_until"] is None


def test_json_tells_what_the_session_is_paid_for(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    terms = OfferTerms(0.30, 0.001, 100.0, down_per_gb=0.02, down_mbps=800.0)
    scripted.offered = (offer("told", 0.40, terms=terms), offer("untold", 0.50))
    assert gdl(scripted, "offers", "--json", "--sort", "price") == 0
    told, untold = map(json.loads, capsys.readouterr().out.splitlines())
    parts = told["session_price"]
    assert parts["gpu"] == pytest.approx(0.33) and parts["disk"] == pytest.approx(0.11)
    assert parts["total"] == pytest.approx(told["session_cost"]) == pytest.approx(0.44)
    assert untold["session_price"] is None and untold["session_cost"] == pytest.approx(0.55)
    assert gdl(scripted, "offers", "--sort", "cheapness") == 2
