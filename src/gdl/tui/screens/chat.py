"""A conversation with the served model."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Static
from textual.worker import Worker

from gdl.conversations.answering import answered
from gdl.conversations.files import ConversationFiles
from gdl.domain.client_snippets import QUESTION, Messages
from gdl.domain.conversation import TEXT_KEPT, TURNS_KEPT, ChatTurn, Conversation
from gdl.domain.errors import GdlError
from gdl.presentation.chat import option_words
from gdl.tui.screens.base import GdlScreen
from gdl.tui.store import Followed
from gdl.tui.widgets.chat_line import ChatLine
from gdl.tui.widgets.chat_turn import TurnView
from gdl.tui.widgets.live_text import LiveText
from gdl.tui.widgets.status_panel import client_call, headline

_DRAWN = 20
"""Turns that are drawn as Markdown; those before them as they came."""


class ChatScreen(GdlScreen):
    MODE = "chat"
    AUTO_FOCUS = "#chat-line"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop", id="chat.stop", tooltip="Stop the current answer"),
        Binding("escape", "leave", "Back", id="chat.leave", tooltip="Go back to the deployment"),
        Binding("alt+1", "app.show('offers')", "Screens", key_display="alt+1-5",
                id="chat.screens", tooltip="The other screens; a digit alone is typed here"),
        Binding("f5", "copy_answer", "Copy", id="chat.copy",
                tooltip="Copy an answer, or one of its code blocks"),
        Binding("f12", "options", "Options", id="chat.options",
                tooltip="System prompt, temperature, top-p, max tokens"),
        Binding("ctrl+o", "saved", "Saved", id="chat.saved",
                tooltip="Open, continue or delete a saved conversation"),
        Binding("f4", "clear", "New", id="chat.clear",
                tooltip="Start a new conversation; this one is saved"),
        Binding("f2", "copy('curl', 'a curl line')", "curl", id="chat.curl",
                tooltip="Copy a curl command with the same request"),
        Binding("f3", "copy('python', 'Python lines')", "Python", id="chat.python",
                tooltip="Copy Python code with the same request"),
        Binding("ctrl+t", "thoughts", "Thoughts", show=False, id="chat.thoughts",
                tooltip="Show all of the model's thinking, or only that it thought"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._shown: Conversation | None = None
        self._views: list[TurnView] = []
        self._answering: Worker[None] | None = None
        self._thoughts = False

    def body(self) -> ComposeResult:
        yield LiveText(id="chat-none")
        with Vertical(id="chat"):
            yield LiveText(id="chat-head")
            yield VerticalScroll(id="turns", can_focus=False)
            with Horizontal(id="chat-row"):
                yield Static(">", id="chat-sign")
                yield ChatLine(self._asked, blink=not self.context.reduced_motion)

    @property
    def conversation(self) -> Conversation:
        return self.context.store.conversation

    @property
    def _files(self) -> ConversationFiles:
        return ConversationFiles(self.context.settings.data_dir)

    @property
    def _serving(self) -> Followed | None:
        followed = self.context.store.followed
        return followed if followed is not None and followed.holds else None

    # Drawing

    def refresh_view(self) -> None:
        one, serving = self.conversation, self._serving
        can = serving is not None or bool(one.turns)
        self.query_one("#chat").display = can
        none = self.query_one("#chat-none", LiveText)
        none.display = not can
        line = self.query_one(ChatLine)
        line.disabled = serving is None  # nothing is typed where it is not seen
        if not can:
            none.say(
                "Nothing is served yet.\n\n"
                "1 shows the offers, 2 the deployment, 4 the sessions to attach to.\n"
                "Ctrl+O shows the saved conversations."
            )
            return
        self.query_one("#chat-head", LiveText).say(self._head(one))
        if serving is not None and self.focused is None and self.app.screen is self:
            line.focus()
        self._draw_turns(one)

    def _head(self, one: Conversation) -> Text:
        followed = self.context.store.followed
        if followed is None:
            text = Text(f"saved · {one.title}", no_wrap=True, overflow="ellipsis")
        else:
            text = headline(followed.state, followed.clock(self.now), self.app.size.width - 2)
        if words := option_words(one.options):
            text.append(f" · {words}", "dim")
        return text

    def _draw_turns(self, one: Conversation) -> None:
        """One view for each turn, so that an answer that grows repaints itself alone. The area
        stays at its end, unless somebody has scrolled up."""
        area = self.query_one("#turns", VerticalScroll)
        if self._shown is not one:
            self._shown = one
            for view in self._views:
                view.remove()
            self._views = []
            self.query_one(ChatLine).remember(*one.questions)
            area.anchor()
        last = len(one.turns) - _DRAWN
        places = range(len(self._views), len(one.turns))
        if new := [TurnView(one.turns[place], flat=place < last) for place in places]:
            self._views += new
            area.mount_all(new)
            area.anchor()
            self.call_after_refresh(self.poke)
        model = self._served_name or one.model
        for number, view in enumerate(self._views):
            view.show(model, one.options, self.now, thoughts=self._thoughts, flat=number < last)

    @property
    def _served_name(self) -> str:
        followed = self.context.store.followed
        return followed.state.served_name if followed is not None else ""

    # Questions

    def _asked(self, text: str) -> bool:
        """Send a question, or say why not; whether it was sent."""
        question, one, serving = text.strip(), self.conversation, self._serving
        if serving is None:
            self.context.say("nothing is served now, so nothing can answer")
        elif not question:
            self.context.say("type a question first")
        elif one.running:
            self.context.say("the previous answer is still arriving · Esc stops it")
        elif one.full:
            self.context.say(f"{TURNS_KEPT} questions is the limit · F4 starts a new conversation")
        elif len(question) > TEXT_KEPT:
            self.context.say(f"a question can have at most {TEXT_KEPT:,} characters")
        else:
            one.model = self._served_name
            self._answering = self._ask(serving, one, one.ask(question, self.now))
            self.poke()
            self.refresh_bindings()
            return True
        return False

    @work(group="chat")
    async def _ask(self, serving: Followed, one: Conversation, turn: ChatTurn) -> None:
        """Put the answer into the turn as it comes."""
        endpoints, touch = self.context.orchestrator.endpoints, self.context.touch
        try:
            async with endpoints.chat(serving.state.deployment_id) as partner:
                await answered(partner.ask, one, turn, lambda _piece: touch())
        except GdlError as error:
            turn.fail(error.message)
        finally:
            turn.running = False
            touch()
            self.refresh_bindings()
            self._save(one)

    @work(group="save")
    async def _save(self, one: Conversation) -> None:
        if not self.context.settings.save_chats or (one.failed and not one.id):
            return
        try:
            await asyncio.to_thread(self._files.save, one, self.now)
        except GdlError as error:
            self.context.report(error)

    # Keys

    def action_stop(self) -> None:
        if self._answering is not None:
            self._answering.cancel()

    def action_leave(self) -> None:
        self.context.action_show("deployment")

    def action_page(self, by: int) -> None:
        area = self.query_one("#turns", VerticalScroll)
        area.scroll_relative(y=by * max(area.size.height - 2, 1), animate=False)

    def action_thoughts(self) -> None:
        self._thoughts = not self._thoughts
        self.poke()

    def action_clear(self) -> None:
        self._open(Conversation(options=self.conversation.options))

    def _open(self, one: Conversation) -> None:
        """Show this one from now on."""
        if self.conversation.running:
            self.context.say("an answer is still arriving · Esc stops it")
            return
        self.context.store.open_conversation(one)
        self.poke()
        self.refresh_bindings()

    @work(exclusive=True, group="dialog")
    async def action_saved(self) -> None:
        from gdl.tui.screens.chat_lists import ConversationsDialog

        files = self._files
        try:
            rows = await asyncio.to_thread(files.rows)
            chosen = await self.context.ask(ConversationsDialog(files, rows))
            if chosen is not None:
                self._open(await asyncio.to_thread(files.load, chosen))
        except GdlError as error:
            self.context.report(error)

    @work(exclusive=True, group="dialog")
    async def action_options(self) -> None:
        from gdl.tui.screens.chat_options import ChatOptionsDialog

        one = self.conversation
        if (options := await self.context.ask(ChatOptionsDialog(one.options))) is not None:
            one.options = options
            self.poke()

    @work(exclusive=True, group="dialog")
    async def action_copy_answer(self) -> None:
        """What there is to copy; at once where it is one answer without code."""
        from gdl.tui.screens.chat_lists import CopyDialog, copyable

        choices = copyable(self.conversation)
        chosen = choices[0] if len(choices) == 1 else await self.context.ask(CopyDialog(choices))
        if chosen is not None:
            self.context.copy(chosen.text, chosen.name)

    def action_copy(self, form: str, name: str) -> None:
        followed = self.context.store.followed
        if followed is not None and (way := client_call(followed.state)) is not None:
            self.context.copy(way.lines(form, last_call(self.conversation)), name)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        one = self.conversation
        if action in ("stop", "leave"):
            return one.running is (action == "stop")
        if action == "options":
            return self._serving is not None
        if action == "copy":
            return (on := self._serving) is not None and client_call(on.state) is not None
        if action == "clear":
            return bool(one.turns)
        if action == "thoughts":
            return any(turn.reasoning for turn in one.turns)
        if action == "copy_answer":
            return any(turn.said for turn in one.turns)
        return super().check_action(action, parameters)


def last_call(one: Conversation) -> Messages:
    """What was sent last, or a first question where nothing was."""
    sent = one.last_request()
    return [{"role": m.role, "content": m.content} for m in sent] if sent else QUESTION
