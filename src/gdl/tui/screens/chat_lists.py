"""The chat's two lists: what can be copied, and the saved conversations."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from gdl.conversations.files import ConversationFiles, SavedConversation
from gdl.domain.conversation import Conversation, code_blocks
from gdl.domain.errors import GdlError
from gdl.domain.lazy_dataclass import dataclass
from gdl.presentation.lines import plain
from gdl.presentation.words import plural
from gdl.tui.context import context_of
from gdl.tui.screens.dialogs import Confirm
from gdl.tui.screens.modal import Modal
from gdl.tui.widgets.live_text import LiveText

_ANSWERS = 10
"""The latest so many answers can be copied."""


@dataclass(frozen=True, slots=True)
class Copyable:
    """name: for the news line; line: for the list."""

    name: str
    line: str
    text: str


def copyable(one: Conversation) -> list[Copyable]:
    """The latest answer and its code blocks, then those before it."""
    found: list[Copyable] = []
    for turn in reversed([turn for turn in one.turns if turn.said][-_ANSWERS:]):
        text = turn.said.strip("\n")
        name = "the answer" if not found else "an earlier answer"
        head = f"{name[0].upper()}{name[1:]}, {plural(len(text.split()), 'word')}"
        found.append(Copyable(name, f"{head}: {plain(turn.question, 60)}", text))
        for number, block in enumerate(code_blocks(text), 1):
            first = next((line for line in block.code.split("\n") if line.strip()), "")
            size = plural(block.code.count("\n") + 1, "line")
            said = f"– code block {number}, {block.language or 'no language'}, {size}: "
            found.append(Copyable("the code block", said + plain(first, 60), block.code))
    return found


class CopyDialog(Modal[Copyable | None]):
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel", id="copy.cancel", tooltip="Copy nothing"),
    ]

    def __init__(self, choices: Sequence[Copyable]) -> None:
        super().__init__()
        self._choices = choices

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -wide"):
            yield Static(Text("Copy what?", "bold"), classes="dialog-title")
            yield OptionList(*(Option(plain(one.line, 300)) for one in self._choices), markup=False)
            yield Static("Enter copies it · ↑↓ moves · Esc cancels", classes="dialog-note")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._choices[event.option_index])


class ConversationsDialog(Modal[str | None]):
    """Dismissed with the id of the conversation to open."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("d,delete", "delete", "Delete", id="conversations.delete",
                tooltip="Delete this conversation's file"),
        Binding("escape", "dismiss(None)", "Back", id="conversations.back",
                tooltip="Go back to the chat"),
    ]  # fmt: skip

    def __init__(self, files: ConversationFiles, rows: Sequence[SavedConversation]) -> None:
        super().__init__()
        self._files, self._rows = files, list(rows)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -wide"):
            yield Static(Text("Saved conversations", "bold"), classes="dialog-title")
            yield OptionList(markup=False)
            yield LiveText(classes="dialog-note")

    def on_mount(self) -> None:
        self._fill(0)

    def _fill(self, place: int) -> None:
        listed = self.query_one(OptionList)
        listed.clear_options()
        widest = max((cell_len(_model(row)) for row in self._rows), default=0)
        listed.add_options([Option(plain(saved_words(row, widest), 300)) for row in self._rows])
        listed.highlighted = min(place, len(self._rows) - 1) if self._rows else None
        where = f"in {plain(self._files.folder, 200)}"
        said = "Enter opens it · d deletes it · Esc goes back" if self._rows else "None yet"
        self.query_one(LiveText).say(f"{said}\n{where}")

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._rows[event.option_index].id)

    @work(exclusive=True, group="delete")
    async def action_delete(self) -> None:
        place = self.query_one(OptionList).highlighted
        if place is None:
            return
        row, context = self._rows[place], context_of(self)
        what = [("Conversation", Text(plain(row.title or row.id, 80)))]
        if not await context.ask(Confirm("Delete it?", what, "This cannot be undone.", "Delete")):
            return
        try:
            await asyncio.to_thread(self._files.delete, row.id)
        except GdlError as error:
            context.report(error)
        else:
            self._rows.remove(row)
            self._fill(place)


def saved_words(row: SavedConversation, widest: int) -> str:
    """One line: when, with whom, how many questions, and the first of them. widest: cells of the
    longest model's name in the list."""
    if row.trouble:
        return f"{row.at:%Y-%m-%d %H:%M}  ✗ {row.trouble}"
    model, asked = set_cell_size(_model(row), widest), plural(row.turns, "question")
    return f"{row.at:%Y-%m-%d %H:%M}  {model}  {asked}: {plain(row.title, 80)}"


def _model(row: SavedConversation) -> str:
    return plain(row.model, 24)
