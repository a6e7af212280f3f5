"""Everything rented: whose it is, what it costs, and the ways to attach to it or end it."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from gdl.domain.errors import GdlError
from gdl.domain.models import SessionStatus
from gdl.orchestrator.api import SessionRow
from gdl.tui import format as fmt
from gdl.tui.screens.base import GdlScreen
from gdl.tui.widgets.keyed_table import Column, KeyedTable, Row
from gdl.tui.widgets.words import Words

REFRESH_EVERY_S = 30.0
COLUMNS = (
    Column("whose", "Whose", 9),
    Column("status", "Status", 12),
    Column("model", "Model", 14, wish=28),
    Column("gpu", "GPU", 12, wish=20),
    Column("price", "$/h", 7, right=True),
    Column("cost", "Cost", 7, right=True),
    Column("ends", "Ends in", 7, right=True),
    Column("provider", "Provider", 12, needed=100),
    Column("id", "Session", 18, needed=100, wish=40),
)
_STATUS_MARKS = {
    SessionStatus.RUNNING: "▶",
    SessionStatus.PENDING: "…",
    SessionStatus.PROVISIONING: "…",
    SessionStatus.STOPPING: "…",
    SessionStatus.STOPPED: "–",
    SessionStatus.FAILED: "✗",
    SessionStatus.UNKNOWN: "?",
}


class SessionsScreen(GdlScreen):
    MODE = "sessions"
    AUTO_FOCUS = "#sessions"
    SPENDS = frozenset({"destroy", "extend"})
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,a", "attach", "Attach", id="sessions.attach",
                tooltip="Open the tunnel to this session again"),
        Binding("d", "details", "Details", id="sessions.details",
                tooltip="All about this session"),
        Binding("e", "extend", "+1 hour", id="sessions.extend",
                tooltip="Reserve one hour more"),
        Binding("D,delete", "destroy", "Destroy", id="sessions.destroy",
                tooltip="Give this machine back and wait until that is confirmed"),
        Binding("r", "refresh", "Refresh", id="sessions.refresh", tooltip="List again"),
        Binding("escape", "app.show('offers')", "Back", show=False, id="sessions.back"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._error: GdlError | None = None
        self._loading_since: datetime | None = None

    def body(self) -> ComposeResult:
        yield Words(id="sessions-line")
        yield KeyedTable(COLUMNS, id="sessions")
        yield Words(id="sessions-note")

    def on_mount(self) -> None:
        super().on_mount()
        self.set_interval(REFRESH_EVERY_S, self._refresh_if_seen)

    def _refresh_if_seen(self) -> None:
        if self.app.screen is self:
            self.action_refresh()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self.action_refresh()

    @work(exclusive=True, group="sessions")
    async def action_refresh(self) -> None:
        self._loading_since = self.now
        self.poke()
        try:
            self.gdl.store.list_sessions(await self.gdl.orchestrator.sessions(), self.now)
            self._error = None
        except GdlError as error:
            self._error = error
        self._loading_since = None
        self.poke()

    def refresh_view(self) -> None:
        rows = self.gdl.store.sessions
        table = self.query_one(KeyedTable)
        table.display = bool(rows)
        by_id = {row.session.id: row for row in rows}
        table.show_rows(list(by_id), lambda key: _row(by_id[key], self.now))
        if rows and self.focused is None and self.app.screen is self:
            table.focus()
        self.query_one("#sessions-line", Words).say(self._line())
        note = self._note()
        panel = self.query_one("#sessions-note", Words)
        panel.display = bool(note)
        panel.set_class(not rows, "-whole")
        panel.say(note)

    def _line(self) -> Text:
        store = self.gdl.store
        text = Text("Rented machines", "bold", no_wrap=True, overflow="ellipsis")
        if store.sessions_at is not None:
            listed = fmt.age((self.now - store.sessions_at).total_seconds())
            state = "refreshing" if self._loading_since is not None else listed
            text.append(f" · {len(store.sessions)} · {state}", "not bold")
        return text

    def _note(self) -> Text:
        store = self.gdl.store
        if self._error is not None:
            text = Text()
            text.append("✗ ", "bold red")
            text.append(fmt.plain(self._error.message, 300), "bold")
            text.append(f"\n  {fmt.plain(self._error.hint, 300)}\n  r asks again")
            return text
        if store.sessions_at is None:
            return Text("Asking for sessions…")
        if not store.sessions:
            return Text("Nothing is rented.")
        unknown = [r for r in store.sessions if not r.ours and not r.session.terminal]
        if unknown:
            return Text(
                f"! {fmt.plural(len(unknown), 'machine')} not known here: rented elsewhere, or its"
                " key is lost. It cannot be entered, only destroyed.", "bold"
            )  # fmt: skip
        return Text()

    @property
    def selected(self) -> SessionRow | None:
        key = self.query_one(KeyedTable).selected_key
        return next((r for r in self.gdl.store.sessions if r.session.id == key), None)

    def action_details(self) -> None:
        from gdl.tui.screens.dialogs import Details

        if (row := self.selected) is not None:
            self.app.push_screen(Details("Session", _fields(row, self.now)))

    @work(exclusive=True, group="dialog")
    async def action_attach(self) -> None:
        row = self.selected
        if row is None:
            return
        if row.deployment_id is not None and row.deployment_id in self.gdl.orchestrator.active():
            self.gdl.open(row.deployment_id)
            return
        try:
            self.gdl.open(await self.gdl.orchestrator.attach(row.session.id))
        except GdlError as error:
            self.gdl.report(error)

    @work(exclusive=True, group="dialog")
    async def action_destroy(self) -> None:
        from gdl.tui.screens.dialogs import Confirm

        row = self.selected
        if row is None:
            return
        note = "The machine is given back; all on it is lost."
        fields = _fields(row, self.now)
        dialog = Confirm("Destroy this session?", fields, note, "Destroy", destroys=True)
        if await self.gdl.ask(dialog):
            self._destroy(row.session.id)

    @work(group="destroy")
    async def _destroy(self, session_id: str) -> None:
        self.gdl.say("giving the machine back")
        try:
            self.gdl.store.replace_session(await self.gdl.orchestrator.destroy(session_id))
            self.gdl.say("the machine is gone: confirmed")
        except GdlError as error:
            self.gdl.report(error)
        self.action_refresh()

    @work(exclusive=True, group="dialog")
    async def action_extend(self) -> None:
        from gdl.tui.screens.dialogs import Confirm

        row = self.selected
        if row is None:
            return
        cost = fmt.price(row.session.price_per_hour)
        fields = [("One hour more", Text(cost, "bold")), *_fields(row, self.now)]
        if not await self.gdl.ask(Confirm("Extend?", fields, "", "Extend")):
            return
        try:
            until = await self.gdl.orchestrator.extend(row.session.id, 1)
        except GdlError as error:
            self.gdl.report(error)
        else:
            left = fmt.hours_left(until, self.now) if until else "no fixed time"
            self.gdl.say(f"extended: ends in {left}")
        self.action_refresh()


def _row(row: SessionRow, now: datetime) -> Row:
    session = row.session
    style = "dim" if session.terminal else "" if row.ours else "bold red"
    ends = "-"
    if session.expires_at is not None and not session.terminal:
        ends = fmt.hours_left(session.expires_at, now)
    cells = {
        "whose": "✓ ours" if row.ours else "! unknown",
        "status": f"{_STATUS_MARKS[session.status]} {session.status.value}",
        "model": fmt.plain(row.model or "-", 60),
        "gpu": f"{session.gpu_count}x {fmt.gpu_name(session.gpu_name)}"
        if session.gpu_count > 1 else fmt.gpu_name(session.gpu_name) or "-",
        "price": fmt.price(session.price_per_hour),
        "cost": fmt.money(row.cost),
        "ends": ends,
        "provider": fmt.plain(session.provider, 40),
        "id": fmt.plain(session.id, 60),
    }  # fmt: skip
    return Row(cells, style)


def _fields(row: SessionRow, now: datetime) -> list[tuple[str, Text | str]]:
    session = row.session
    per_hour = fmt.price(session.price_per_hour)
    ends = fmt.hours_left(session.expires_at, now) if session.expires_at else "not said"
    gpu = fmt.gpu_name(session.gpu_name) or "no GPU"
    return [
        ("Session", fmt.plain(session.id, 100)),
        ("Whose", "ours" if row.ours else "unknown: its key is not here"),
        ("Model", fmt.plain(row.model or "not known", 100)),
        ("Machine", f"{gpu} from {fmt.plain(session.provider, 40)}"),
        ("Price", Text(f"{per_hour}/h, {fmt.money(row.cost)} so far", "bold")),
        ("Status", f"{session.status.value}, billing: {fmt.plain(row.billing, 20)}"),
        ("Ends in", ends),
        *([("Error", fmt.plain(session.error, 300))] if session.error else []),
    ]  # fmt: skip
