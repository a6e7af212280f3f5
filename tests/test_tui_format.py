"""Filter, ring and widgets of the terminal UI, without a screen."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from rich.cells import cell_len
from rich.console import Console

from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState
from gdl.domain.events import LogLines, Recorded
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing
from gdl.domain.ranking import rank
from gdl.presentation.offer_filter import parse, searched
from gdl.tui.filtering import sort
from gdl.tui.store import Followed, LogRing, Store
from gdl.tui.widgets.cost_bar import cost_line
from gdl.tui.widgets.failure import PanelSize
from gdl.tui.widgets.key_bar import ShownKey, fitting
from gdl.tui.widgets.measurements import answers, benchmark, checks
from gdl.tui.widgets.phase_rail import RailSize, rail
from gdl.tui.widgets.session_rows import session, session_fields
from gdl.tui.widgets.status_panel import client_call, headline, status
from gdl.tui.widgets.timeline import timeline
from tui_support import (
    OFFERS,
    SPEC,
    START,
    ScriptedOrchestrator,
    session_row,
    to_failed,
    to_serving,
    to_waiting,
)

RANKED = rank(OFFERS, OfferQuery(max_price=1.0), needed_vram_gb=20.0)


def ids(line: str) -> set[str]:
    asked = parse(line)
    return {r.offer.id for r in RANKED if asked.passes(r, searched(r))}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("4090", {"vast-103", "td-9"}),
        ("gpu:4090 price<0.3", {"vast-103"}),
        ("vram>=80", {"vast-104", "td-12"}),
        ("rtx !vastai", {"td-7", "td-9"}),
        ("!place:spain 24gb !rtx", {"blue-1"}),
        ('"virginia, us"', {"blue-1"}),
        ("gpus=2", {"td-12"}),
        ("cuda>12.8", {"td-12"}),
        ("rel>=99", {"vast-102"}),
        ("reason:over", {"td-12"}),
        ("nothing-of-the-kind", set()),
    ],
)
def test_filter(line: str, expected: set[str]) -> None:
    assert ids(line) == expected


@pytest.mark.parametrize("line", ["", "price<", "price<abc", "!", '"open', "gpu:"])
def test_an_unfinished_filter_hides_nothing_it_should_not(line: str) -> None:
    assert ids(line) == (ids("open") if "open" in line else ids(""))


def test_sorting_keeps_excluded_ones_last() -> None:
    for reverse in (False, True):
        rows = sort(RANKED, "vram", reverse=reverse)
        excluded = [r.excluded is not None for r in rows]
        assert excluded == sorted(excluded)
    assert sort(RANKED, "vram", reverse=True)[0].offer.id == "vast-104"


def test_ring_keeps_the_last_lines_and_counts_all() -> None:
    ring = LogRing(limit=3)
    ring.extend(["a", "b"])
    assert ring.since(0) == ["a", "b"]
    ring.extend(["c", "d", "e"])
    assert ring.total == 5
    assert ring.since(2) == ["c", "d", "e"]
    assert ring.since(0) == ["c", "d", "e"]
    assert ring.since(5) == []


def test_dropped_lines_are_told() -> None:
    followed = Followed(DeploymentState("d-1"))
    followed.fold(Recorded("d-1", 1, START, LogLines(1, "engine", ("last",), 0, dropped=42)))
    assert followed.engine.since(0) == ["[... 42 lines omitted, the file has them ...]", "last"]


def test_bills_count_each_machine_once_and_forget_released_ones() -> None:
    orchestrator = ScriptedOrchestrator()
    ident = orchestrator.begin(SPEC)
    to_serving(orchestrator, ident)
    store = Store()
    followed = store.add(ident)
    followed.state = orchestrator.deployments.state(ident)
    elsewhere = session_row("s-77", ours=False)
    same = session_row("s-1", ours=True)
    store.list_sessions([elsewhere, same], START)
    now = START + timedelta(minutes=10)
    assert [bill.price_per_hour for bill in store.bills(now)] == [0.131, 0.289]
    assert store.bills(now)[1].cost == pytest.approx(0.14 + 0.289 / 6)
    store.list_sessions([same], now)
    assert len(store.bills(now)) == 1


def test_key_bar_leaves_out_from_the_right_but_never_help_and_quit() -> None:
    here = [ShownKey(k, k, "Something", True) for k in "abcdef"]
    always = [ShownKey("?", "?", "Help", True), ShownKey("q", "q", "Quit", True)]
    shown = fitting(here, always, 45)
    assert [key.key for key in shown] == ["a", "b", "?", "q"]
    assert sum(key.width for key in shown) <= 45


@pytest.mark.parametrize("script", [to_serving, to_failed])
def test_every_moment_of_a_deployment_can_be_drawn(
    script: Callable[[ScriptedOrchestrator, str], None],
) -> None:
    orchestrator = ScriptedOrchestrator()
    ident = orchestrator.begin(SPEC)
    script(orchestrator, ident)
    followed = Followed(DeploymentState(ident))
    console = Console(width=80, file=io.StringIO())
    seen: set[str] = set()
    for recorded in orchestrator.recorded(ident):
        followed.fold(recorded)
        now = recorded.at
        for width in (26, 38):
            for brief in (True, False):
                lines = rail(followed, now, RailSize(width, brief)).plain.splitlines()
                assert all(cell_len(line) <= width for line in lines)
        text, kind = status(followed, now, PanelSize(80, 4), moving=True)
        seen.add(kind)
        drawn = (text, headline(followed.state, now, 78), timeline(followed, 40))
        tables = (checks(followed, now), benchmark(followed, now), answers(followed))
        for part in (*drawn, *tables):
            console.print(part)
    assert seen == ({"active", "serving"} if script is to_serving else {"active", "failed"})


def test_a_provider_that_is_set_aside_is_not_told_to_be_excluded() -> None:
    orchestrator = ScriptedOrchestrator()
    ident = orchestrator.begin(SPEC)
    to_waiting(orchestrator, ident)
    why = "vastai is set aside: SSH failed on m-7"
    orchestrator.push(
        ident,
        90,
        ev.ExclusionSet(1, "provider", "vastai", why, aside=True),
        ev.ExclusionSet(1, "provider", "tensordock", "excluded by you"),
        ev.ExclusionLifted(1, "provider", "tensordock"),
    )
    followed = Followed(DeploymentState(ident))
    for recorded in orchestrator.recorded(ident):
        followed.fold(recorded)
    for brief in (True, False):
        told = rail(followed, START, RailSize(38, brief)).plain
        assert "set aside" in told.lower() and "excluded" not in told.lower()
    lines = timeline(followed, 0).plain
    assert f"{why}; others are tried first" in lines
    assert "Excluded: provider tensordock" in lines
    assert "Included again: provider tensordock" in lines


def test_an_endpoint_line_quotes_what_it_is_given() -> None:
    orchestrator = ScriptedOrchestrator()
    ident = orchestrator.begin(SPEC)
    to_serving(orchestrator, ident)
    hostile = "m'; touch pwned; '"
    state = replace(orchestrator.deployments.state(ident), served_name=hostile)
    way = client_call(state)
    assert way is not None
    words = shlex.split(way.lines("curl"))
    assert hostile in json.loads(words[words.index("-d") + 1])["model"]


@pytest.mark.parametrize("guarded", [True, False])
def test_a_limit_that_nobody_keeps_to_any_more_is_no_end(guarded: bool) -> None:
    """It was left serving: from then on only a guard on the machine ends it."""
    orchestrator, store = ScriptedOrchestrator(), Store()
    ident = orchestrator.begin(replace(SPEC, max_spend=0.1))
    to_serving(orchestrator, ident)
    followed = store.add(ident)
    followed.state = orchestrator.deployments.state(ident)
    now = START + timedelta(seconds=900)
    with_limit = cost_line(store.bills(now), now).plain
    assert "of at most $0.10, ends in 0h" in with_limit
    orchestrator.push(
        ident, 900, ev.DeploymentFinished("serving", "http://x", "m", "s-1", Billing.ACTIVE, ())
    )
    followed.state = orchestrator.deployments.state(ident)
    row = session_row("s-1", ours=True)
    store.list_sessions(
        [replace(row, spent_at=now + timedelta(minutes=9)) if guarded else row], now
    )
    line = cost_line(store.bills(now), now).plain
    assert ("of at most $0.10" in line) is guarded
    assert line.endswith("ends in 0h09") is guarded, line


def test_a_limit_that_comes_before_the_hosts_own_term_is_the_end() -> None:
    now = START
    listed = session_row("s-9", ours=True)
    month = replace(listed.session, expires_at=now + timedelta(days=28, hours=1))
    term = replace(listed, session=month, hours_end=False, extends=False)
    limited = replace(term, spent_at=now + timedelta(hours=3, minutes=20))
    store = Store()
    store.list_sessions([term], now)
    assert "28 d" in cost_line(store.bills(now), now).plain
    (ends,) = [text for name, text in session_fields(term, 0.0, now) if name == "Ends in"]
    assert "its host's own term, not that of --hours" in str(ends)
    store.list_sessions([limited], now)
    assert cost_line(store.bills(now), now).plain.endswith("ends in 3h20")
    (ends,) = [text for name, text in session_fields(limited, 0.0, now) if name == "Ends in"]
    assert str(ends).startswith("3h20, at") and "term" not in str(ends)
    assert session(limited, 0.0, now, marked=False).cells["ends"] == "3h20"


@pytest.mark.parametrize(("width", "lines"), [(80, 3), (120, 2), (200, 1)])
def test_the_keys_of_a_failure_take_as_few_lines_as_the_panel_allows(
    width: int, lines: int
) -> None:
    orchestrator = ScriptedOrchestrator()
    ident = orchestrator.begin(SPEC)
    to_waiting(orchestrator, ident)
    followed = Followed(DeploymentState(ident))
    for recorded in orchestrator.recorded(ident):
        followed.fold(recorded)
    text, _ = status(followed, START, PanelSize(width, 0), moving=False)
    keys = [line for line in text.plain.splitlines() if re.match("[mrnxay] ", line)]
    assert len(keys) == lines and all(cell_len(line) < width for line in keys)
    told = "   ".join(keys)
    assert re.findall(r"(?:^|   )(\w) ", told) == ["m", "r", "n", "x", "a", "y"]
