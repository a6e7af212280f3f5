"""Everything rented: whose it is, what it costs, and the ways to attach to it or end it. Below it,
what was deployed before and how that ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from gdl.domain.errors import GdlError
from gdl.orchestrator.api.views import PastDeployment, SessionRow
from gdl.orchestrator.api.volumes import VolumeRow
from gdl.presentation.durations import age
from gdl.presentation.lines import plain
from gdl.presentation.spending import volume_line
from gdl.presentation.words import plural
from gdl.tui.panes import Split
from gdl.tui.screen_registry import window
from gdl.tui.screens import session_commands as commands
from gdl.tui.screens.base import GdlScreen
from gdl.tui.screens.dialogs import Details
from gdl.tui.shell import open_shell
from gdl.tui.widgets import session_rows as rows_of
from gdl.tui.widgets.grip import Grip
from gdl.tui.widgets.keyed_table import KeyedTable
from gdl.tui.widgets.live_text import LiveText

REFRESH_EVERY_S = 30.0
_ON_A_SESSION = frozenset(
    {"attach", "details", "extend", "destroy", "mark", "shell", "public", "copy_id"}
)


class HistoryTable(KeyedTable):
    """What was deployed before; Enter tells all about one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,d", "screen.past_details", "Details", id="history.details",
                tooltip="Everything about this past deployment"),
    ]  # fmt: skip


class HistoryLine(LiveText, Grip):
    """Between both tables."""

    EDGE = "whole"
    ALLOW_SELECT = False


