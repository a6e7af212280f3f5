"""What was spent by day or month, over all backends, as `gdl-tui spending` shows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from rich.console import Group
from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from gdl.domain.errors import GdlError
from gdl.domain.spending import Cap, Period, SpendingReport
from gdl.presentation.lines import plain, plain_block
from gdl.presentation.spending import cap_line, cells, totals
from gdl.tui.context import context_of
from gdl.tui.screens.modal import Modal
from gdl.tui.widgets.meters import bar
from gdl.tui.widgets.scroll import Scroll

_METER = 20
_NEAR = 0.8
"""From that share on a cap is drawn as a warning."""


class SpendingScreen(Modal[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d", "show('day')", "By day", id="spending.day", tooltip="The last 31 days"),
        Binding("m", "show('month')", "By month", id="spending.month",
                tooltip="The last 12 months"),
        Binding("r", "look", "Refresh", id="spending.look", tooltip="Refresh"),
        Binding("escape,q", "dismiss", "Close", id="spending.close", tooltip="Back"),
    ]  # fmt: skip

    _by: Period = "day"

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text("Spending", "bold"), classes="dialog-title")
            with Scroll(classes="dialog-body"):
                yield Static("Counting…", id="spent")
            yield Static(
                "d by day · m by month · r refreshes · ↑↓ scroll · Esc closes",
                classes="dialog-note",
            )

    def on_mount(self) -> None:
        self._look()

    def action_show(self, by: Period) -> None:
        self._by = by
        self._look()

    def action_look(self) -> None:
        self._look("counted again")

    @work(exclusive=True, group="look")
    async def _look(self, told: str = "") -> None:
        """told: what is said once it is done."""
        shown = self.query_one("#spent", Static)
        try:
            report = await context_of(self).orchestrator.spending.report(self._by)
        except GdlError as error:
            shown.update(Text(plain_block(f"✗ {error.message}\n{error.hint}", 500)))
        else:
            shown.update(Group(*_caps(report), _table(report), *_below(report)))
            if told:
                context_of(self).say(told)


def _caps(report: SpendingReport) -> Iterator[Text]:
    """First, as that is what stops things."""
    for cap in report.caps:
        yield _meter(cap)
    if report.caps:
        yield Text()


def _meter(cap: Cap) -> Text:
    share = cap.spent / cap.limit
    style = "bold red" if share >= 1 else "yellow" if share >= _NEAR else "green"
    full, empty = bar(share, _METER)
    return Text.assemble((full, style), (empty, "dim"), f" {cap_line(cap)}")


def _table(report: SpendingReport) -> Table | Text:
    if not report.rows:
        return Text("Nothing was spent.")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in (report.by.capitalize(), "Backend"):
        table.add_column(heading, no_wrap=True)
    for heading in ("Spent", "Charged", "Difference"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in report.rows:
        table.add_row(*(Text(plain(cell, 40)) for cell in cells(row)))
    return table


def _below(report: SpendingReport) -> Iterator[Text]:
    yield Text()
    for line in totals(report, caps=False):
        yield Text(plain(line, 200))
    for name, why in report.silent.items():
        # The mark alone is coloured: where the text wraps, a piece of it would say nothing.
        yield Text.assemble(
            ("!", "yellow"), f" {name} did not report its charges: {plain(why, 200)}"
        )
    for name in report.in_doubt:
        yield Text.assemble(("!", "yellow"), f" in doubt: {plain(name, 60)} may be billing")
