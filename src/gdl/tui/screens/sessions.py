"""Everything rented: whose it is, what it costs, and the ways to attach to it or end it. Below it,
what was deployed before and how that ended."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from gdl.domain.errors import GdlError
from gdl.orchestrator.api import SessionRow, Story
from gdl.tui import format as fmt
from gdl.tui.screens.base import GdlScreen
from gdl.tui.widgets import session_rows as rows_of
from gdl.tui.widgets.keyed_table import KeyedTable
from gdl.tui.widgets.words import Words

REFRESH_EVERY_S = 30.0
_ON_A_SESSION = frozenset({"attach", "details", "extend", "destroy", "mark", "shell", "copy_id"})


class HistoryTable(KeyedTable):
    """What was deployed before; Enter tells all about one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,d", "screen.story", "Details", id="history.details",
                tooltip="All about this past deployment"),
    ]  # fmt: skip


class SessionsScreen(GdlScreen):
    MODE = "sessions"
    AUTO_FOCUS = "#sessions"
    SPENDS = frozenset({"destroy", "extend"})
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,a", "attach", "Attach", id="sessions.attach",
                tooltip="Open the tunnel to this session again"),
        Binding("D,delete", "destroy", "Destroy", id="sessions.destroy",
                tooltip="Give this machine, or the marked ones, back and wait for the proof"),
        Binding("space", "mark", "Mark", id="sessions.mark",
                tooltip="Mark this session: D destroys all the marked ones"),
        Binding("d", "details", "Details", id="sessions.details",
                tooltip="All about this session"),
        Binding("e", "extend", "+1 hour", id="sessions.extend",
                tooltip="Reserve one hour more"),
        Binding("s", "shell", "Shell", id="sessions.shell",
                tooltip="A shell on this machine; exit comes back"),
        Binding("y", "copy_id", "Copy", show=False, id="sessions.copy",
                tooltip="Copy the endpoint that a tunnel holds open, or else the session's id"),
        Binding("r", "refresh", "Refresh", id="sessions.refresh", tooltip="List again"),
        Binding("escape", "back", "Back", show=False, id="sessions.back",
                tooltip="Clear the marks, then go back to the offers"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._error: GdlError | None = None
        self._loading = False
        self._marked: list[str] = []
        self._stories: tuple[Story, ...] = ()

    def body(self) -> ComposeResult:
        yield Words(id="sessions-line")
        yield KeyedTable(rows_of.COLUMNS, id="sessions")
        yield Words(id="sessions-note")
        yield Words(id="history-line")
        yield HistoryTable(rows_of.HISTORY, id="history")

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
        self._loading = True
        self.poke()
        house = self.gdl.orchestrator
        try:
            self._stories = tuple(await house.stories())
            self.gdl.store.list_sessions(await house.sessions(), self.now)
            self._error = None
        except GdlError as error:
            self._error = error
        self._loading = False
        there = {row.session.id for row in self.gdl.store.sessions if not row.session.terminal}
        self._marked = [ident for ident in self._marked if ident in there]
        self.poke()
        self.refresh_bindings()

    # Drawing

    def refresh_view(self) -> None:
        rows = self.gdl.store.sessions
        table = self.query_one("#sessions", KeyedTable)
        table.display = bool(rows)
        by_id = {row.session.id: row for row in rows}
        table.show_rows(
            list(by_id),
            lambda key: rows_of.session(
                by_id[key], self._cost(by_id[key]), self.now, marked=key in self._marked
            ),
        )
        if rows and self.focused is None and self.app.screen is self:
            table.focus()
        self.query_one("#sessions-line", Words).say(self._line())
        note = self._note()
        panel = self.query_one("#sessions-note", Words)
        panel.display = bool(note)
        panel.set_class(not rows and not self._stories, "-whole")
        panel.say(note)
        self._show_history()

    def _show_history(self) -> None:
        stories = {told.deployment_id: told for told in self._stories}
        history = self.query_one("#history", HistoryTable)
        heading = self.query_one("#history-line", Words)
        history.display = heading.display = bool(stories)
        heading.say(
            Text.assemble(("Deployments so far", "bold"), f" · {rows_of.spent(self._stories)}")
        )
        history.show_rows(list(stories), lambda key: rows_of.story(stories[key]))

    def _cost(self, row: SessionRow) -> float:
        return self.gdl.store.cost_now(row, self.now)

    def _line(self) -> Text:
        store = self.gdl.store
        text = Text("Rented machines", "bold", no_wrap=True, overflow="ellipsis")
        if store.sessions_at is not None:
            listed = fmt.age((self.now - store.sessions_at).total_seconds())
            marked = f" · {len(self._marked)} marked" if self._marked else ""
            state = "refreshing" if self._loading else listed
            text.append(f" · {len(store.sessions)}{marked} · {state}", "not bold")
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
            return Text("Nothing is rented. 1 shows the offers.")
        unknown = [r for r in store.sessions if not r.ours and not r.session.terminal]
        if unknown:
            return Text(
                f"! {fmt.plural(len(unknown), 'machine')} not known here: rented elsewhere, or its"
                " key is lost. It cannot be entered, only destroyed.", "bold"
            )  # fmt: skip
        return Text()

    @property
    def selected(self) -> SessionRow | None:
        return self._row(self.query_one("#sessions", KeyedTable).selected_key or "")

    def _row(self, ident: str) -> SessionRow | None:
        return next((r for r in self.gdl.store.sessions if r.session.id == ident), None)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in _ON_A_SESSION:
            if isinstance(self.focused, HistoryTable) or not self.gdl.store.sessions:
                return False
            row = self.selected if self.drawable else None
            if action == "shell" and row is not None and not row.ours:
                return False
        return super().check_action(action, parameters)

    def on_descendant_focus(self) -> None:
        self.refresh_bindings()

    def on_keyed_table_highlighted(self) -> None:
        self.refresh_bindings()

    def on_keyed_table_chosen(self) -> None:
        if isinstance(self.focused, HistoryTable):
            self.action_story()
        else:
            self.action_attach()

    # Looking

    def action_details(self) -> None:
        from gdl.tui.screens.dialogs import Details

        if (row := self.selected) is not None:
            fields = rows_of.session_fields(row, self._cost(row), self.now)
            self.app.push_screen(Details("Session", fields))

    def action_story(self) -> None:
        from gdl.tui.screens.dialogs import Details

        key = self.query_one("#history", HistoryTable).selected_key
        told = next((one for one in self._stories if one.deployment_id == key), None)
        if told is not None:
            self.app.push_screen(Details("Past deployment", rows_of.story_fields(told)))

    def action_back(self) -> None:
        if self._marked:
            self._marked.clear()
            self.poke()
        else:
            self.gdl.action_show("offers")

    def action_mark(self) -> None:
        row = self.selected
        if row is None or row.session.terminal:
            return
        ident = row.session.id
        if ident in self._marked:
            self._marked.remove(ident)
        else:
            self._marked.append(ident)
        self.query_one("#sessions", KeyedTable).action_cursor_down()
        self.poke()

    def action_copy_id(self) -> None:
        if (row := self.selected) is not None:
            if row.endpoint:
                self.gdl.copy(f"export OPENAI_BASE_URL={row.endpoint}", "export OPENAI_BASE_URL=…")
            else:
                self.gdl.copy(row.session.id, "the session's id")

    # Doing

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
    async def action_shell(self) -> None:
        row = self.selected
        if row is None:
            return
        try:
            command = await self.gdl.orchestrator.shell(row.session.id)
            if await self.gdl.hand_over(command) == 255:  # ssh's own failure
                self.gdl.say("ssh could not connect", severity="warning")
        except GdlError as error:
            self.gdl.report(error)

    @work(exclusive=True, group="dialog")
    async def action_destroy(self) -> None:
        from gdl.tui.screens.dialogs import Confirm

        found = [self._row(ident) for ident in self._marked] or [self.selected]
        rows = [row for row in found if row is not None and not row.session.terminal]
        if not rows:
            self.gdl.say("it has ended already")
            return
        if len(rows) == 1:
            title, all_on = "Destroy this session?", "The machine is given back; all on it is lost."
            fields = rows_of.session_fields(rows[0], self._cost(rows[0]), self.now)
        else:
            title, all_on = (
                f"Destroy these {len(rows)} sessions?",
                ("The machines are given back; all on them is lost."),
            )
            per_hour = sum(row.session.price_per_hour for row in rows)
            cost = sum(self._cost(row) for row in rows)
            fields = [
                (fmt.plain(row.session.id, 20), rows_of.in_short(row, self._cost(row)))
                for row in rows
            ]
            told = f"{fmt.price(per_hour)}/h, {fmt.money(cost)} so far"
            fields.append(("Together", Text(told, "bold")))
        dialog = Confirm(title, fields, all_on, "Destroy", destroys=True)
        if await self.gdl.ask(dialog):
            self._destroy([row.session.id for row in rows])

    @work(group="destroy")
    async def _destroy(self, idents: Sequence[str]) -> None:
        """All at a time; each is waited for, and one that fails keeps no other back."""
        self._marked = [ident for ident in self._marked if ident not in idents]
        many = len(idents) > 1
        self.gdl.say(f"giving {len(idents)} machines back" if many else "giving the machine back")
        gone = sum(await asyncio.gather(*(self._destroy_one(ident) for ident in idents)))
        if gone:
            what = f"{gone} of {len(idents)} machines are gone" if many else "the machine is gone"
            self.gdl.say(f"{what}: confirmed")
        self.action_refresh()

    async def _destroy_one(self, ident: str) -> bool:
        try:
            self.gdl.store.replace_session(await self.gdl.orchestrator.destroy(ident))
        except GdlError as error:
            self.gdl.report(error)
            return False
        return True

    @work(exclusive=True, group="dialog")
    async def action_extend(self) -> None:
        from gdl.tui.screens.dialogs import Confirm

        row = self.selected
        if row is None:
            return
        cost = fmt.price(row.session.price_per_hour)
        about = rows_of.session_fields(row, self._cost(row), self.now)
        fields = [("One hour more", Text(cost, "bold")), *about]
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
