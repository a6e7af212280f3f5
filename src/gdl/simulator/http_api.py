"""The HTTP side of the simulated service: routes, error bodies, and answers that go wrong."""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gdl.simulator import billing_records
from gdl.simulator.fault_draws import Draws
from gdl.simulator.fault_models import Http, Operation
from gdl.simulator.market import Market
from gdl.simulator.scripted_answers import Canned, Received, received
from gdl.simulator.wire_format import API, Json, Query, Refusal, new_request_id, rfc3339
from gdl.simulator.wrong_answers import Cut, WrongAnswers, needs_answer

_BODY_LIMIT = 2**20
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_REMEMBERED = 10_000
"""Requests that are kept, to be looked at."""
_ERRORS = {429: "rate limit exceeded", 500: "internal server error"}

Handler = Callable[[Request, Json], Awaitable[tuple[int, Json]]]


class _Json(JSONResponse):
    media_type = "application/json; charset=utf-8"


class Api:
    """The application. about: what `/sandbox` tells, which the real service does not have."""

    def __init__(self, market: Market, draws: Draws, about: Json, cut: Cut, hang_s: float) -> None:
        self._market = market
        self._draws = draws
        self._about = about
        self._wrong_answers = WrongAnswers(cut, hang_s)
        self.benchmarks = billing_records.Benchmarks()
        self.requests = 0
        self.received: deque[Received] = deque(maxlen=_REMEMBERED)
        """The latest requests to the routes of the service, oldest first."""
        self.canned: Canned | None = None
        self.ready = True
        """What /ready says, until the service closes."""

    def close(self) -> None:
        """End requests that hang, and say so at /ready."""
        self._wrong_answers.closing.set()

    def app(self) -> Starlette:
        table: list[tuple[str, str, Operation, Handler]] = [
            ("GET", "/health", "health", self._health),
            ("GET", "/ready", "health", self._ready),
            ("GET", f"{API}/inventory", "inventory", self._inventory),
            ("GET", f"{API}/inventory/{{id:path}}", "offer", self._offer),
            ("GET", f"{API}/offer-health", "offer-health", self._offer_health),
            ("POST", f"{API}/sessions", "create", self._create),
            ("GET", f"{API}/sessions", "sessions", self._sessions),
            ("GET", f"{API}/sessions/{{id}}", "session", self._session),
            ("DELETE", f"{API}/sessions/{{id}}", "delete", self._delete),
            ("POST", f"{API}/sessions/{{id}}/done", "done", self._done),
            ("POST", f"{API}/sessions/{{id}}/extend", "extend", self._extend),
            ("GET", f"{API}/sessions/{{id}}/diagnostics", "diagnostics", self._diagnostics),
            ("GET", f"{API}/costs", "costs", self._costs),
            ("GET", f"{API}/costs/summary", "costs", self._summary),
            ("POST", f"{API}/benchmarks", "benchmarks", self._add_benchmark),
            ("GET", f"{API}/benchmarks", "benchmarks", self._list_benchmarks),
            ("GET", f"{API}/benchmarks/{{which}}", "benchmarks", self._chosen_benchmark),
            ("GET", f"{API}/templates", "templates", self._templates),
            ("GET", f"{API}/templates/{{hash}}", "templates", self._template),
        ]
        routes = [
            Route(path, self._endpoint(operation, handler), methods=[method])
            for method, path, operation, handler in table
        ]
        routes += [
            Route("/metrics", self._metrics, methods=["GET"]),
            Route("/sandbox", self._sandbox, methods=["GET"]),
        ]
        return Starlette(
            routes=routes,
            exception_handlers={404: self._no_route, 405: self._no_route},
        )

    # -- one request -----------------------------------------------------------------------------

    def _endpoint(
        self, operation: Operation, handler: Handler
    ) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            self.requests += 1
            sent = request.headers.get("x-request-id", "")
            ident = sent if _REQUEST_ID.fullmatch(sent) else new_request_id()
            raw = await _read_body(request)
            self.received.append(received(request, raw))
            if self.canned is not None and self.canned.on in (None, operation):
                return self.canned.response()
            fault = self._draws.of_request(operation)
            if fault is None:
                response = await self._answer(request, raw, handler, ident)
            else:
                response = await self._wrong(request, raw, handler, ident, fault)
            response.headers["X-Request-ID"] = ident
            response.headers["Date"] = format_datetime(datetime.now(UTC), usegmt=True)
            return response

        return endpoint

    async def _answer(
        self, request: Request, raw: bytes | None, handler: Handler, ident: str
    ) -> Response:
        try:
            work = handler(request, _parsed(raw))
            status, answer = await _while_connected(request, work)
            return _Json(answer, status)
        except Refusal as refusal:
            return _Json(refusal.body(ident), refusal.status)

    async def _wrong(
        self, request: Request, raw: bytes | None, handler: Handler, ident: str, fault: Http
    ) -> Response:
        if fault.answer == "lies":
            answer = {"message": "session destroyed", "session_id": request.path_params.get("id")}
            return _Json(answer)
        done = needs_answer(fault)
        good = await self._answer(request, raw, handler, ident) if done else None
        return await self._wrong_answers.response(
            request, fault, good, lambda one: _refused(one, ident)
        )

    async def _no_route(self, request: Request, error: Exception) -> Response:
        return PlainTextResponse("404 page not found", 404)

    # -- handlers --------------------------------------------------------------------------------

    async def _health(self, request: Request, body: Json) -> tuple[int, Json]:
        services = {"inventory": "ok", "lifecycle": "running", "ready": "true"}
        return 200, {"status": "ok", "timestamp": _now(), "services": services}

    async def _ready(self, request: Request, body: Json) -> tuple[int, Json]:
        ready = self.ready and not self._wrong_answers.closing.is_set()
        return 200 if ready else 503, {"ready": ready, "timestamp": _now()}

    async def _inventory(self, request: Request, body: Json) -> tuple[int, Json]:
        return 200, self._market.inventory.show(_query(request))

    async def _offer(self, request: Request, body: Json) -> tuple[int, Json]:
        return 200, self._market.inventory.one(request.path_params["id"])

    async def _offer_health(self, request: Request, body: Json) -> tuple[int, Json]:
        return 200, self._market.inventory.health()

    async def _create(self, request: Request, body: Json) -> tuple[int, Json]:
        return 201, await self._market.create(body)

    async def _sessions(self, request: Request, body: Json) -> tuple[int, Json]:
        return 200, self._market.list_sessions(_query(request))

    async def _session(self, request: Request, body: Json) -> tuple[int, Json]:
        return 200, self._market.show(request.path_params["id"])

    async def _delete(self, request: Request, body: Json) -> tuple[int, Json]:
        return 200, await self._market.destroy(request.path_params["id"])

    async def _done(self, request: Request, body: Json) -> tuple[int, Json]:
        return 200, await self._market.done(request.path_params["id"])

    async def _extend(self, request: Request, body: Json) -> tuple[int, Json]:
        return 200, self._market.extend(request.path_params["id"], body)

    async def _diagnostics(self, request: Request, body: Json) -> tuple[int, Json]:
        return 200, self._market.diagnostics(request.path_params["id"])

    async def _costs(self, request: Request, body: Json) -> tuple[int, Json]:
        return 200, billing_records.costs(self._market.rents(), _query(request))

    async def _summary(self, request: Request, body: Json) -> tuple[int, Json]:
        return 200, billing_records.summary(self._market.rents(), _query(request))

    async def _add_benchmark(self, request: Request, body: Json) -> tuple[int, Json]:
        return 201, self.benchmarks.add(body)

    async def _list_benchmarks(self, request: Request, body: Json) -> tuple[int, Json]:
        return 200, self.benchmarks.show(_query(request))

    async def _chosen_benchmark(self, request: Request, body: Json) -> tuple[int, Json]:
        which = request.path_params["which"]
        if which not in ("best", "cheapest", "compare", "recommendations"):
            raise Refusal(404, "record not found")
        return 200, self.benchmarks.chosen(which, _query(request))

    async def _templates(self, request: Request, body: Json) -> tuple[int, Json]:
        return 200, {
            "templates": list(billing_records.TEMPLATES),
            "count": len(billing_records.TEMPLATES),
        }

    async def _template(self, request: Request, body: Json) -> tuple[int, Json]:
        wanted = request.path_params["hash"]
        for template in billing_records.TEMPLATES:
            if template["hash_id"] == wanted:
                return 200, template
        raise Refusal(404, f"template not found: {wanted}")

    async def _metrics(self, request: Request) -> Response:
        running = sum(s.status == "running" for s in self._market.sessions.values())
        return PlainTextResponse(
            "# A simulated service.\n"
            f"gpu_shopper_sessions_total {len(self._market.sessions)}\n"
            f"gpu_shopper_sessions_running {running}\n"
            f"gpu_shopper_http_requests_total {self.requests}\n"
        )

    async def _sandbox(self, request: Request) -> Response:
        return _Json({**self._about, "rented": self._market.rented()})


