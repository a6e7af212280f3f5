"""Answers that go wrong on their way: cut, halved, late, of another kind. The same for all services
that are simulated; how each of them words an error is its own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from gdl.simulator.fault_models import Http

_JSON = "application/json; charset=utf-8"
_PAGE = b"<html><body><h1>It works!</h1></body></html>"
_GATEWAY = {502: "Bad Gateway", 503: "Service Temporarily Unavailable", 504: "Gateway Time-out"}
_BEGUN = b'{"offers": [{"id": "vastai-1"'
"""Half an answer to a request that nothing was done for."""

Cut = Callable[[tuple[str, int]], None]
"""Resets the connection of the client with that address."""


class WrongAnswers:
    """hang_s: seconds until a request without an answer is cut."""

    def __init__(self, cut: Cut, hang_s: float) -> None:
        self._cut = cut
        self._hang_s = hang_s
        self.closing = asyncio.Event()

    async def response(
        self,
        request: Request,
        fault: Http,
        good: Response | None,
        refused: Callable[[Http], Response],
    ) -> Response:
        """good: the answer there would have been; None: nothing was done. refused: how the service
        words an error."""
        match fault.answer:
            case "timeout":
                try:
                    async with asyncio.timeout(self._hang_s):
                        await self.closing.wait()
                except TimeoutError:
                    pass
                return self._reset(request)
            case "cut":
                return self._reset(request)
            case "garbage":
                return Response(_PAGE, media_type="text/html")
            case "empty":
                return Response(b"", media_type=_JSON)
            case "unrouted":
                return PlainTextResponse("404 page not found", 404)
            case "301":
                return Response(status_code=301, headers={"Location": request.url.path})
            case "truncated":
                return Response(_half(_whole(good)), media_type=_JSON)
            case "short":
                return self._cut_off(request, _whole(good))
            case "incomplete" | "nulled" | "renamed":
                return _changed(good, fault)
            case "502" | "503" | "504":
                status = int(fault.answer)
                page = f"<html><h1>{_GATEWAY[status]}</h1></html>"
                return Response(page, status, media_type="text/html")
        response = refused(fault)
        if fault.retry_after is not None:
            response.headers["Retry-After"] = f"{fault.retry_after:g}"
        return response

    def _cut_off(self, request: Request, whole: bytes) -> Response:
        """Half of what the header promises, and the connection is reset."""

        async def half() -> AsyncIterator[bytes]:
            yield _half(whole)
            self._reset(request)

        length = {"Content-Length": str(len(whole))}
        return StreamingResponse(half(), headers=length, media_type=_JSON)

    def _reset(self, request: Request) -> Response:
        if request.client is not None:
            self._cut((request.client.host, request.client.port))
        return Response(status_code=500)


def needs_answer(fault: Http) -> bool:
    """Whether what was asked for is done, because of it or of `made`."""
    return fault.made or fault.answer in ("incomplete", "nulled", "renamed")


def _whole(good: Response | None) -> bytes:
    return bytes(good.body) if good is not None else _BEGUN


def _half(whole: bytes) -> bytes:
    return whole[: max(len(whole) // 2, 1)]


def _changed(good: Response | None, fault: Http) -> Response:
    """The answer, with the field at `without` omitted, null, or under another name."""
    assert good is not None, "nothing was done, so nothing can be changed"
    body = json.loads(bytes(good.body))
    *outer, last = fault.without.split(".")
    for inside in _found(body, outer):
        if last not in inside:
            continue
        value = inside.pop(last)
        if fault.answer == "nulled":
            inside[last] = None
        elif fault.answer == "renamed":
            inside[f"{last}_v2"] = value
    return Response(json.dumps(body), good.status_code, media_type=_JSON)


def _found(body: Any, path: list[str]) -> list[dict[str, Any]]:
    """The objects at a path, in which `*` stands for each of a list."""
    here: list[Any] = [body]
    for name in path:
        if name == "*":
            here = [each for one in here if isinstance(one, list) for each in one]
        else:
            here = [one[name] for one in here if isinstance(one, dict) and name in one]
    return [one for one in here if isinstance(one, dict)]