class SessionsScreen(GdlScreen):
    MODE = "sessions"
    AUTO_FOCUS = "#sessions"
    SPENDS = frozenset({"destroy", "extend", "public"})
    SPLIT = Split("sessions.history", "#history", "#sessions", least=3, leaves=3)
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,a", "attach", "Attach", id="sessions.attach",
                tooltip="Open the tunnel to this session again"),
        Binding("D,delete", "destroy", "Destroy", id="sessions.destroy",
                tooltip="Release this machine, or the marked ones, and wait for proof"),
        Binding("space", "mark", "Mark", id="sessions.mark",
                tooltip="Mark this session; D destroys all marked ones"),
        Binding("d", "details", "Details", id="sessions.details",
                tooltip="Everything about this session"),
        Binding("e", "extend", "+1 hour", id="sessions.extend",
                tooltip="Reserve one more hour"),
        Binding("s", "shell", "Shell", id="sessions.shell",
                tooltip="Open a shell on this machine; exit returns here"),
        Binding("P", "public", "Public", show=False, id="sessions.public",
                tooltip="Give this session an address on the internet, or end that address"),
        Binding("y", "copy_id", "Copy", show=False, id="sessions.copy",
                tooltip="Copy the public address, the tunnel's endpoint, or the session's id"),
        Binding("r", "refresh", "Refresh", id="sessions.refresh", tooltip="List again"),
        window("spending").binding("app.open", show=True, owner="sessions"),
        Binding("escape", "back", "Back", show=False, id="sessions.back",
                tooltip="Clear the marks; then go back to the offers"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._error: GdlError | None = None
        self._loading = False
        self._past: tuple[PastDeployment, ...] = ()
        self._volumes: tuple[VolumeRow, ...] = ()
        self._marked: list[str] = []
        """Session ids, in the order in which they were marked."""
        self._publishing: set[str] = set()

    def body(self) -> ComposeResult:
        yield LiveText(id="sessions-line")
        yield KeyedTable(rows_of.COLUMNS, id="sessions")
        yield LiveText(id="sessions-note")
        yield HistoryLine(id="history-line")
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
        orchestrator = self.context.orchestrator
        try:
            self._past = tuple(await orchestrator.support.past_deployments())
            self.context.store.list_sessions(await orchestrator.sessions.rows(), self.now)
            if orchestrator.volumes.keeps:
                self._volumes = (await orchestrator.volumes.list()).rows
            self._error = None
        except GdlError as error:
            self._error = error
        self._loading = False
        there = {row.session.id for row in self.context.store.sessions if not row.ended}
        self._marked = [ident for ident in self._marked if ident in there]
        self.poke()
        self.refresh_bindings()

    @property
    def selected(self) -> SessionRow | None:
        return self._row(self.query_one("#sessions", KeyedTable).selected_key or "")

    def _row(self, ident: str) -> SessionRow | None:
        return next((r for r in self.context.store.sessions if r.session.id == ident), None)

    def _cost(self, row: SessionRow) -> float:
        return self.context.store.cost_now(row, self.now)

    # Drawing

    def refresh_view(self) -> None:
        rows = self.context.store.sessions
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
        self.query_one("#sessions-line", LiveText).say(self._line())
        note = self._note()
        panel = self.query_one("#sessions-note", LiveText)
        panel.display = bool(note)
        panel.set_class(not rows and not self._past, "-whole")
        panel.say(note)
        self._show_history()

    def _show_history(self) -> None:
        past = {told.deployment_id: told for told in self._past}
        history = self.query_one("#history", HistoryTable)
        heading = self.query_one("#history-line", LiveText)
        history.display = heading.display = bool(past)
        heading.say(
            Text.assemble(("Deployments so far", "bold"), f" · {rows_of.spent(self._past)}")
        )
        history.show_rows(list(past), lambda key: rows_of.past_deployment(past[key]))

    def _line(self) -> Text:
        store = self.context.store
        text = Text("Rented machines", "bold", no_wrap=True, overflow="ellipsis")
        if store.sessions_at is not None:
            listed = age((self.now - store.sessions_at).total_seconds())
            marked = f" · {len(self._marked)} marked" if self._marked else ""
            state = "refreshing" if self._loading else listed
            text.append(f" · {len(store.sessions)}{marked} · {state}", "not bold")
        return text

    def _note(self) -> Text:
        store = self.context.store
        if self._error is not None:
            text = Text()
            text.append("✗ ", "bold red")
            text.append(plain(self._error.message, 300), "bold")
            text.append(f"\n  {plain(self._error.hint, 300)}\n  r refreshes")
            return text
        if store.sessions_at is None:
            return Text("Asking for sessions…")
        kept = [plain(volume_line(v.volume, v.used_by), 120) for v in self._volumes]
        if not store.sessions:
            away = self.context.orchestrator.sessions.away
            return Text("\n".join([rows_of.nothing_rented(away), *kept]))
        notes = []
        unknown = [r for r in store.sessions if not r.ours and not r.ended]
        if unknown:
            notes.append(
                f"! {plural(len(unknown), 'machine')} not known here: rented elsewhere, or its"
                f" key is lost.{self._key(' It can only be destroyed.')}"
            )
        for row in store.sessions:
            if row.doubt:
                notes.append(
                    f"! {plain(row.session.id, 40)} may still be billing:"
                    f" {plain(row.doubt, 200)}{self._key(' · D to ask again or settle it')}"
                )
            if row.guard:
                notes.append(f"  {plain(row.session.id, 40)}: {plain(row.guard, 200)}")
            if row.public is not None:
                at = rows_of.public_at(row.public)
                end = self._key(" · P to end that")
                notes.append(f"! {plain(row.session.id, 40)} is public: {at}{end}")
        return Text("\n".join(notes), "bold").append("\n".join(["", *kept] if notes else kept))

    def _key(self, words: str) -> str:
        """What a key would do, where it may."""
        return "" if self.context.read_only else words

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in _ON_A_SESSION:
            if isinstance(self.focused, HistoryTable) or not self.context.store.sessions:
                return False
            row = self.selected if self.drawable else None
            if action in ("shell", "public") and row is not None and not row.ours:
                return False
            if action == "extend" and row is not None and not row.extends:
                return False
        return super().check_action(action, parameters)

    def on_descendant_focus(self) -> None:
        self.refresh_bindings()

    def on_keyed_table_highlighted(self) -> None:
        self.refresh_bindings()

    def on_keyed_table_chosen(self) -> None:
        if isinstance(self.focused, HistoryTable):
            self.action_past_details()
        else:
            self.action_attach()

    # Details

    @work(exclusive=True, group="dialog")
    async def action_details(self) -> None:
        if (row := self.selected) is not None:
            await self.context.ask(Details("Session", await commands.details(self.context, row)))

    def action_past_details(self) -> None:
        key = self.query_one("#history", HistoryTable).selected_key
        told = next((one for one in self._past if one.deployment_id == key), None)
        if told is not None:
            self.app.push_screen(Details("Past deployment", rows_of.past_fields(told)))

    def action_back(self) -> None:
        if self._marked:
            self._marked.clear()
            self.poke()
        else:
            self.context.action_show("offers")

    def action_mark(self) -> None:
        row = self.selected
        if row is None:
            return
        if row.ended:
            self.context.say("it has ended already: nothing is left to destroy")
            return
        ident = row.session.id
        if ident in self._marked:
            self._marked.remove(ident)
        else:
            self._marked.append(ident)
        self.query_one("#sessions", KeyedTable).action_cursor_down()
        self.poke()

    # Commands

    def action_copy_id(self) -> None:
        if (row := self.selected) is not None:
            if url := row.public or row.endpoint:
                self.context.copy(f"export OPENAI_BASE_URL={url}", "export OPENAI_BASE_URL=…")
            else:
                self.context.copy(row.session.id, "the session's id")

    @work(exclusive=True, group="dialog")
    async def action_attach(self) -> None:
        if (row := self.selected) is not None:
            await commands.attach(self.context, row)

    @work(exclusive=True, group="dialog")
    async def action_shell(self) -> None:
        if (row := self.selected) is not None:
            await open_shell(self.context, row.session.id)

    @work(exclusive=True, group="dialog")
    async def action_destroy(self) -> None:
        doubtful = None if self._marked else self.selected
        if doubtful is not None and doubtful.doubt and doubtful.ended:
            if await commands.confirm_gone(self.context, doubtful):
                await commands.mark_gone(self.context, doubtful)
                self.action_refresh()
            return
        found = [self._row(ident) for ident in self._marked] or [self.selected]
        rows = [row for row in found if row is not None and not row.ended]
        if not rows:
            self.context.say("it has already ended")
        elif await commands.confirm_destroy(self.context, rows):
            self._destroy(rows)

    @work(group="destroy")
    async def _destroy(self, rows: Sequence[SessionRow]) -> None:
        idents = {row.session.id for row in rows}
        self._marked = [ident for ident in self._marked if ident not in idents]
        await commands.destroy(self.context, rows)
        self.action_refresh()

    @work(exclusive=True, group="dialog")
    async def action_extend(self) -> None:
        if (row := self.selected) is not None and await commands.extend(self.context, row):
            self.action_refresh()

    @work(exclusive=True, group="dialog")
    async def action_public(self) -> None:
        row = self.selected
        if row is None:
            return
        if row.session.terminal:
            self.context.say("it has ended already: nothing is left to be reached")
        elif row.session.id in self._publishing:
            self.context.say("still busy")
        elif await commands.confirm_public(self.context, row):
            self._publish(row)

    @work(group="public")
    async def _publish(self, row: SessionRow) -> None:
        ident = row.session.id
        command = commands.publish if row.public is None else commands.unpublish
        self._publishing.add(ident)
        try:
            await command(self.context, ident)
        finally:
            self._publishing.discard(ident)
        self.action_refresh()
