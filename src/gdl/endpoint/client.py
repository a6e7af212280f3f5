"""The served model over HTTP, through the tunnel."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
from httpx_sse import EventSource

from gdl.domain.chat import ChatOptions
from gdl.domain.engine import USUAL_READINESS, Readiness
from gdl.domain.secret import Secret
from gdl.endpoint.bounded_http import (
    ANSWER_LIMIT,
    LIMIT,
    BoundedTransport,
    connect_limit_s,
    time_limits,
    transport_fault,
)
from gdl.endpoint.protocol import (
    CHAT,
    COMPLETIONS,
    PATHS,
    ChunkReader,
    Fault,
    Prompt,
    StreamResult,
    lacks_chat_template,
    redact,
    request_body,
    served_models,
    status_fault,
)
from gdl.endpoint.tls import no_trust_context, tls_context, tls_error_in, tls_fault

__all__ = ["EndpointClient", "StreamResult"]

_LONG_LIMIT = 128 * 2**20
"""The same for an answer without a limit of ours: each token comes in some hundred bytes."""
_QUICK_S = 10.0
"""Limit for how it is and for /v1/models, which need no model to run."""
_DRAIN_S = 1.0
"""For the end of a stream after [DONE], so that the connection can be used again."""


class EndpointClient:
    """An OpenAI-compatible endpoint at `base_url`, such as http://127.0.0.1:PORT.

    readiness: where the server is asked how it is. timeout_s bounds every request as a whole.
    Proxies in the environment are ignored: the endpoint is on this machine's loopback, unless
    `proxy` names one. context: of TLS; None: whom the system trusts. mode: "chat", or
    "completions" once the model has turned out to have no chat template.
    """

    def __init__(
        self,
        base_url: str,
        api_key: Secret,
        *,
        readiness: Readiness = USUAL_READINESS,
        timeout_s: float = 120.0,
        context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.readiness = readiness
        self.timeout_s = timeout_s
        self.mode = CHAT
        self._key = api_key
        headers = {b"Accept-Encoding": b"identity"}
        if api_key:
            headers[b"Authorization"] = f"Bearer {api_key.reveal()}".encode()
        if transport is None:
            # To read the system's certificates takes longer than all else here.
            trusted = context or (
                tls_context() if self.base_url.startswith("https:") else no_trust_context()
            )
            transport = httpx.AsyncHTTPTransport(verify=trusted, proxy=proxy, trust_env=False)
        self._http = httpx.AsyncClient(
            base_url=self.base_url,
            headers=headers,
            timeout=time_limits(timeout_s),
            transport=BoundedTransport(transport),
            trust_env=False,
        )

    async def health(self, *, limit_s: float | None = None) -> int:
        """The HTTP status with which the server tells how it is. Raises VerificationError when
        nothing answers in time."""
        status, _ = await self._get(self.readiness.path, limit_s)
        return status

    async def metrics(self) -> str:
        """What the server tells of itself. Raises VerificationError when there is none."""
        status, body = await self._get(self.readiness.metrics)
        if status != 200:
            raise status_fault(status, "").as_error()
        return body

    async def models(self) -> dict[str, int | None]:
        """The served models, each with its longest context in tokens. Raises VerificationError
        when it cannot be told."""
        status, body = await self._get("/v1/models")
        try:
            if status != 200:
                raise status_fault(status, redact(body, self._key))
            return served_models(body)
        except Fault as fault:
            raise fault.without(self._key).as_error() from None

    async def has(self, path: str) -> bool:
        """Whether the server knows a path to which questions are sent. Raises VerificationError
        when it does not answer."""
        # A path that wants a POST answers a GET with 405, one that is not there with 404.
        status, _ = await self._get(path)
        if status == 404:
            # llama.cpp says that for a GET of any. Without a question nothing is computed.
            status, _ = await self._answer("POST", path, json={})
        return status != 404

    async def chat_stream(
        self,
        model: str,
        prompt: Prompt,
        *,
        max_tokens: int | None = None,
        temperature: float | None = 0.0,
        options: ChatOptions | None = None,
        on_text: Callable[[str], None] | None = None,
        on_reasoning: Callable[[str], None] | None = None,
    ) -> StreamResult:
        """Ask, and read the answer as it comes. Never raises for what the network or the server
        does: that is in the result's `error`, with the text that had come before.

        on_text gets each piece of text at once, on_reasoning each of what is thought before. A
        model without a chat template is asked as plain completion, now and from then on.
        options: in place of max_tokens and temperature, for an answer that may be as long as it
        likes: the time limit is then for each silence of the server.
        """
        if options is None:
            sampling = ChatOptions(max_tokens=max_tokens, temperature=temperature).sampling
        else:
            sampling = options.sampling
        silence_s = None if options is None else self.timeout_s
        while True:
            mode = self.mode
            body = request_body(mode, model, prompt, sampling, stream=True)
            reader = ChunkReader(time.perf_counter(), on_text, on_reasoning)
            fault: Fault | None = None
            try:
                async with self._failures() as deadline:
                    await self._read_stream(PATHS[mode], body, reader, deadline, silence_s)
            except _NoChatTemplate:
                if mode == CHAT:
                    self.mode = COMPLETIONS
                    continue
                fault = Fault("http_400", "the server wants a chat template for a plain completion")
            except Fault as caught:
                # A connection that fails after [DONE] takes nothing away from the answer.
                fault = None if reader.done else caught.without(self._key)
            return reader.result(time.perf_counter(), fault)

    async def complete(self, body: dict[str, Any]) -> str:
        """The answer to a request for a chat's completion, whole. Raises Fault for anything but
        an HTTP 200."""
        try:
            async with self._failures():
                response = await self._http.post(PATHS[CHAT], json=body)
            text = response.content.decode(errors="replace")
            if response.status_code != 200:
                raise status_fault(response.status_code, redact(text, self._key))
        except Fault as fault:
            raise fault.without(self._key) from None
        return text

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _read_stream(
        self,
        path: str,
        body: dict[str, object],
        reader: ChunkReader,
        deadline: asyncio.Timeout,
        silence_s: float | None,
    ) -> None:
        now = asyncio.get_running_loop().time
        headers = {"Accept": "text/event-stream"}
        limits = {LIMIT: ANSWER_LIMIT if silence_s is None else _LONG_LIMIT}
        async with self._http.stream(
            "POST", path, json=body, headers=headers, extensions=limits
        ) as response:
            if response.status_code != 200:
                text = (await response.aread()).decode(errors="replace")
                if lacks_chat_template(response.status_code, text):
                    raise _NoChatTemplate
                raise status_fault(response.status_code, redact(text, self._key))
            async with aclosing(EventSource(response).aiter_sse()) as events:
                async for event in events:
                    if reader.done:
                        continue
                    if event.data:
                        reader.feed(event.data, time.perf_counter())
                    if reader.done:
                        deadline.reschedule(now() + _DRAIN_S)
                    elif silence_s is not None and event.data:
                        deadline.reschedule(now() + silence_s)

    async def _get(self, path: str, limit_s: float | None = None) -> tuple[int, str]:
        return await self._answer("GET", path, limit_s)

    async def _answer(
        self, method: str, path: str, limit_s: float | None = None, json: object = None
    ) -> tuple[int, str]:
        """The status and the text with which something is answered at once."""
        limit = min(limit_s or _QUICK_S, self.timeout_s)
        try:
            async with self._failures(limit):
                response = await self._http.request(
                    method, path, json=json, timeout=time_limits(limit)
                )
        except Fault as fault:
            raise fault.without(self._key).as_error() from None
        return response.status_code, response.content.decode(errors="replace")

    @asynccontextmanager
    async def _failures(self, limit_s: float | None = None) -> AsyncIterator[asyncio.Timeout]:
        """A time limit over what is inside, and every failure of the transport as a Fault."""
        limit = self.timeout_s if limit_s is None else limit_s
        try:
            async with asyncio.timeout(limit) as deadline:
                yield deadline
        except httpx.ConnectTimeout:
            what = "TLS handshake" if self.base_url.startswith("https:") else "connection"
            raise Fault(
                "timeout",
                f"no {what} within {connect_limit_s(limit):g} s",
                "is it the right address? For plain HTTP use http://"
                if what == "TLS handshake"
                else "is it the right address? The tunnel or the server hangs",
            ) from None
        except (TimeoutError, httpx.TimeoutException):
            raise Fault(
                "timeout",
                f"no full answer within {limit:g} s",
                "the server is overloaded or hangs: look at its log and at the GPU",
            ) from None
        except (httpx.HTTPError, OSError) as error:
            if (tls := tls_error_in(error)) is not None:
                where = urlsplit(self.base_url).netloc.rpartition("@")[2]
                raise tls_fault(tls, where) from None
            raise transport_fault(error) from None


class _NoChatTemplate(Exception):
    pass
