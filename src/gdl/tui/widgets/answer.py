"""A model's answer as Markdown, drawn as it grows. What a model writes is hostile text."""

from __future__ import annotations

import asyncio
import time

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Markdown
from textual.widgets.markdown import MarkdownBlock, MarkdownFence
from textual.worker import Worker

from gdl.domain.text import visible
from gdl.presentation.lines import plain_block
from gdl.tui.widgets.live_text import LiveText

DRAWN_LINES, DRAWN_CHARACTERS = 600, 60_000
"""Of an answer that are drawn as Markdown: each line can become several widgets. The rest is shown
as it came."""
_CELLS = 4
"""Cells of a table that count as a line."""
_HIGHLIGHTED = 20_000
"""Characters of a code block up to which it is coloured."""
_LONGEST_PAUSE_S = 0.2
"""After a piece nothing is drawn for as long as it took, up to this: keys come first."""


class CodeFence(MarkdownFence):
    """Coloured where its language is named and it is short; guessing takes longer than drawing."""

    @classmethod
    def highlight(cls, code: str, language: str, ansi: bool = False, dark: bool = False) -> Content:
        words = language.split()
        if not words or len(code) > _HIGHLIGHTED:
            return Content(code)
        return super().highlight(code, words[0], ansi, dark)


class AnswerMarkdown(Markdown):
    """Textual's, with nothing to click: a link's address stands behind it, HTML is text."""

    def get_block_class(self, block_name: str) -> type[MarkdownBlock]:
        found = super().get_block_class(block_name)
        return CodeFence if found is MarkdownFence else found

    def __init__(self) -> None:
        super().__init__(parser_factory=parser, open_links=False)


def parser() -> MarkdownIt:
    """Of GitHub's Markdown without HTML and without links that can be followed."""
    made = MarkdownIt("gfm-like", {"html": False})
    made.core.ruler.push("addresses", _addresses)
    return made


def _addresses(state: StateCore) -> None:
    for token in state.tokens:
        token.content = visible(token.content)
        if token.children is not None:
            token.children = _without_links(token.children)


def _without_links(tokens: list[Token]) -> list[Token]:
    """Links and images as text, each with its address behind it. Entities such as `&#x202e;` may
    have become what nobody sees."""
    found: list[Token] = []
    links: list[tuple[str, int]] = []
    for token in tokens:
        token.content = visible(token.content)
        if token.type == "link_open":
            links.append((str(token.attrs.get("href", "")), len(found)))
        elif token.type == "link_close" and links:
            address, since = links.pop()
            said = "".join(each.content for each in found[since:])
            if address not in (said, f"http://{said}", f"mailto:{said}"):
                found.append(_text(f" ({visible(address)})"))
        elif token.type == "image":
            named = f"image: {token.content}" if token.content else "image"
            found.append(_text(f"[{named}] ({visible(str(token.attrs.get('src', '')))})"))
        else:
            found.append(token)
    return found


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def drawn_length(text: str) -> int:
    """How much of an answer is drawn as Markdown: whole lines from its beginning."""
    length = lines = 0
    for line in text.split("\n"):
        lines += 1 + line.count("|") // _CELLS
        length += len(line) + 1
        if lines > DRAWN_LINES or length > DRAWN_CHARACTERS:
            return max(length - len(line) - 2, 0)
    return len(text)


class Answer(Vertical):
    """Give it the answer so far by `show`; what is new is drawn soon."""

    def __init__(self) -> None:
        super().__init__(classes="answer")
        self._text = ""
        self._drawn = self._as_markdown = 0
        self._worker: Worker[None] | None = None
        self._new = asyncio.Event()

    def compose(self) -> ComposeResult:
        yield AnswerMarkdown()
        yield LiveText(classes="answer-rest")

    def has_drawn(self, text: str) -> bool:
        """Whether it was given this, and all of it is drawn."""
        return self._text == text and self._drawn == len(text)

    def show(self, text: str) -> None:
        """Show this, which begins with what was shown before."""
        if len(text) == len(self._text) or not self.is_mounted:
            return
        self._text = text
        self._new.set()
        if self._worker is None or self._worker.is_finished:
            self._worker = self.run_worker(self._draw(), group="answer")

    async def _draw(self) -> None:
        """Draw what is new, several pieces at once where they come quicker than that."""
        markdown = self.query_one(AnswerMarkdown)
        while self._drawn < len(self._text):
            self._new.clear()
            text = self._text
            began = time.perf_counter()
            # A line that was drawn stays so, however long it grows.
            upto = max(drawn_length(text), self._as_markdown)
            if self._as_markdown < upto:
                await markdown.append(text[self._as_markdown : upto])
                self._as_markdown = upto
            if upto < len(text):
                rest = "… the rest, not formatted:\n" + plain_block(text[upto:], len(text))
                below = self.query_one(".answer-rest", LiveText)
                below.say(rest)
                below.display = True
            self._drawn = len(text)
            await asyncio.sleep(min(time.perf_counter() - began, _LONGEST_PAUSE_S))
