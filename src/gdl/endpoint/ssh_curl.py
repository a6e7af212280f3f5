"""The served model asked by commands on the machine: for hosts that refuse port forwarding."""

from __future__ import annotations

import json
import shlex
from typing import Any

from gdl.domain.chat import ChatOptions
from gdl.domain.engine import USUAL_READINESS, Readiness
from gdl.domain.errors import GdlError
from gdl.domain.host import CommandResult, CommandRunner
from gdl.domain.secret import Secret
from gdl.domain.text import one_line
from gdl.endpoint.protocol import (
    CHAT,
    CLOSED,
    CLOSED_AT_ONCE,
    COMPLETIONS,
    PATHS,
    Fault,
    Prompt,
    StreamResult,
    failed,
    lacks_chat_template,
    redact,
    request_body,
    served_models,
    status_fault,
    whole_answer,
)

_QUICK_S = 10.0
_LONG_S = 600.0
"""For the answer of a conversation, which comes whole."""
_MARGIN_S = 10.0
"""What the SSH connection may add to a request's own time."""
_ANSWER_LIMIT = 16 * 2**20

# Speaks as curl does below: the body, then a line with status and seconds; exit 7 when refused,
# 28 when the time is over, 56 for anything else.
_PYTHON = """
import json, sys, time, urllib.request as u, urllib.error as e
q = json.load(sys.stdin)
data = None if q["body"] is None else q["body"].encode()
r = u.Request(q["url"], data, q["headers"])
t = time.time()
try:
    try:
        a = u.build_opener(u.ProxyHandler({})).open(r, timeout=q["timeout"])
    except e.HTTPError as x:
        a = x
    body = a.read(q["limit"])
except Exception as x:
    text = str(x)
    sys.stderr.write(text[:500])
    sys.exit(28 if "timed out" in text else 7 if "refused" in text else 56)
sys.stdout.write("%s\\n%d %f" % (body.decode("utf-8", "replace"), a.code, time.time() - t))
"""


