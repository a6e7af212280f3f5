"""The filter line over offers: what it finds, and what it says of what it cannot ask for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.widgets import Input

from gdl.domain.offers import OfferQuery, OfferTerms, RankedOffer
from gdl.domain.ranking import rank
from gdl.presentation.filter_fields import BY_NAME, FIELDS
from gdl.presentation.offer_filter import about, completed, help_lines, parse, searched
from gdl.tui.filtering import Listing
from gdl.tui.screens.help import HelpScreen
from gdl.tui.widgets.keyed_table import KeyedTable
from tui_pilot import loaded, screen_text, until
from tui_support import OFFERS, make_app, offer

ROOT = Path(__file__).parent.parent
SIZE = (80, 24)
RANKED = rank(OFFERS, OfferQuery(max_price=1.0), needed_vram_gb=20.0)


def ids(line: str, rows: list[RankedOffer] = RANKED) -> set[str]:
    asked = parse(line)
    return {r.offer.id for r in rows if asked.passes(r, searched(r))}


def told(line: str) -> tuple[str, str]:
    problem = parse(line).problem
    return ("", "") if problem is None else (problem.what, problem.helps)


def test_the_filter_of_the_readme_finds_a_4090_however_it_is_listed() -> None:
    (line,) = {
        words
        for name in ("README.md", "docs/terminal-ui.md")
        for words in (ROOT / name).read_text().split("`")
        if words.startswith("gpu:4090 ")
    }
    listed = [
        offer(f"o-{vram}", "RTX 4090", vram, 0.29, "vastai") for vram in (23, 23.99, 24, 25.8)
    ]
    assert ids(line, rank(listed, OfferQuery())) == {"o-23", "o-23.99", "o-24", "o-25.8"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("3060 or 4090", {"vast-101", "vast-103", "td-9"}),
        ("gpu:4090 price<0.3 | gpu:a100", {"vast-103", "vast-104"}),
        ("gpu:3060,3090", {"vast-101", "vast-102"}),
        ("!gpu:3060,3090,4090 !available", {"td-7", "vast-104", "td-12", "blue-2"}),
        ("gpu!=rtx !available", {"vast-104", "td-12", "blue-2"}),
        ("price = 0.2..0.3", {"td-7", "vast-103"}),
        ("price < 0.1", {"vast-101"}),
        ("price<$0.10", {"vast-101"}),
        ("vram≥80", {"vast-104", "td-12"}),
        ("vram>=80GB", {"vast-104", "td-12"}),
        ("gpus==2", {"td-12"}),
        ("gpus != 1", {"td-12"}),
        ("reliability>99", {"vast-102"}),
        ("reliability>0.99", {"vast-102"}),
        ("fit:yes gpus=1 price<0.3", {"vast-102", "td-7", "vast-103"}),
        ("fit:no 3060", {"vast-101"}),
        ("country:norway", {"vast-104"}),
        ('place:"virginia, us"', {"blue-1"}),
    ],
)
def test_what_is_asked_for_is_found(line: str, expected: set[str]) -> None:
    assert told(line) == ("", "")
    assert ids(line) == expected


def test_lines_and_times_are_asked_for_where_a_market_tells_them() -> None:
    terms = OfferTerms(0.3, down_mbps=800, up_mbps=90)
    fast = replace(OFFERS[0], id="fast", terms=terms, max_duration_hours=48)
    rows = rank([*OFFERS, fast], OfferQuery())
    assert ids("inet>500", rows) == ids("up<100", rows) == ids("hours>=24", rows) == {"fast"}


@pytest.mark.parametrize(
    ("line", "what", "helps"),
    [
        ("foo:bar", "there is no field foo", "fields are gpu, price"),
        ("prise<0.5", "there is no field prise", "did you mean price?"),
        ("pric<0.5", "there is no field pric", "did you mean price?"),
        ("price<abc", "price takes a number, and 'abc' is not one", "as in price<0.5"),
        ("price<nan", "price takes a number, and 'nan' is not one", "as in price<0.5"),
        ("price=inf", "price takes a number, and 'inf' is not one", "as in price<0.5"),
        ("price=nan..3", "price takes a number, and 'nan..3' is not one", "as in price<0.5"),
        ("price<<3", "price takes no <<", "write price<3"),
        ("price>>=3", "price takes no >>=", "write price>=3"),
        ("price:<3", "price takes no :<", "write price<3"),
        ("price≤≤3", "price takes no ≤≤", "write price<=3"),
        ("price<=>3", "price takes no <=>", "write price=3"),
        ("price=>0.5", "price takes no =>", "write price>=0.5"),
        ("price=<0.5", "price takes no =<", "write price<=0.5"),
        ("price~0.5", "price takes no ~", "write price=0.5"),
        ("gpu>4090", "gpu is a name, not a number", "write gpu:4090"),
        ("fit:maybe", "fit is yes or no, and 'maybe' is neither", "as in fit:yes"),
        ("fit>=2", "fit is yes or no", "spare>=2"),
        ("rel>120", "rel is 100 at most", "as in rel>=99"),
        ("price=0.2..x", "price takes a number", "as in price<0.5"),
        ("or 4090", 'nothing comes before "or"', "4090 or 3090"),
    ],
)
def test_what_cannot_be_asked_for_is_told_with_what_helps(line: str, what: str, helps: str) -> None:
    assert told(line)[0].startswith(what) and helps in told(line)[1]
    problem = parse(f"4090 {line}").problem
    assert (problem is not None and problem.end == len(f"4090 {line}")) or line.startswith("or")


@pytest.mark.parametrize("line", ["price<", "gpu:", "gpu!", "price<0.3 vram>="])
def test_a_term_that_is_being_typed_is_explained_and_no_mistake(line: str) -> None:
    problem = parse(line).problem
    assert problem is not None and problem.typing
    assert ids(line) >= ids("price<0.3")


def test_a_word_in_quotes_is_no_field() -> None:
    found = rank([offer("x:1", "L4", 24, 0.4, "p"), offer("y", "L4", 24, 0.4, "p")], OfferQuery())
    assert ids('"x:1"', found) == {"x:1"} and told('"x:1"') == ("", "")


@given(st.text(max_size=40) | st.sampled_from([field.example for field in FIELDS]))
def test_whatever_is_typed_is_read(line: str) -> None:
    asked = parse(line)
    assert all(0 <= p.start <= p.end <= len(line) for p in asked.problems)
    for ranked in RANKED:
        asked.passes(ranked, searched(ranked))
    about(line, len(line))
    longer = completed(line, Listing(RANKED).names)
    assert longer is None or (longer.startswith(line) and len(longer) > len(line))


def test_every_example_of_the_help_can_be_asked_for() -> None:
    for written, _ in help_lines():
        assert told(written) == ("", ""), written
    docs = (ROOT / "docs/filters.md").read_text()
    assert all(f"| `{field.example}` |" in docs for field in FIELDS)
    assert len(BY_NAME) == sum(1 + len(field.aliases) for field in FIELDS)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pri", "price<"),
        ("4090 !pla", "4090 !place:"),
        ("provider:ten", "provider:tensordock"),
        ("gpu:l4,teslat", "gpu:l4,teslat4"),
        ("gpu:40", "gpu:4090"),
        ("fit:y", "fit:yes"),
        ("", None),
        ("price<0", None),
        ("nosuch:a", None),
    ],
)
def test_fields_and_names_are_completed(line: str, expected: str | None) -> None:
    assert completed(line, Listing(RANKED).names) == expected


async def test_a_mistake_is_marked_and_told_below_the_filter() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("slash")
        await until(pilot, lambda: "F1 explains the fields: gpu price" in screen_text(app))
        await pilot.press(*"gpu:4090 prise<0.5")
        await until(pilot, lambda: "no field prise · did you mean price?" in screen_text(app))
        assert "2/9" in screen_text(app)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.focused, KeyedTable))
        assert "no field prise" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: "prise" not in screen_text(app))


async def test_tab_completes_and_help_explains_the_fields() -> None:
    app, _ = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot)
        await pilot.press("slash", *"vra", "tab")
        line = app.screen.query_one("#filter", Input)
        assert line.value == "vram>=" and app.focused is line
        await until(pilot, lambda: "nominal memory of each GPU, in GB" in screen_text(app))
        await pilot.press(*"80", "tab")
        await until(pilot, lambda: isinstance(app.focused, KeyedTable))
        assert app.screen.query_one(KeyedTable).row_count == 2
        await pilot.press("f1")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen))
        for _ in range(4):
            await pilot.press("pagedown")
        await until(pilot, lambda: "either of two groups of terms" in screen_text(app))
