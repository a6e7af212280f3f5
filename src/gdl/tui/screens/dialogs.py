"""Small windows over a screen: confirmations, details, progress. Cancel always has the focus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option

from gdl.presentation.lines import plain
from gdl.tui.screens.modal import Modal, Question, Title
from gdl.tui.widgets.fields import Fields, fields_table
from gdl.tui.widgets.scroll import Scroll

Told = Fields | Callable[[], Fields]
"""Names and values; where they change while they are read, what tells them as they are now."""
_TELL_AGAIN_S = 1.0


class _Told(Static):
    """Names and values, told anew each second where they may change."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self._told = told

    def on_mount(self) -> None:
        self._tell()
        if callable(self._told):
            self.set_interval(_TELL_AGAIN_S, self._tell)

    def _tell(self) -> None:
        self.update(fields_table(self._told() if callable(self._told) else self._told))


class Confirm(Question[bool]):
    """Asks before something is spent or destroyed; True when it is confirmed."""

    AUTO_FOCUS = "#cancel"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="dialog.yes", tooltip="Do it"),
        Binding("escape,n", "answer(False)", "Cancel", id="dialog.no", tooltip="Change nothing"),
        Binding("left,up", "app.focus_previous", "Previous", show=False, id="dialog.previous",
                tooltip="Previous button"),
        Binding("right,down", "app.focus_next", "Next", show=False, id="dialog.next",
                tooltip="Next button"),
    ]  # fmt: skip

    def __init__(
        self, title: str, fields: Told, note: str, yes: str, *, destroys: bool = False
    ) -> None:
        """`title`, `note` and `yes` are our own words; remote text belongs into `fields`."""
        super().__init__()
        self._title, self._fields, self._note = title, fields, note
        self._yes, self._destroys = yes, destroys

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Title(Text(self._title, "bold"), classes="dialog-title")
            # Tab gets there to scroll, when it may be more than a window holds.
            many = len(self._fields() if callable(self._fields) else self._fields) > 10
            with Scroll(classes="dialog-body", can_focus=many):
                yield _Told(self._fields)
                if self._note:
                    yield Static(Text(self._note), classes="dialog-note")
            with Horizontal(classes="dialog-buttons"):
                yield Button(
                    Text(f"{self._yes} (y)").plain,
                    id="yes",
                    variant="error" if self._destroys else "primary",
                )
                yield Button("Cancel (Esc)", id="cancel")

    def action_answer(self, answer: bool) -> None:
        self.dismiss(answer)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")


class Choose(Modal[str | None]):
    """One of a few words; None when nothing is chosen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel", id="choose.cancel",
                tooltip="Choose nothing"),
    ]  # fmt: skip

    def __init__(self, title: str, words: Sequence[str]) -> None:
        super().__init__()
        self._title, self._words = title, words

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(self._title, "bold"), classes="dialog-title")
            yield OptionList(*(Option(Text(plain(word, 80))) for word in self._words))
            yield Static("Enter accepts · Esc cancels", classes="dialog-note")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._words[event.option_index])


class Details(Modal[None]):
    """Everything about one thing, as names and values."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,d,q", "dismiss", "Close", id="details.close",
                tooltip="Go back to the screen"),
    ]  # fmt: skip

    def __init__(self, title: str, fields: Told) -> None:
        super().__init__()
        self._title, self._fields = title, fields

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text(self._title, "bold"), classes="dialog-title")
            with Scroll(classes="dialog-body"):
                yield _Told(self._fields)
            yield Static("Esc closes", classes="dialog-note")


class QuitProgress(Modal[None]):
    """Shown while machines are released before the program ends."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "ctrl+x", "give_up", "Quit without waiting", id="leaving.quit",
            tooltip="Quit now; what was chosen is still done while the program closes",
        ),
    ]  # fmt: skip

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text("Leaving", "bold"), classes="dialog-title")
            yield Static("", id="leaving-text")
            yield Static("Ctrl+X quits without waiting", classes="dialog-note")

    def say(self, text: str) -> None:
        """One line on how far it is."""
        self.query_one("#leaving-text", Static).update(Text(text))

    def action_give_up(self) -> None:
        self.app.exit()


class QuitDialog(Question[str]):
    """Leave running, release, or stay. Dismissed with "leave", "release" or "cancel"."""

    AUTO_FOCUS = "#cancel"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "answer('leave')", "Leave running", id="quit.leave",
                tooltip="Leave it serving (and billing), and quit"),
        Binding("r", "answer('release')", "Release", id="quit.release",
                tooltip="Release the machine, then quit"),
        Binding("escape,c", "answer('cancel')", "Cancel", id="quit.cancel",
                tooltip="Stay"),
        Binding("left,up", "app.focus_previous", "Previous", show=False, id="quit.previous",
                tooltip="Previous button"),
        Binding("right,down", "app.focus_next", "Next", show=False, id="quit.next",
                tooltip="Next button"),
    ]  # fmt: skip

    def __init__(self, fields: Told, note: str, *, can_leave: bool, can_release: bool) -> None:
        super().__init__()
        self._fields, self._note = fields, note
        self._allowed = {"leave": can_leave, "release": can_release, "cancel": True}

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Title(Text("Quit?", "bold"), classes="dialog-title")
            with Scroll(classes="dialog-body", can_focus=False):
                yield _Told(self._fields)
                yield Static(Text(self._note), classes="dialog-note")
            with Horizontal(classes="dialog-buttons"):
                yield Button("Cancel (Esc)", id="cancel")
                if self._allowed["leave"]:
                    yield Button("Leave running (l)", id="leave", variant="warning")
                if self._allowed["release"]:
                    words = "Release (r)" if self._allowed["leave"] else "Stop and release (r)"
                    yield Button(words, id="release", variant="error")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "answer" and parameters:
            return self._allowed.get(str(parameters[0]), False)
        return True

    def action_answer(self, answer: str) -> None:
        self.dismiss(answer)

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id or "cancel")