class SshCurl:
    """Asks 127.0.0.1:`port` on the machine with curl, or with Python's urllib without curl.

    The key and the request travel on standard input, so no list of processes shows them.
    python: the interpreter to use where curl is missing. Answers come whole, so there is no TTFT
    and E2EL is measured on the machine. mode: as in EndpointClient.
    """

    def __init__(
        self,
        runner: CommandRunner,
        port: int,
        api_key: Secret,
        *,
        readiness: Readiness = USUAL_READINESS,
        timeout_s: float = 120.0,
        python: str = "python3",
    ) -> None:
        self.readiness = readiness
        self.timeout_s = timeout_s
        self.mode = CHAT
        self._runner = runner
        self._base_url = f"http://127.0.0.1:{int(port)}"
        self._key = api_key
        self._python = python
        self._tool = ""

    async def health(self) -> int:
        """The HTTP status with which the server tells how it is. Raises VerificationError when
        nothing answers, SshError when the machine cannot be reached."""
        try:
            status, _, _ = await self._request(self.readiness.path, None, _QUICK_S)
        except Fault as fault:
            raise fault.without(self._key).as_error() from None
        return status

    async def models(self) -> dict[str, int | None]:
        """The served models, each with its longest context. Raises as `health`."""
        try:
            status, body, _ = await self._request("/v1/models", None, _QUICK_S)
            if status != 200:
                raise status_fault(status, redact(body, self._key))
            return served_models(body)
        except Fault as fault:
            raise fault.without(self._key).as_error() from None

    async def chat(
        self,
        model: str,
        prompt: Prompt,
        *,
        max_tokens: int | None = None,
        options: ChatOptions | None = None,
    ) -> StreamResult:
        """Ask, and wait for the whole answer. Never raises for what can go wrong on the way.
        options: in place of max_tokens, for an answer that may take longer."""
        limit_s = self.timeout_s if options is None else max(self.timeout_s, _LONG_S)
        if options is None:
            options = ChatOptions(temperature=0.0, max_tokens=max_tokens)
        try:
            return await self._ask(model, prompt, options, limit_s)
        except Fault as fault:
            return failed(fault.without(self._key))
        except GdlError as error:
            return failed(Fault("ssh", error.message, error.hint))

    async def complete(self, body: dict[str, Any]) -> str:
        """The answer to a request for a chat's completion. Raises Fault for anything but an HTTP
        200."""
        try:
            status, text, _ = await self._request(PATHS[CHAT], body, self.timeout_s)
            if status != 200:
                raise status_fault(status, redact(text, self._key))
        except Fault as fault:
            raise fault.without(self._key) from None
        except GdlError as error:
            raise Fault("ssh", error.message, error.hint) from None
        return text

    async def _ask(
        self, model: str, prompt: Prompt, options: ChatOptions, limit_s: float
    ) -> StreamResult:
        for mode in (self.mode, COMPLETIONS):
            body = request_body(mode, model, prompt, options.sampling, stream=False)
            status, text, e2el_ms = await self._request(PATHS[mode], body, limit_s)
            if mode == CHAT and lacks_chat_template(status, text):
                self.mode = COMPLETIONS
                continue
            break
        if status != 200:
            raise status_fault(status, redact(text, self._key))
        return whole_answer(text, e2el_ms)

    async def _request(
        self, path: str, body: dict[str, object] | None, timeout_s: float
    ) -> tuple[int, str, float]:
        """Status, body and milliseconds of one request. Raises Fault and SshError."""
        if not self._tool:
            self._tool = await self._find_tool()
        headers = {"Authorization": f"Bearer {self._key.reveal()}"} if self._key else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        text = None if body is None else json.dumps(body)
        if self._tool == "curl":
            # -q: the machine's own .curlrc has no say.
            command = "LC_ALL=C exec curl -q -K -"
            given = _curl_config(self._base_url + path, headers, text, timeout_s)
        else:
            command = f"exec {shlex.quote(self._tool)} -c {shlex.quote(_PYTHON)}"
            given = json.dumps(
                {
                    "url": self._base_url + path,
                    "headers": headers,
                    "body": text,
                    "timeout": timeout_s,
                    "limit": _ANSWER_LIMIT,
                }
            )
        result = await self._runner.run(command, timeout=timeout_s + _MARGIN_S, input=given)
        return self._parse(result, timeout_s)

    async def _find_tool(self) -> str:
        python = shlex.quote(self._python)
        found = await self._runner.run(f"command -v curl || command -v {python}", timeout=_QUICK_S)
        if not found.ok or not found.stdout.strip():
            raise Fault(
                "no_tool",
                f"the machine has neither curl nor {self._python}",
                "install curl on it, or allow TCP forwarding in its sshd",
            )
        first = found.stdout.split("\n")[0].strip()
        return "curl" if first.endswith("curl") else self._python

    def _parse(self, result: CommandResult, timeout_s: float) -> tuple[int, str, float]:
        if not result.ok:
            raise self._command_fault(result, timeout_s)
        body, _, last = result.stdout.rpartition("\n")
        try:
            status, seconds = last.split()
            return int(status), body, float(seconds) * 1000
        except ValueError:
            raise Fault("protocol", f"unexpected output of {self._tool} on the machine") from None

    def _command_fault(self, result: CommandResult, timeout_s: float) -> Fault:
        match result.exit_status:
            case 7:
                return Fault("refused", "connection refused", "the server does not listen")
            case 28:
                return Fault("timeout", f"no full answer within {timeout_s:g} s", "is it hanging?")
            case 52:
                return Fault("closed", CLOSED_AT_ONCE)
            case 55 | 56 | 18:
                return Fault("closed", CLOSED)
            case status:
                detail = one_line(redact(result.stderr, self._key)) or "no message"
                return Fault("protocol", f"{self._tool} on the machine failed ({status}): {detail}")


def _curl_config(url: str, headers: dict[str, str], body: str | None, timeout_s: float) -> str:
    """A configuration for `curl -K -`: the request, and an answer that ends in a line with the
    HTTP status and the seconds it took."""
    lines = [
        f"url = {_quoted(url)}",
        'noproxy = "*"',
        "silent",
        "show-error",
        f"max-time = {timeout_s:.3f}",
        f"max-filesize = {_ANSWER_LIMIT}",
        'write-out = "\\n%{http_code} %{time_total}"',
    ]
    lines += [f"header = {_quoted(f'{name}: {value}')}" for name, value in headers.items()]
    if body is not None:
        lines.append(f"data-raw = {_quoted(body)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A word of a curl configuration. A line break would end it, so it is dropped."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + text.replace("\r", "").replace("\n", "") + '"'
