"""Where machines are to come from: what was found, and a choice. For the first run, and for a
backend that cannot be reached."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from gdl.domain.backend import BackendSource
from gdl.domain.errors import GdlError
from gdl.presentation.lines import plain, plain_block
from gdl.tui.context import AppContext, context_of
from gdl.tui.screens.modal import Modal
from gdl.tui.widgets.live_text import LiveText


class WelcomeScreen(Modal[None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "look", "Refresh", id="welcome.look", tooltip="Look for machines again"),
        Binding("d", "app.open('doctor')", "Doctor", id="welcome.doctor",
                tooltip="Check for anything that would prevent a deployment"),
        Binding("escape,q", "dismiss", "Close", id="welcome.close",
                tooltip="Go back, keeping the present backend"),
    ]  # fmt: skip

    def __init__(self, trouble: GdlError | None = None) -> None:
        """`trouble`: why the backend in force gives no offers."""
        super().__init__()
        self._trouble = trouble
        self._sources: tuple[BackendSource, ...] = ()

    @property
    def context(self) -> AppContext:
        return context_of(self)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text("Where do machines come from?", "bold"), classes="dialog-title")
            yield LiveText(id="welcome-trouble")
            yield OptionList(id="sources")
            yield LiveText(id="welcome-note", classes="dialog-note")

    def on_mount(self) -> None:
        trouble = self.query_one("#welcome-trouble", LiveText)
        trouble.display = self._trouble is not None
        if self._trouble is not None:
            trouble.say(Text(f"✗ {plain(self._trouble.message, 300)}"))
        self._look()

    def action_look(self) -> None:
        self._look("looked around again")

    @work(exclusive=True, group="look")
    async def _look(self, told: str = "") -> None:
        """told: what is said once it is done."""
        self._note("Looking around…")
        try:
            found = await self.context.orchestrator.support.sources()
        except GdlError as error:
            self._note(f"✗ {error.message}\n{error.hint}")
            return
        self._sources = tuple(sorted(found, key=lambda source: not source.usable))
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options(Option(_words(source), disabled=False) for source in self._sources)
        options.highlighted = 0 if self._sources and self._sources[0].usable else None
        options.focus()
        there = self.context.config_file
        kept = f"{there} is kept as it is" if there.is_file() else f"and remembers it in {there}"
        self._note(f"Enter uses it, {kept}\nr refreshes · d doctor · Esc closes")
        if told:
            self.context.say(told)

    def _note(self, text: str) -> None:
        self.query_one("#welcome-note", LiveText).say(Text(plain_block(text, 500)))

    @work(exclusive=True, group="choose")
    async def _take(self, source: BackendSource) -> None:
        """Use this source from now on; remember it, if nothing is configured yet."""
        from gdl.tui.screens.choose_several import ChooseSeveral

        host: str | None = None
        if source.hosts:
            chosen = await self.app.push_screen_wait(ChooseSeveral("Which hosts?", source.hosts))
            if not chosen:
                return
            host = ",".join(chosen)
        # A worker of the app: this screen goes while it works.
        self.app.run_worker(self._use(source, host), group="use", exclusive=True)

    async def _use(self, source: BackendSource, host: str | None) -> None:
        self._note(f"Opening {source.title}…")
        try:
            await self.context.use(source.backend, host)
        except GdlError as error:
            self._note(f"✗ {error.message}\n{error.hint}")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        source = self._sources[event.option_index]
        if source.usable:
            self._take(source)
        else:
            self._note(f"Not now: {source.detail}")


def _words(source: BackendSource) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append("✓ " if source.usable else "✗ ", "green" if source.usable else "bold red")
    text.append(f"{source.title:18}", "bold" if source.usable else "dim")
    for line in (source.detail, source.also):
        if line:
            text.append("\n    " + plain(line, 200), "" if source.usable else "dim")
    return text
