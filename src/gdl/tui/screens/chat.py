"""A conversation with the served model, to see that it answers and how fast."""

from __future__ import annotations

from contextlib import aclosing
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input, Static
from textual.worker import Worker

from gdl.domain.chat import ChatDone, ChatMessage, ChatPiece
from gdl.domain.client_snippets import QUESTION, Messages
from gdl.domain.errors import GdlError
from gdl.tui.screens.base import GdlScreen
from gdl.tui.store import TURNS_KEPT, ChatTurn, Followed
from gdl.tui.widgets.chat_turn import turn_text
from gdl.tui.widgets.live_text import LiveText
from gdl.tui.widgets.status_panel import client_call, headline


class ChatLine(Input):
    """What is asked next; the paging keys move the conversation above it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Ask", id="chat.ask", tooltip="Send what is written"),
        Binding(
            "pageup",
            "screen.page(-1)",
            "Page up",
            show=False,
            id="chat.page_up",
            tooltip="A page up",
        ),
        Binding(
            "pagedown",
            "screen.page(1)",
            "Page down",
            show=False,
            id="chat.page_down",
            tooltip="A page down",
        ),
    ]


class ChatScreen(GdlScreen):
    MODE = "chat"
    AUTO_FOCUS = "#chat-line"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "copy('curl', 'a curl line')", "curl", id="chat.curl",
                tooltip="Copy a curl line that asks the same"),
        Binding("f3", "copy('python', 'Python lines')", "Python", id="chat.python",
                tooltip="Copy Python lines that ask the same"),
        Binding("f4", "clear", "New", id="chat.clear", tooltip="Begin a new conversation"),
        Binding("escape", "leave", "Back", id="chat.leave",
                tooltip="Stop the answer that is coming, or go back to the deployment"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._shown_for = ""
        self._turns: list[LiveText] = []
        self._answering: Worker[None] | None = None

    def body(self) -> ComposeResult:
        yield LiveText(id="chat-none")
        with Vertical(id="chat"):
            yield LiveText(id="chat-head")
            yield VerticalScroll(id="turns", can_focus=False)
            with Horizontal(id="chat-row"):
                yield Static(">", id="chat-sign")
                line = ChatLine(placeholder="ask the model", id="chat-line", max_length=8000)
                line.cursor_blink = not self.context.reduced_motion
                yield line

    # Drawing

    def refresh_view(self) -> None:
        followed = self.context.store.followed
        can = followed is not None and (followed.holds or bool(followed.chat))
        self.query_one("#chat").display = can
        none = self.query_one("#chat-none", LiveText)
        none.display = not can
        if followed is None or not can:
            none.say(
                "Nothing serves here yet.\n\n"
                "1 shows the offers, 2 the deployment, 4 the sessions to attach to."
            )
            return
        self.query_one("#chat-head", LiveText).say(
            headline(followed.state, followed.clock(self.now))
        )
        self.query_one(ChatLine).disabled = not followed.holds
        if followed.holds and self.focused is None and self.app.screen is self:
            self.query_one(ChatLine).focus()
        self._draw_turns(followed)

    def _draw_turns(self, followed: Followed) -> None:
        """One widget for each turn, so that an answer that grows repaints itself alone."""
        area = self.query_one("#turns", VerticalScroll)
        if self._shown_for != followed.state.deployment_id:
            self._shown_for = followed.state.deployment_id
            self._forget_turns()
        at_end = area.is_vertical_scroll_end
        for turn in followed.chat[len(self._turns) :]:
            widget = LiveText(classes="turn")
            self._turns.append(widget)
            area.mount(widget)
            at_end = turn.running or at_end
        for widget, turn in zip(self._turns, followed.chat, strict=True):
            widget.say(turn_text(turn, followed.state.served_name, self.now))
        if at_end:
            area.scroll_end(animate=False)

    def _forget_turns(self) -> None:
        for widget in self._turns:
            widget.remove()
        self._turns = []

    # Questions

    def on_input_submitted(self, event: Input.Submitted) -> None:
        question, followed = event.value.strip(), self.context.store.followed
        if followed is None or not followed.holds:
            self.context.say("nothing serves here now: a question would reach nobody")
            return
        if not question:
            self.context.say("type a question first")
            return
        if _running(followed):
            self.context.say("the answer before is still coming · Esc stops it")
            return
        if len(followed.chat) >= TURNS_KEPT:
            self.context.say(f"{TURNS_KEPT} questions are enough · F4 begins a new conversation")
            return
        event.input.value = ""
        turn = ChatTurn(question, self.now)
        followed.chat.append(turn)
        self._answering = self._ask(followed, turn)
        self.poke()
        self.refresh_bindings()

    @work(group="chat")
    async def _ask(self, followed: Followed, turn: ChatTurn) -> None:
        """Put the answer into the turn as it comes."""
        messages = [ChatMessage(m["role"], m["content"]) for m in conversation(followed)]
        ident = followed.state.deployment_id
        try:
            async with aclosing(self.context.orchestrator.endpoints.chat(ident, messages)) as parts:
                async for part in parts:
                    match part:
                        case ChatPiece(text, reasoning=True):
                            turn.reasoning += text
                        case ChatPiece(text):
                            turn.answer += text
                        case ChatDone():
                            turn.done = part
                    self.context.touch()
        except GdlError as error:
            turn.done = ChatDone(None, None, None, None, error.message)
        finally:
            turn.running = False
            self.context.touch()

    # Keys

    def action_leave(self) -> None:
        followed = self.context.store.followed
        if self._answering is not None and followed is not None and _running(followed):
            self._answering.cancel()
        else:
            self.context.action_show("deployment")

    def action_page(self, by: int) -> None:
        area = self.query_one("#turns", VerticalScroll)
        area.scroll_relative(y=by * max(area.size.height - 2, 1), animate=False)

    def action_clear(self) -> None:
        followed = self.context.store.followed
        if followed is not None and not _running(followed):
            followed.chat.clear()
            self._forget_turns()
            self.poke()

    def action_copy(self, form: str, name: str) -> None:
        followed = self.context.store.followed
        if followed is not None and (way := client_call(followed.state)) is not None:
            self.context.copy(way.lines(form, last_call(followed)), name)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        followed = self.context.store.followed
        if action == "copy":
            return followed is not None and followed.holds
        if action == "clear":
            return followed is not None and bool(followed.chat)
        return super().check_action(action, parameters)


def _running(followed: Followed) -> bool:
    return any(turn.running for turn in followed.chat)


def conversation(followed: Followed) -> list[dict[str, str]]:
    """All turns that came to an answer, and the question that has none yet."""
    messages: list[dict[str, str]] = []
    for turn in followed.chat:
        # Where all text is taken for reasoning, that is the answer.
        answer = turn.answer or turn.reasoning
        if answer and not turn.running:
            messages.append({"role": "user", "content": turn.question})
            messages.append({"role": "assistant", "content": answer})
    if followed.chat and followed.chat[-1].running:
        messages.append({"role": "user", "content": followed.chat[-1].question})
    return messages


def last_call(followed: Followed) -> Messages:
    """What was sent last, or a first question where nothing was."""
    messages = conversation(followed)
    while messages and messages[-1]["role"] != "user":
        messages.pop()
    return messages or QUESTION
