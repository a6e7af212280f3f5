"""The OpenAI API's messages: requests to send, and answers folded into a `StreamResult`.

Nothing here does I/O, so every way to the endpoint (httpx, a command on the machine, a socket)
measures and judges alike.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from gdl.domain.chat import ChatMessage
from gdl.domain.errors import KeyRefused, VerificationError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.secret import Secret
from gdl.domain.text import block, one_line, visible

CHAT = "chat"
COMPLETIONS = "completions"
PATHS = {CHAT: "/v1/chat/completions", COMPLETIONS: "/v1/completions"}

TEXT_LIMIT = 200_000
"""Characters kept of one answer."""
_NOT_OPENAI = "something other than the model server listens on this port"
CLOSED = "the connection was closed in the middle"
CLOSED_AT_ONCE = "nothing answers: the connection was closed before anything came"
_KEY_REFUSED = ("http_401", "http_403")


@dataclass(frozen=True, slots=True)
class StreamResult:
    """One request and its answer. Times count from the moment of sending, in milliseconds.

    ttft_ms: to the first chunk with choices; None without one, or when nothing was streamed.
    e2el_ms: to the last chunk with choices; to the failure when there was one.
    itls_ms: the gaps between those chunks. Token counts come from `usage`, None without it.
    error: one line, "" on success; kind: its stable name (refused, closed, timeout, http_NNN,
    stream, truncated, protocol, empty, ssh). reasoning: what a reasoning parser split off.
    """

    text: str
    ttft_ms: float | None
    e2el_ms: float
    itls_ms: tuple[float, ...]
    input_tokens: int | None
    output_tokens: int | None
    finish_reason: str | None
    error: str
    kind: str = ""
    reasoning: str = ""

    @property
    def ok(self) -> bool:
        return not self.error

    @property
    def answer(self) -> str:
        """The text, or the reasoning when the answer did not get beyond it."""
        return self.text if self.text.strip() else self.reasoning


class Fault(Exception):
    """A request that failed: the error and kind of the `StreamResult` to be."""

    def __init__(self, kind: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.message = one_line(message)
        self.hint = hint

    def without(self, key: Secret) -> Fault:
        """The same with our key made unreadable."""
        return Fault(self.kind, redact(self.message, key), self.hint)

    def as_error(self) -> VerificationError:
        kind = KeyRefused if self.kind in _KEY_REFUSED else VerificationError
        return kind(self.message, self.hint)


def redact(text: str, key: Secret) -> str:
    """An error's text without our key, which a server may well send back to us. For errors
    alone: a key of one letter would eat holes into any JSON."""
    return text.replace(key.reveal(), "***") if key else text


def failed(fault: Fault, e2el_ms: float = 0.0) -> StreamResult:
    """The result of a request that brought nothing."""
    return StreamResult("", None, e2el_ms, (), None, None, None, fault.message, fault.kind)


Prompt = str | Sequence[ChatMessage]
"""One question, or a conversation that ends with one."""


COMPLETION_TOKENS = 1024
"""Of a plain completion for which nothing is asked: servers would end it after 16, and a model that
does not know conversations ends none by itself."""


def request_body(
    mode: str, model: str, prompt: Prompt, sampling: Mapping[str, float | int], *, stream: bool
) -> dict[str, Any]:
    """What is sent. A model without a chat template gets a conversation as a play's script.
    sampling: by the API's names."""
    messages = [ChatMessage("user", prompt)] if isinstance(prompt, str) else prompt
    body: dict[str, Any] = {"model": model, **sampling}
    if mode == CHAT:
        body["messages"] = [{"role": m.role, "content": m.content} for m in messages]
    else:
        body["prompt"] = prompt if isinstance(prompt, str) else _script(messages)
        body.setdefault("max_tokens", COMPLETION_TOKENS)
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def _script(messages: Sequence[ChatMessage]) -> str:
    # A system prompt is what stands above a play.
    lines = [
        f"{message.content}\n" if message.role == "system"
        else f"{message.role.capitalize()}: {message.content}"
        for message in messages
    ]  # fmt: skip
    return "\n".join([*lines, "Assistant:"])


def lacks_chat_template(status: int, body: str) -> bool:
    """True when the model cannot chat: newer servers answer 400, some releases 500."""
    return status in (400, 500) and "chat template" in body.lower()


def error_text(body: str) -> str:
    """The message in an error's body, in any of the forms servers use; "" when there is none."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        # A page of HTML says nothing that the status does not.
        return "" if body.lstrip().startswith("<") else one_line(body)
    if isinstance(data, dict):
        for key in ("error", "message", "detail"):
            value = data.get(key)
            if isinstance(value, dict):
                value = value.get("message")
            if isinstance(value, str) and value.strip():
                return one_line(value)
    return ""


def status_fault(status: int, body: str) -> Fault:
    """What an answer with an HTTP status other than 200 means."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "unknown status"
    hints = {
        401: "the endpoint does not take this key: use the one it was started with",
        403: "the endpoint does not take this key: use the one it was started with",
        404: "no OpenAI endpoint answers here, or it does not serve this model",
        429: "the server is busy: try again with less load",
    }
    hint = hints.get(status, "the server's log says more" if status >= 500 else "")
    if 300 <= status < 400:
        hint = _NOT_OPENAI
    return Fault(f"http_{status}", f"HTTP {status}: {error_text(body) or phrase}", hint)