def _now() -> str:
    return rfc3339(datetime.now(UTC))


def _query(request: Request) -> Query:
    return Query(dict(request.query_params))


async def _read_body(request: Request) -> bytes | None:
    """None for a body that is too long."""
    if request.method in ("GET", "DELETE"):
        return b""
    raw = b""
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _BODY_LIMIT:
            return None
    return raw


def _parsed(raw: bytes | None) -> Json:
    if raw is None:
        raise Refusal(413, "http: request body too large")
    if not raw:
        return {}
    try:
        body = json.loads(raw)
    except ValueError:
        raise Refusal(400, "invalid request body: not JSON") from None
    if not isinstance(body, dict):
        raise Refusal(400, "invalid request body: not an object")
    return cast(Json, body)


def _refused(fault: Http, ident: str) -> Response:
    """In the service's own words; what only marketplaces answer is an error of its own here."""
    status = int(fault.answer) if fault.answer.isdigit() else 500
    error = fault.error or _ERRORS.get(status, fault.answer)
    return _Json(Refusal(status, error).body(ident), status)


async def _while_connected(request: Request, work: Awaitable[tuple[int, Json]]) -> tuple[int, Json]:
    """The result of `work`, which is cancelled when the client goes away, as the service does."""
    task: asyncio.Future[Any] = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Refusal(499, "client closed request")
        return cast("tuple[int, Json]", task.result())
    finally:
        for future in (task, gone):
            future.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
