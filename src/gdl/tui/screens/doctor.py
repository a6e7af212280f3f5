"""What would stand in the way of a deployment, as `gdl-tui doctor` finds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from gdl.domain.errors import GdlError
from gdl.domain.findings import Finding
from gdl.presentation.lines import plain, plain_block
from gdl.tui.context import context_of
from gdl.tui.screens.modal import Modal
from gdl.tui.widgets.scroll import Scroll

_MARKS = {
    "ok": ("✓", "green"),
    "warn": ("!", "bold yellow"),
    "fail": ("✗", "bold red"),
    "info": ("·", "dim"),
}


class DoctorScreen(Modal[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "look", "Refresh", id="doctor.look", tooltip="Check again"),
        Binding("escape,q", "dismiss", "Close", id="doctor.close", tooltip="Back"),
    ]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text("Doctor", "bold"), classes="dialog-title")
            with Scroll(classes="dialog-body"):
                yield Static("Looking…", id="findings")
            yield Static("↑↓ scroll · r refreshes · Esc closes", classes="dialog-note")

    def on_mount(self) -> None:
        self.action_look()

    @work(exclusive=True, group="look")
    async def action_look(self) -> None:
        shown = self.query_one("#findings", Static)
        shown.update(Text("Looking…"))
        try:
            found = await context_of(self).orchestrator.support.doctor()
        except GdlError as error:
            shown.update(Text(plain_block(f"✗ {error.message}\n{error.hint}", 500)))
        else:
            shown.update(_table(found))


def _table(findings: Sequence[Finding]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark, style = _MARKS.get(finding.status, ("?", ""))
        words = Text(plain(finding.detail, 300))
        if finding.hint and finding.status in ("warn", "fail"):
            words.append(f"\n{plain(finding.hint, 300)}", "dim")
        table.add_row(Text(mark, style), Text(plain(finding.name, 30), "bold"), words)
    return table
