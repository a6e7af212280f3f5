"""The table of offers: only what is in view is drawn, and the cursor keeps to its row."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.widgets import Input

from gdl.domain.offers import OfferQuery
from gdl.domain.ranking import rank
from gdl.presentation.offer_filter import parse, searched
from gdl.tui.filtering import SORTS, Listing, key_of, sort
from gdl.tui.screens.deploy_dialog import DeployDialog
from gdl.tui.widgets.keyed_table import Column, KeyedTable, Row
from gdl.tui.widgets.offer_rows import COLUMNS, details, row
from tui_pilot import SIZE, choose, loaded, screen_text, selected, until
from tui_support import OFFERS, START, ScriptedOrchestrator, make_app, offer

pytestmark = pytest.mark.long

MANY = [
    offer(f"o-{n:05}", ("RTX 4090", "H100", "L4")[n % 3], 24, 0.1 + n / 10_000, "vastai")
    for n in range(10_000)
]


async def test_ten_thousand_offers_are_drawn_by_what_is_in_view() -> None:
    app, _ = make_app(ScriptedOrchestrator(offers=MANY))
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        table = app.screen.query_one(KeyedTable)
        asked: list[str] = []
        real = table._row_of
        table._row_of = lambda key: asked.append(key) or real(key)  # type: ignore[func-returns-value]
        await pilot.press("G")
        await until(pilot, lambda: "o-09999" in (table.selected_key or ""))
        assert 0 < len(asked) < 200
        await pilot.press("pageup", "g")
        await until(pilot, lambda: "o-00000" in (table.selected_key or ""))
        assert len(asked) < 600
        await pilot.press("slash", *"h100")
        await until(pilot, lambda: "3333/10000" in screen_text(app))
        assert table.selected_key is not None
        assert table.selected_key.endswith("o-00001")


async def test_a_click_on_a_header_sorts_and_again_turns_round() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        (heading,) = [line for line in screen_text(app).splitlines() if "GPU" in line]
        place = (heading.index("GPU"), 0)
        await pilot.click(KeyedTable, offset=place)
        await until(pilot, lambda: "GPU▲" in screen_text(app))
        assert selected(app) == "vast-101", "the cursor stays on its offer"
        await pilot.click(KeyedTable, offset=place)
        await until(pilot, lambda: "GPU▼" in screen_text(app))


async def test_a_click_moves_the_cursor_and_two_deploy() -> None:
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await choose(pilot, "tinyllama")
        await pilot.click(KeyedTable, offset=(12, 3))
        await until(pilot, lambda: selected(app) == "vast-102")
        await pilot.click(KeyedTable, offset=(12, 3), times=2)
        await until(pilot, lambda: isinstance(app.screen, DeployDialog))


async def test_prices_of_session_and_tokens_show_where_there_is_room() -> None:
    app, orchestrator = make_app()
    listed = orchestrator.market.offers

    async def with_speeds(query: OfferQuery) -> list[object]:
        return [r._replace(cost=r.cost._replace(usd_per_million=0.25)) for r in await listed(query)]

    orchestrator.market.offers = with_speeds  # type: ignore[method-assign, assignment]
    async with app.run_test(size=(120, 30)) as pilot:
        await loaded(pilot)
        text = screen_text(app)
        assert "Session" in text and "$/1M" in text and "$0.25" in text
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: "$/1M" not in screen_text(app))
        await pilot.press("d")
        await until(pilot, lambda: "1M tokens" in screen_text(app))


def test_an_offer_that_costs_nothing_known_has_dashes() -> None:
    now = START + timedelta(minutes=5)
    (ranked,) = rank([offer("x", "L4", 24, 0.4, "p", fetched_at=START)], OfferQuery())
    bare = ranked._replace(cost=ranked.cost._replace(session_price=None))
    cells = row(bare, now).cells
    assert (cells["session"], cells["million"], cells["age"]) == ("-", "-", "5 min")
    assert dict(details(bare, now))["Listed"] == "5 min ago"
    assert set(cells) == {column.key for column in COLUMNS}


@given(
    st.sampled_from(
        ["", "4090", "vram>=24 !spain", "gpu:rtx price<0.3", "price<", '"x', "h100 or a100"]
    )
)
def test_a_listing_picks_what_the_filter_and_the_order_say(line: str) -> None:
    ranked = rank(OFFERS, OfferQuery(max_price=1.0), needed_vram_gb=20.0)
    listing = Listing(ranked)
    asked = parse(line)
    for column in SORTS:
        expected = [
            key_of(r) for r in sort(ranked, column, reverse=True) if asked.passes(r, searched(r))
        ]
        assert listing.pick(asked, column, reverse=True) == expected


class Bare(App[None]):
    """The table alone."""

    def compose(self) -> ComposeResult:
        yield KeyedTable((Column("a", "A", 5), Column("b", "B", 4, right=True, wish=9)), id="t")


async def test_wide_hostile_and_long_cells_keep_the_columns() -> None:
    app = Bare()
    cells = {
        "1": {"a": "漢字漢字", "b": "1"},
        "2": {"a": "[b]x[/b]", "b": "22222222222"},
        "3": {"a": "", "b": "3"},
    }
    async with app.run_test(size=(20, 6)) as pilot:
        table = app.query_one(KeyedTable)
        table.show_rows(list(cells), lambda key: Row(cells[key], "dim"))
        await pilot.pause()
        lines = [table.render_line(y).text for y in range(4)]
    assert all(cell_len(line) == 20 for line in lines)
    # A wide character that would be cut in two leaves a blank.
    assert [line[:16].rstrip() for line in lines] == [
        " A             B",
        " 漢字…         1"[:16].rstrip(),
        " [b]x… 22222222…",
        "               3",
    ]


async def test_the_filter_keeps_the_cursor_on_its_offer() -> None:
    app, _ = make_app(ScriptedOrchestrator(offers=MANY[:300]))
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        table = app.screen.query_one(KeyedTable)
        table.move_cursor(row=100)  # an H100
        key = table.selected_key
        app.screen.query_one("#filter", Input).value = "h100"
        await until(pilot, lambda: table.row_count == 100)
        assert table.selected_key == key
        assert table.scroll_offset.y <= table.cursor_row < table.scroll_offset.y + 19
