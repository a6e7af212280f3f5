"""What a test may order of the simulated vLLM server, and see of what was asked.

Standard library only: it runs on the simulated machine.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from .vllm_http import Request
from .vllm_parsers import CALLS

NO_TEMPLATE = (
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a "
    "chat template if the tokenizer does not define one."
)
_REMEMBERED = 1000


@dataclass
class Script:
    """Everything may be changed while it runs, and holds for the requests that come after.

    answers: (part of a prompt -> answer); default_answer for all others, None: made up as usual.
    first_delay_s, token_delay_s: the least before and between tokens; None: as of the simulated
    GPU. statuses: (path -> (status, body))
    answered in place of what the path would do. fail_next: as many generation requests get an HTTP
    500. thinks: what the model thinks before an answer; "": it does not reason. tool_habit: what it
    does with tools (vllm_parsers.py).
    usage: whether tokens are counted. After `*_after` tokens of a stream: truncate ends it
    without [DONE], reset cuts the connection, stall holds it until the server closes, error puts an
    error object into the stream. raw_events: `data:` payloads to send in place of an answer;
    content_type: what a stream calls itself.

    requests: the latest ones, oldest first. running, most_running: generations at a time.
    """

    answers: dict[str, str] = field(default_factory=dict)
    default_answer: str | None = None
    first_delay_s: float | None = None
    token_delay_s: float | None = None
    health_status: int = 200
    chat_template: bool = True
    thinks: str = ""
    tool_habit: str = CALLS
    usage: bool = True
    statuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    fail_next: int = 0
    truncate_after: int | None = None
    reset_after: int | None = None
    stall_after: int | None = None
    error_after: int | None = None
    raw_events: list[str] | None = None
    content_type: str = "text/event-stream; charset=utf-8"

    requests: deque[Request] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    running: int = 0
    most_running: int = 0

    def answer_to(self, prompt: str) -> str | None:
        """None: nothing was ordered."""
        found = next((text for part, text in self.answers.items() if part in prompt), None)
        return self.default_answer if found is None else found
