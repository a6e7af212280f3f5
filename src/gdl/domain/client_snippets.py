"""Lines to paste that use a served model from elsewhere. None of them ever holds the key: it is
read from its file when they run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from gdl.domain.lazy_dataclass import dataclass

Messages = Sequence[dict[str, str]]
"""A conversation as the API takes it."""
QUESTION: Messages = ({"role": "user", "content": "What is 2 + 2?"},)
"""What the lines ask, where nothing else is to be asked."""
FORMATS = ("sh", "curl", "python", "litellm")


@dataclass(frozen=True, slots=True)
class Call:
    """url: as OpenAI clients want it, ending in /v1. key_file: "" where the key is not in a file
    of ours; then OPENAI_API_KEY has to hold it."""

    url: str
    model: str
    key_file: str = ""

    @property
    def root(self) -> str:
        """The URL as Anthropic's clients want it: without /v1, which they add."""
        return self.url.removesuffix("/v1")

    def lines(self, form: str, messages: Messages = QUESTION) -> str:
        """In one of `FORMATS`; KeyError for another."""
        makers = {
            "sh": lambda _messages: self._exports(),
            "curl": self._curl,
            "python": self._python,
            "litellm": self._litellm,
        }
        return makers[form](messages)

    def _exports(self) -> str:
        line = f"export OPENAI_BASE_URL={shlex.quote(self.url)}"
        line += f" OPENAI_MODEL={shlex.quote(self.model)}"
        return line + (f' OPENAI_API_KEY="{self.key_in_shell}"' if self.key_file else "")

    def _curl(self, messages: Messages) -> str:
        body = json.dumps({"model": self.model, "messages": list(messages)})
        return (
            f"curl {shlex.quote(self.url + '/chat/completions')}"
            f' -H "Authorization: Bearer {self.key_in_shell}"'
            f' -H "Content-Type: application/json" -d {shlex.quote(body)}'
        )

    def _python(self, messages: Messages) -> str:
        imports, key = self._key_in_python
        return (
            f"{imports}\n\nfrom openai import OpenAI\n\n"
            f"client = OpenAI(base_url={self.url!r}, api_key={key})\n"
            "answer = client.chat.completions.create(\n"
            f"    model={self.model!r},\n    messages={list(messages)!r},\n)\n"
            "print(answer.choices[0].message.content)\n"
        )

    def _litellm(self, messages: Messages) -> str:
        imports, key = self._key_in_python
        return (
            f"{imports}\n\nfrom litellm import completion\n\n"
            "answer = completion(\n"
            f"    model={'openai/' + self.model!r},\n    api_base={self.url!r},\n"
            f"    api_key={key},\n    messages={list(messages)!r},\n)\n"
            "print(answer.choices[0].message.content)\n"
        )

    @property
    def key_in_shell(self) -> str:
        """Between double quotes."""
        return f"$(cat {shlex.quote(self.key_file)})" if self.key_file else "$OPENAI_API_KEY"

    @property
    def _key_in_python(self) -> tuple[str, str]:
        """(the import that is needed, an expression)."""
        if not self.key_file:
            return "import os", 'os.environ["OPENAI_API_KEY"]'
        return "from pathlib import Path", f"Path({self.key_file!r}).read_text().strip()"
