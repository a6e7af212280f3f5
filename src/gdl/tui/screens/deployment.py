"""One deployment, live: phases, progress, logs, failures with their remedies, the endpoint."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import ClassVar

from textual import work
from textual.app import ComposeResult, SystemCommand
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import TabbedContent, TabPane

from gdl.engines import registry
from gdl.tui.context import AppContext
from gdl.tui.engine_words import engine_of
from gdl.tui.panes import Split
from gdl.tui.screens import deployment_commands as commands
from gdl.tui.screens.base import GdlScreen
from gdl.tui.screens.deployment_keys import BINDINGS
from gdl.tui.store import Followed
from gdl.tui.widgets.attempt_bar import AttemptBar
from gdl.tui.widgets.failure import PanelSize, excluded_providers
from gdl.tui.widgets.live_text import LiveText
from gdl.tui.widgets.log_pane import LogPane, LogTabs
from gdl.tui.widgets.phase_rail import Rail, RailSize, rail
from gdl.tui.widgets.scroll import Scroll
from gdl.tui.widgets.status_panel import base_url, headline, status
from gdl.tui.widgets.timeline import Timeline
from gdl.tui.widgets.try_again import TryAgain

PANES = ("install", "engine", "timeline")
_WIDE, _TALL = 110, 34
Command = Callable[[AppContext, Followed], Awaitable[None]]
_SPENDS = frozenset(
    {
        *("shell", "retry", "next_offer", "exclude", "fix", "change", "automatic"),
        *("cancel", "release", "keep"),
    }
)
_ON_A_DEPLOYMENT = _SPENDS | {
    *("include", "copy", "copy_curl", "health", "talk", "next_pane", "attempt")
}
"""Actions that need one."""


class DeploymentScreen(GdlScreen):
    MODE = "deployment"
    AUTO_FOCUS = "#install-log LogView"
    SPENDS = _SPENDS
    SPLIT = Split(
        "deployment.rail", "#rail", "LogTabs", least=24, leaves=24, across=True,
        usual=lambda width: 42 if width >= _WIDE else 35,
    )  # fmt: skip
    BINDINGS: ClassVar[list[BindingType]] = BINDINGS

    def __init__(self) -> None:
        super().__init__()
        self._keys: tuple[object, ...] = ()
        self._auto_pane = "install"

    def body(self) -> ComposeResult:
        engine = registry.info(self.context.settings.engine.name)
        yield LiveText(id="nothing")
        with Vertical(id="deployment"):
            yield LiveText(id="headline")
            with Scroll(id="status", can_focus=False):
                yield LiveText(id="status-text")
            yield TryAgain()
            yield AttemptBar(id="attempts")
            with Horizontal(id="middle"):
                with Rail(id="rail"):
                    yield LiveText(id="rail-text")
                with LogTabs(initial="install"):
                    with TabPane("Install", id="install"):
                        yield self._log("The installation has not started.", "install")
                    with TabPane(engine.log_title, id="engine"):
                        yield self._log(f"{engine.display_name} has not started.", "engine")
                    with TabPane("Timeline", id="timeline"), Scroll():
                        yield Timeline(id="timeline-text")

    def _log(self, empty: str, name: str) -> LogPane:
        return LogPane(empty, name=name, id=f"{name}-log", blink=not self.context.reduced_motion)

    # Drawing

    def refresh_view(self) -> None:
        followed = self.context.store.followed
        body, nothing = self.query_one("#deployment"), self.query_one("#nothing", LiveText)
        # Disabled, too: no key is taken where nothing is seen.
        body.display, body.disabled = followed is not None, followed is None
        appears, nothing.display = followed is not None and nothing.display, followed is None
        if appears and self.focused is None:
            self.call_after_refresh(self._focus_pane)
        if followed is None:
            nothing.say("No deployment yet.\n\n1 shows the offers: choose one and press Enter.")
        else:
            self._draw(followed)
        keys = self._key_state(followed)
        if keys != self._keys:
            self._keys = keys
            self.refresh_bindings()

    def _draw(self, followed: Followed) -> None:
        now, state = self.now, followed.state
        size = self.app.size
        line = headline(state, followed.clock(now), size.width - 2)
        self.query_one("#headline", LiveText).say(line)
        tall = size.height >= _TALL
        panel_size = PanelSize(size.width - 2, 10 if tall else 3)
        text, kind = status(followed, now, panel_size, moving=not self.context.reduced_motion)
        panel = self.query_one("#status", Scroll)
        if not panel.has_class(f"-{kind}"):
            panel.set_classes(f"-{kind}")
        self.query_one("#status-text", LiveText).say(text)
        can = self.check_action("retry", ()) is True and kind == "failed"
        self.query_one(TryAgain).display = can and followed.shown is state.attempt
        self.query_one(AttemptBar).show(state, followed.shown)
        self._draw_rail(followed)
        self.query_one("#install-log", LogPane).show(followed.install)
        self.query_one("#engine-log", LogPane).show(followed.engine)
        tab, title = self.query_one(TabbedContent).get_tab("engine"), engine_of(state).log_title
        if tab.label_text != title:
            tab.label = Content(title)
        if self.query_one(TabbedContent).active == "timeline":
            self.query_one(Timeline).show(followed)
        self._follow_the_work(followed)

    def _draw_rail(self, followed: Followed) -> None:
        size = self.app.size
        cells = self.pane_cells(size.width) or 0
        self.query_one(Rail).styles.width = cells
        text = rail(followed, self.now, RailSize(cells - Rail.AROUND, brief=size.height < _TALL))
        self.query_one("#rail-text", LiveText).say(text)

    def pane_resized(self) -> None:
        if (followed := self.context.store.followed) is not None:
            self._draw_rail(followed)

    def _follow_the_work(self, followed: Followed) -> None:
        """Show the server's log when it begins, unless another pane was chosen meanwhile."""
        tabs = self.query_one(TabbedContent)
        if followed.engine.total and self._auto_pane == "install" and tabs.active == "install":
            self._auto_pane = "engine"
            self.call_after_refresh(self._show_pane, "engine")
        elif not followed.engine.total:
            self._auto_pane = "install"

    def on_tabbed_content_tab_activated(self, event: TabbedContent.TabActivated) -> None:
        if event.pane.id == "timeline" and (followed := self.context.store.followed) is not None:
            self.query_one(Timeline).show(followed)

    def _focus_pane(self) -> None:
        pane = self.query_one(TabbedContent).active_pane
        target = pane.query("LogView, Scroll").first() if pane is not None else None
        if target is not None and self.app.screen is self:
            target.focus()

    def _show_pane(self, pane: str) -> None:
        self.query_one(TabbedContent).active = pane
        self.call_after_refresh(self._focus_pane)

    def action_next_pane(self) -> None:
        active = self.query_one(TabbedContent).active
        self._show_pane(PANES[(PANES.index(active) + 1) % len(PANES)])

    def on_button_pressed(self) -> None:
        self.action_retry()

    # What can be done now

    def _key_state(self, followed: Followed | None) -> tuple[object, ...]:
        if followed is None:
            return ()
        return (
            followed.state.waiting,
            followed.state.offered,
            followed.holds,
            followed.state.can_be_left,
            followed.state.finished is None,
            excluded_providers(followed.state),
            [followed.beside(by) is not None for by in (-1, 1)],
            followed.failed,
            bool(followed.checks),
            bool(followed.trouble),
            self._available("shell", followed),
            self._available("cancel", followed),
            len(self.context.store.deployments) > 1,
            base_url(followed.state),
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        followed = self.context.store.followed
        if action == "step":
            return len(self.context.store.deployments) > 1
        if not self._available(action, followed):
            return False
        if action == "attempt" and followed is not None:
            (by,) = parameters
            return isinstance(by, int) and followed.beside(by) is not None
        return super().check_action(action, parameters)

    def _available(self, action: str, followed: Followed | None) -> bool:
        if followed is None:
            return action not in _ON_A_DEPLOYMENT
        return commands.available(action, followed, keeps=self.context.orchestrator.keeps)

    # Commands

    @property
    def _followed(self) -> Followed:
        followed = self.context.store.followed
        assert followed is not None
        return followed

    @work(exclusive=True, group="dialog")
    async def _run(self, command: Command) -> None:
        await command(self.context, self._followed)

    def action_retry(self) -> None:
        self._run(commands.retry)

    def action_next_offer(self) -> None:
        self._run(commands.next_offer)

    def action_exclude(self) -> None:
        self._run(commands.exclude)

    def action_include(self) -> None:
        self._run(commands.include)

    def action_change(self) -> None:
        self._run(commands.change)

    def action_fix(self) -> None:
        self._run(commands.fix)

    def action_automatic(self) -> None:
        self._run(commands.toggle_failover)

    def action_cancel(self) -> None:
        self._run(commands.cancel)

    def action_release(self) -> None:
        self._run(commands.release)

    def action_keep(self) -> None:
        self._run(commands.keep)

    @work(exclusive=True, group="shell")
    async def action_shell(self) -> None:
        await commands.shell(self.context, self._followed)

    def action_copy(self) -> None:
        commands.copy(self.context, self._followed)

    def palette(self) -> Iterator[SystemCommand]:
        followed = self.context.store.followed
        return iter(()) if followed is None else commands.palette(self.context, followed)

    def action_copy_curl(self) -> None:
        commands.copy_curl(self.context, self._followed)

    @work(exclusive=True, group="save")
    async def on_log_pane_save_wanted(self, event: LogPane.SaveWanted) -> None:
        await commands.save_log(self.context, self._followed, event.pane)

    # Other screens and deployments

    def action_talk(self) -> None:
        self.context.action_show("chat")

    def action_health(self) -> None:
        self.context.action_show("health")

    def action_step(self, by: int) -> None:
        self.context.store.step(by)
        self.poke()

    # Attempts

    def action_attempt(self, by: int) -> None:
        self._followed.choose(by)
        self._show_attempt()

    def on_attempt_bar_chosen(self, event: AttemptBar.Chosen) -> None:
        self._followed.choose_number(event.number)
        self._show_attempt()

    def _show_attempt(self) -> None:
        """Of the pane that has something to tell of it."""
        self.poke()
        pane = self.query_one(TabbedContent).active
        if pane != "timeline":
            self._show_pane("engine" if self._followed.engine.total else "install")
