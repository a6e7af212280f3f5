"""The requests' bodies: one conversation's next turn, as the OpenAI API wants it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import orjson

from gdl.endpoint.protocol import CHAT, COMPLETIONS, PATHS
from gdl.loadgen.workload import Conversation


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """mode: "chat" or "completions". ignore_eos: every answer is as long as it may be (an option
    of some engines; others may refuse it). temperature: 0 is the likeliest word each time."""

    model: str
    mode: str = CHAT
    ignore_eos: bool = False
    temperature: float = 0.0

    @property
    def path(self) -> str:
        return PATHS[self.mode]

    def plainly(self) -> RequestTemplate:
        """The same for a model that cannot chat."""
        return replace(self, mode=COMPLETIONS)

    def body(self, conversation: Conversation, answers: tuple[str, ...] = ()) -> bytes:
        """The turn that follows on `answers`, with all that was said before."""
        turns = conversation.turns[: len(answers) + 1]
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": max(turns[-1][1], 1),
            "temperature": self.temperature if math.isfinite(self.temperature) else 0.0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if self.ignore_eos:
            body["ignore_eos"] = True
        said = [conversation.system] if conversation.system else []
        roles = ["system"] if conversation.system else []
        for number, (text, _) in enumerate(turns):
            said.append(text)
            roles.append("user")
            if number < len(answers):
                said.append(answers[number])
                roles.append("assistant")
        if self.mode == CHAT:
            pairs = zip(roles, said, strict=True)
            body["messages"] = [{"role": role, "content": text} for role, text in pairs]
        else:
            body["prompt"] = "\n".join(said)
        return orjson.dumps(body)