def served_models(body: str) -> dict[str, int | None]:
    """The ids in the answer of /v1/models, each with the longest context in tokens where that is
    told. Raises Fault when it is none."""
    try:
        entries = json.loads(body)["data"]
        found = {entry["id"]: _longest_context(entry) for entry in entries}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Fault("protocol", "no list of models: " + _quote(body), _NOT_OPENAI) from None
    if not all(isinstance(name, str) for name in found):
        raise Fault("protocol", "no list of models: " + _quote(body), _NOT_OPENAI)
    return {one_line(name): token_count(context, None) for name, context in found.items()}


def _longest_context(entry: Any) -> Any:
    """As most servers tell it, or as llama.cpp does: of one slot."""
    meta = entry.get("meta")
    return entry.get("max_model_len", meta.get("n_ctx") if isinstance(meta, dict) else None)


def whole_answer(body: str, e2el_ms: float) -> StreamResult:
    """The result of an answer that was not streamed; it has no TTFT. Raises Fault."""
    data = json_object(body)
    reader = ChunkReader(0.0)
    try:
        choice = data["choices"][0]
        message = choice.get("message") or {"content": choice.get("text")}
        reader.take({"choices": [{"delta": message, "finish_reason": choice["finish_reason"]}]})
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Fault("protocol", "an answer without choices: " + _quote(body)) from None
    reader.take({"usage": data.get("usage")})
    return reader.whole(e2el_ms)


class ChunkReader:
    """Folds the `data:` payloads of one streamed answer into a `StreamResult`.

    Times are those of `time.perf_counter`, in seconds; `sent_at` is when the request went out.
    on_text gets each new piece of text, without control characters; on_reasoning those of what the
    model thinks before it answers.
    """

    def __init__(
        self,
        sent_at: float,
        on_text: Callable[[str], None] | None = None,
        on_reasoning: Callable[[str], None] | None = None,
    ) -> None:
        self.done = False
        self._sent_at = sent_at
        self._on_text = on_text
        self._on_reasoning = on_reasoning
        self._first: float | None = None
        self._last = sent_at
        self._itls: list[float] = []
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._kept = 0
        self._input: int | None = None
        self._output: int | None = None
        self._finish: str | None = None

    def feed(self, data: str, at: float) -> None:
        """One payload, as received at `at`. Raises Fault on an error object or on nonsense."""
        if data.strip() == "[DONE]":
            self.done = True
            return
        payload = json_object(data)
        if payload.get("error") or payload.get("object") == "error":
            raise Fault("stream", "the server gave up: " + (error_text(data) or "no reason given"))
        if payload.get("choices"):
            if self._first is None:
                self._first = at
            else:
                self._itls.append((at - self._last) * 1000)
            self._last = at
        self.take(payload)

    def take(self, payload: dict[str, Any]) -> None:
        """The content of one payload, without its time."""
        choices, usage = payload.get("choices"), payload.get("usage")
        if choices:
            if not (isinstance(choices, list) and isinstance(choices[0], dict)):
                raise Fault("protocol", "a chunk with malformed choices")
            self._take_choice(choices[0])
        if isinstance(usage, dict):
            self._input = token_count(usage.get("prompt_tokens"), self._input)
            self._output = token_count(usage.get("completion_tokens"), self._output)

    def _take_choice(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            delta = {"content": choice.get("text")}
        if isinstance(reason := choice.get("finish_reason"), str):
            self._finish = one_line(reason, 40)
        for piece, pieces, told in (
            (reasoning_of(delta), self._reasoning, self._on_reasoning),
            (delta.get("content"), self._text, self._on_text),
        ):
            if isinstance(piece, str) and piece and self._kept < TEXT_LIMIT:
                self._kept += len(piece)
                pieces.append(piece)
                if told:
                    told(visible(piece))

    def result(self, at: float, fault: Fault | None = None) -> StreamResult:
        """What has come so far. `at`: when it ended, which counts only for a failure."""
        if fault is None and not self.done:
            fault = Fault("truncated", "the answer broke off: its stream ended before [DONE]")
        if fault is None and self._first is None:
            fault = Fault("empty", "the answer was empty")
        end = self._last if fault is None else at
        return self._build((end - self._sent_at) * 1000, fault)

    def whole(self, e2el_ms: float) -> StreamResult:
        """The same for an answer that came in one piece."""
        return self._build(e2el_ms, None)

    def _build(self, e2el_ms: float, fault: Fault | None) -> StreamResult:
        return StreamResult(
            text=block("".join(self._text), TEXT_LIMIT),
            ttft_ms=None if self._first is None else (self._first - self._sent_at) * 1000,
            e2el_ms=e2el_ms,
            itls_ms=tuple(self._itls),
            input_tokens=self._input,
            output_tokens=self._output,
            finish_reason=self._finish,
            error=fault.message if fault else "",
            kind=fault.kind if fault else "",
            reasoning=block("".join(self._reasoning), TEXT_LIMIT),
        )


def reasoning_of(message: dict[str, Any]) -> Any:
    """What a message or a part of one says that the model thinks. Older servers have it in
    `reasoning_content`, newer ones in `reasoning`, and some in both."""
    return message.get("reasoning") or message.get("reasoning_content")


def json_object(text: str) -> dict[str, Any]:
    """A body that is to be a JSON object. Raises Fault."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise Fault("protocol", "not JSON: " + _quote(text), _NOT_OPENAI) from None
    if not isinstance(data, dict):
        raise Fault("protocol", "not a JSON object: " + _quote(text), _NOT_OPENAI)
    return data


def _quote(text: str) -> str:
    return repr(one_line(text, 80))


def token_count(value: object, otherwise: int | None) -> int | None:
    """What a server says that it counted; `otherwise` when that is no sane number."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9:
        return value
    return otherwise
