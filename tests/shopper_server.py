"""A small cloud-gpu-shopper for tests: its real interface over real HTTP, sessions in memory.

    with FakeShopper() as shopper:
        settings = Settings(shopper_url=shopper.url, ...)

It runs in threads of its own, so that it serves tests with and without an event loop. Trouble is
ordered with `inject(operation, fault)`; see `OPERATIONS` and `FAULTS`.
"""

from __future__ import annotations

import functools
import json
import socket
import struct
import threading
import uuid
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import asyncssh

OPERATIONS = frozenset(
    {
        *("health", "ready", "inventory", "offer", "offer-health", "costs", "benchmarks"),
        *("create", "get", "list", "delete", "done", "extend", "diagnostics"),
    }
)
FAULTS = {
    "html": "200 with an HTML page",
    "empty": "200 with nothing",
    "truncated": "200 with JSON cut off in the middle",
    "short": "fewer bytes than Content-Length says",
    "500": "the service's own 500",
    "429": "the service's own 429, Retry-After: RETRY_AFTER",
    "502": "a gateway's HTML 502",
    "503": "a gateway's HTML 503",
    "504": "a gateway's HTML 504",
    "plain404": "404 page not found, as for an unknown route",
    "hang": "no answer until the server is closed",
    "drop": "the connection is reset before anything is done",
    # create
    "stale": "503 stale_inventory; a failed row stays in the list",
    "gone500": "500 with the marketplace's no_such_ask",
    "no_nodes": "500 with TensorDock's `No available nodes found`",
    "insufficient_disk": "400; a pending row stays in the list and blocks the next create",
    "provision_failed": "500 with that error_type",
    "ssh_timeout": "500 with that error_type",
    "cut": "the session is made, then the connection is reset",
    "made_502": "the session is made, then a gateway answers 502",
    "made_truncated": "the session is made, the answer is cut off",
    "no_key": "201 without the private key",
    "no_id": "201 whose session has no id",
    # delete
    "unverified": "500 failed to verify destruction; the machine stays",
    "lies": "200, but the machine stays",
}
RETRY_AFTER = "1"
"""Seconds, as the fault `429` says them."""
_TERMINAL = ("stopped", "failed")


@functools.cache
def default_key() -> str:
    """One throw-away private key for all fake sessions."""
    return asyncssh.generate_private_key("ssh-ed25519").export_private_key("pkcs8-pem").decode()


def make_offer(ident: str = "vastai-101", **changes: Any) -> dict[str, Any]:
    """An offer as the service sends it."""
    provider = ident.partition("-")[0]
    return {
        "id": ident,
        "provider": provider,
        "provider_id": ident.partition("-")[2],
        "gpu_type": "RTX 3090",
        "gpu_count": 1,
        "vram_gb": 24,
        "price_per_hour": 0.131,
        "location": "Texas, US",
        "reliability": 0.99,
        "available": True,
        "max_duration_hours": 0,
        "fetched_at": rfc3339(datetime.now(UTC)),
        "availability_confidence": 0.994,
        "cuda_version": 12.8,
        "machine_id": f"{provider}-machine-5{ident[-3:]}",
        **changes,
    }


def default_offers() -> list[dict[str, Any]]:
    return [
        make_offer("vastai-201", gpu_type="RTX 3060", vram_gb=12, price_per_hour=0.052),
        make_offer("vastai-202", price_per_hour=0.101),
        make_offer("vastai-101"),
        make_offer("tensordock-301", price_per_hour=0.2),
        make_offer("vastai-102", gpu_type="RTX 4090", price_per_hour=0.302),
        make_offer("vastai-105", gpu_type="H100 SXM", gpu_count=2, vram_gb=79, price_per_hour=4.5),
    ]


def rfc3339(moment: datetime) -> str:
    """With nanoseconds, as Go writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "123Z"


@dataclass(frozen=True)
class Request:
    """One request as it came; `path` without its query."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Canned:
    """The one answer to everything, while `FakeShopper.canned` is set."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class _Reply(Exception):
    """Ends a request with this JSON answer."""

    def __init__(self, status: int, body: dict[str, Any], **headers: str) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers


def _refusal(status: int, error: str, **more: Any) -> _Reply:
    return _Reply(status, {"error": error, "request_id": str(uuid.uuid4()), **more})


class FakeShopper:
    """`ssh`: (host, port, user) and `private_key` (PEM) are what its sessions report.

    polls: reads of a session before it runs. Plain attributes:
    `offers` (wire dicts), `sessions` (wire dicts by id, newest last), `requests` (all that came),
    `failing` (offer id -> error with which its sessions fail), `canned` (see Canned).
    """

    def __init__(
        self,
        *,
        offers: list[dict[str, Any]] | None = None,
        ssh: tuple[str, int, str] = ("127.0.0.1", 22, "root"),
        private_key: str | None = None,
        polls: int = 1,
    ) -> None:
        self.offers = default_offers() if offers is None else offers
        self.ssh = ssh
        self.private_key = private_key or default_key()
        self.polls = polls
        self.sessions: dict[str, dict[str, Any]] = {}
        self.failing: dict[str, str] = {}
        self.requests: list[Request] = []
        self.benchmarks: list[dict[str, Any]] = []
        self.canned: Canned | None = None
        self.ready = True
        self._offer_of: dict[str, str] = {}
        self._polls_left: dict[str, int] = {}
        self._faults: dict[str, deque[str]] = {}
        self._always: dict[str, str] = {}
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    # -- what tests use

    @property
    def url(self) -> str:
        assert self._server is not None, "not started"
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def inject(self, operation: str, fault: str, times: int | None = 1) -> None:
        """The next `times` requests of that kind go wrong; None: all of them."""
        assert operation in OPERATIONS, operation
        assert fault in FAULTS, fault
        with self._lock:
            if times is None:
                self._always[operation] = fault
            else:
                self._faults.setdefault(operation, deque()).extend([fault] * times)

    def heal(self) -> None:
        """Forget all faults that are still to come."""
        with self._lock:
            self._faults.clear()
            self._always.clear()

    def billing(self) -> list[str]:
        """Ids of the sessions whose machine exists."""
        with self._lock:
            return [
                i for i, s in self.sessions.items() if s["status"] not in (*_TERMINAL, "pending")
            ]

    def seen(self, method: str, path: str) -> list[Request]:
        """The requests of that method whose path begins so."""
        with self._lock:
            return [r for r in self.requests if r.method == method and r.path.startswith(path)]

    def start(self) -> Self:
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def close(self) -> None:
        self._closing.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.cut_all()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- serving

    def handle(self, handler: _Handler, method: str) -> None:
        parts = urlsplit(handler.path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        length = int(handler.headers.get("Content-Length") or 0)
        raw = handler.rfile.read(length)
        body = json.loads(raw) if raw else None
        request = Request(method, unquote(parts.path), query, body)
        with self._lock:
            self.requests.append(request)
            canned = self.canned
        if canned is not None:
            handler.reply(canned.status, canned.body, canned.content_type, dict(canned.headers))
            return
        route = _route(method, request.path)
        if route is None:
            handler.reply(404, b"404 page not found", "text/plain", {})
            return
        operation, ident = route
        with self._lock:
            fault = self._next_fault(operation)
        if fault is not None and self._break(handler, operation, fault, request):
            return
        try:
            with self._lock:
                answer = getattr(self, f"_on_{operation.replace('-', '_')}")(request, ident, fault)
        except _Reply as reply:
            handler.reply_json(reply.status, reply.body, reply.headers)
            return
        self._answer(handler, answer, fault)

    def _next_fault(self, operation: str) -> str | None:
        waiting = self._faults.get(operation)
        return waiting.popleft() if waiting else self._always.get(operation)

    def _break(self, handler: _Handler, operation: str, fault: str, request: Request) -> bool:
        """The faults that come before anything is done; True when the request is over."""
        page = b"<html><body><h1>Bad things</h1></body></html>"
        match fault:
            case "html":
                handler.reply(200, page, "text/html", {})
            case "empty":
                handler.reply(200, b"", "application/json", {})
            case "truncated":
                handler.reply(200, b'{"offers": [{"id": "vast', "application/json", {})
            case "500":
                handler.reply_json(500, _refusal(500, "internal server error").body, {})
            case "429":
                error = _refusal(429, "rate limit exceeded").body
                handler.reply_json(429, error, {"Retry-After": RETRY_AFTER})
            case "502" | "503" | "504":
                handler.reply(int(fault), page, "text/html", {})
            case "plain404":
                handler.reply(404, b"404 page not found", "text/plain", {})
            case "hang":
                self._closing.wait(30)
                handler.cut()
            case "drop":
                handler.cut()
            case "short":
                handler.reply(200, b'{"offers": [', "application/json", {"Content-Length": "9999"})
                handler.cut()
            case _:
                return False
        return True

    def _answer(self, handler: _Handler, answer: tuple[int, Any], fault: str | None) -> None:
        status, body = answer
        match fault:
            case "cut":
                handler.cut()
            case "made_502":
                handler.reply(502, b"<html>Bad Gateway</html>", "text/html", {})
            case "made_truncated":
                text = json.dumps(body).encode()
                handler.reply(status, text[: len(text) // 2], "application/json", {})
            case _:
                handler.reply_json(status, body, {})

    # -- the service's own routes: (request, id in the path, fault) -> (status, body)

    def _on_health(self, *_: Any) -> tuple[int, Any]:
        services = {"inventory": "ok", "lifecycle": "running", "ready": str(self.ready).lower()}
        return 200, {"status": "ok", "timestamp": rfc3339(datetime.now(UTC)), "services": services}

    def _on_ready(self, *_: Any) -> tuple[int, Any]:
        return (200 if self.ready else 503), {"ready": self.ready}

    def _on_inventory(self, *_: Any) -> tuple[int, Any]:
        return 200, {"offers": self.offers, "count": len(self.offers), "total": len(self.offers)}

    def _on_offer(self, _: Request, ident: str, *__: Any) -> tuple[int, Any]:
        return 200, self._find_offer(ident)

    def _find_offer(self, ident: str) -> dict[str, Any]:
        for offer in self.offers:
            if offer.get("id") == ident:
                return offer
        raise _refusal(404, f"offer not found: {ident}")

    def _on_create(self, request: Request, _: str, fault: str | None) -> tuple[int, Any]:
        body = request.body if isinstance(request.body, dict) else {}
        missing = [
            f"{name} is required"
            for name in ("consumer_id", "offer_id", "workload_type", "reservation_hours")
            if not body.get(name)
        ]
        if missing:
            raise _refusal(400, "; ".join(missing))
        if body["reservation_hours"] > 12:
            raise _refusal(400, "reservation_hours must be at most 12")
        consumer, offer_id = body["consumer_id"], body["offer_id"]
        offer = self._find_offer(offer_id)
        for ident, session in self.sessions.items():
            if (
                session["consumer_id"] == consumer
                and self._offer_of[ident] == offer_id
                and session["status"] not in _TERMINAL
            ):
                raise _refusal(
                    409,
                    f"consumer {consumer} already has active session {ident} for offer "
                    f"{offer_id} (status: {session['status']})",
                )
        self._turn_down(fault, body, offer)
        session = self._add(body, offer, "provisioning")
        answer: dict[str, Any] = {
            "session": self._shown(session),
            "ssh_private_key": self.private_key,
        }
        if fault == "no_key":
            del answer["ssh_private_key"]
        if fault == "no_id":
            answer["session"] = {k: v for k, v in answer["session"].items() if k != "id"}
        return 201, answer

    def _turn_down(self, fault: str | None, body: dict[str, Any], offer: dict[str, Any]) -> None:
        """The faults by which the service refuses a create."""
        ident, provider = offer["id"], offer["provider"]
        gone = (
            f"{provider} CreateInstance failed (HTTP 400): "
            '{"success": false, "error": "no_such_ask", "msg": "error 404/3603: no_such_ask"}'
        )
        match fault:
            case "stale":
                self._add(body, offer, "failed", error=f"provider create failed: {gone}")
                raise _refusal(
                    503,
                    f"offer {ident} from {provider} unavailable (stale inventory): {gone}",
                    error_type="stale_inventory",
                    message="The selected offer is no longer available.",
                    offer_id=ident,
                    provider=provider,
                    retry_suggested=True,
                )
            case "gone500":
                error = f"provider create failed: {gone}"
                self._add(body, offer, "failed", error=error)
                raise _refusal(500, error, error_type="provision_failed", retry_suggested=True)
            case "no_nodes":
                error = "provider create failed: No available nodes found"
                raise _refusal(500, error, error_type="provision_failed", retry_suggested=True)
            case "insufficient_disk":
                self._add(body, offer, "pending")
                raise _refusal(
                    400,
                    f"insufficient disk: requested {body.get('disk_gb') or 50} GB",
                    error_type="insufficient_disk",
                    requested_gb=body.get("disk_gb") or 50,
                    minimum_gb=80,
                    recommended_gb=100,
                    breakdown={"model_gb": 60},
                )
            case "provision_failed" | "ssh_timeout":
                error = f"machine trouble ({fault})"
                raise _refusal(500, error, error_type=fault, retry_suggested=True)

    def _add(
        self, body: dict[str, Any], offer: dict[str, Any], status: str, error: str = ""
    ) -> dict[str, Any]:
        now = datetime.now(UTC)
        session = {
            "id": str(uuid.uuid4()),
            "consumer_id": body["consumer_id"],
            "provider": offer["provider"],
            "gpu_type": offer["gpu_type"],
            "gpu_count": offer["gpu_count"],
            "status": status,
            "ssh_port": 22,
            "ssh_user": self.ssh[2],
            "workload_type": body["workload_type"],
            "reservation_hours": body["reservation_hours"],
            "price_per_hour": offer["price_per_hour"],
            "created_at": rfc3339(now),
            "expires_at": rfc3339(now + timedelta(hours=body["reservation_hours"])),
        }
        if error:
            session["error"] = error
        self.sessions[session["id"]] = session
        self._offer_of[session["id"]] = offer["id"]
        self._polls_left[session["id"]] = self.polls
        return session

    def _shown(self, session: dict[str, Any]) -> dict[str, Any]:
        return dict(session)

    def _find(self, ident: str, error: str = "record not found") -> dict[str, Any]:
        if ident not in self.sessions:
            raise _refusal(404, error)
        return self.sessions[ident]

    def _advance(self, session: dict[str, Any]) -> None:
        """One poll: the address shows at the first, the machine runs when they are used up."""
        if session["status"] != "provisioning":
            return
        ident = session["id"]
        session["ssh_host"], session["ssh_port"] = self.ssh[0], self.ssh[1]
        self._polls_left[ident] -= 1
        if self._polls_left[ident] <= 0:
            error = self.failing.get(self._offer_of[ident])
            session["status"] = "failed" if error else "running"
            if error:
                session["error"] = error
                session["failed_offers"] = self._offer_of[ident]

    def _on_get(self, _: Request, ident: str, *__: Any) -> tuple[int, Any]:
        session = self._find(ident)
        self._advance(session)
        return 200, self._shown(session)

    def _on_list(self, request: Request, *_: Any) -> tuple[int, Any]:
        consumer = request.query.get("consumer_id")
        rows = [
            self._shown(s)
            for s in reversed(self.sessions.values())
            if consumer in (None, s["consumer_id"])
        ]
        return 200, {"sessions": rows, "count": len(rows)}

    def _on_delete(self, _: Request, ident: str, fault: str | None) -> tuple[int, Any]:
        session = self._find(ident, f"session not found: {ident}")
        if fault == "unverified":
            raise _refusal(500, "failed to verify destruction after 3 attempts")
        if fault != "lies" and session["status"] not in _TERMINAL:
            session["status"] = "stopped"
        return 200, {"message": "session destroyed", "session_id": ident}

    def _on_done(self, _: Request, ident: str, *__: Any) -> tuple[int, Any]:
        session = self._live(ident)
        session["status"] = "stopped"
        return 200, {"message": "session shutdown initiated", "session_id": ident}

    def _live(self, ident: str) -> dict[str, Any]:
        session = self._find(ident, f"session not found: {ident}")
        if session["status"] in _TERMINAL:
            raise _refusal(409, f"session {ident} is in terminal state: {session['status']}")
        return session

    def _on_extend(self, request: Request, ident: str, *_: Any) -> tuple[int, Any]:
        session = self._live(ident)
        hours = request.body["additional_hours"]
        created = datetime.fromisoformat(session["created_at"])
        if datetime.now(UTC) + timedelta(hours=hours) > created + timedelta(hours=12):
            raise _refusal(400, f"extension would exceed 12-hour hard max: session {ident}")
        ends = datetime.fromisoformat(session["expires_at"]) + timedelta(hours=hours)
        session["expires_at"] = rfc3339(ends)
        session["reservation_hours"] += hours
        message = {"message": "session extended", "session_id": ident}
        return 200, {**message, "new_expires_at": session["expires_at"]}

    def _on_diagnostics(self, _: Request, ident: str, *__: Any) -> tuple[int, Any]:
        session = self._find(ident)
        if session["status"] != "running":
            raise _refusal(400, "session is not running")
        return 200, {"session_id": ident, "status": "running", "ssh_available": True}

    def _on_costs(self, request: Request, *_: Any) -> tuple[int, Any]:
        return 200, {
            "consumer_id": request.query.get("consumer_id", ""),
            "total_cost": 0,
            "currency": "USD",
            "session_count": len(self.sessions),
            "hours_used": 0,
            "by_provider": {},
            "by_gpu_type": {},
        }

    def _on_offer_health(self, *_: Any) -> tuple[int, Any]:
        return 200, {"count": 0, "gpu_types": None, "offers": None}

    def _on_benchmarks(self, request: Request, *_: Any) -> tuple[int, Any]:
        if request.method == "GET":
            return 200, {"benchmarks": self.benchmarks or None, "count": len(self.benchmarks)}
        if wrong := wrong_benchmark(request.body):
            raise _refusal(400, f"invalid benchmark data: json: cannot unmarshal {wrong}")
        row = {"id": str(uuid.uuid4()), **request.body}
        self.benchmarks.append(row)
        return 201, {"benchmark": row, "cost_analysis": {}}


_WHOLE = frozenset(
    {
        *("gpu_memory_mib", "gpu_count", "cpu_cores", "ram_gib", "duration_minutes", "max_tokens"),
        *("concurrent_reqs", "warmup_requests", "total_requests", "total_tokens"),
        *("total_prompt_tokens", "total_errors"),
    }
)
_PARTS = {"hardware", "model", "test_config", "results", "gpu_stats"}
_FLOATS = ("_tokens_per_second", "_ms", "_seconds", "_rate", "_per_minute", "_per_request", "_hour")


def wrong_benchmark(body: Any) -> str:
    """What a strict decoder says of a benchmark's types; "" for nothing. Zero values are fine."""
    fields = {**body, **{k: v for part in _PARTS for k, v in body.get(part, {}).items()}}
    for name, value in fields.items():
        if name in _PARTS:
            good = isinstance(value, dict)
        elif name in _WHOLE:
            good = type(value) is int
        elif name.endswith(_FLOATS):
            good = type(value) in (int, float)
        elif name == "prompt_types":
            good = all(isinstance(each, str) for each in value)
        else:
            good = isinstance(value, str)
        if not good:
            return f"{type(value).__name__} into field {name}"
    return ""


def _route(method: str, path: str) -> tuple[str, str] | None:
    """(operation, id) of a request, or None for a route the service does not have."""
    words = path.strip("/").split("/")
    if words[:2] != ["api", "v1"]:
        return (words[0], "") if method == "GET" and words in (["health"], ["ready"]) else None
    match method, words[2:]:
        case "GET", [("inventory" | "offer-health" | "costs" | "benchmarks") as name]:
            return name, ""
        case "POST", ["benchmarks"]:
            return "benchmarks", ""
        case "GET", ["costs", "summary"]:
            return "costs", ""
        case "GET", ["inventory", ident]:
            return "offer", ident
        case "POST", ["sessions"]:
            return "create", ""
        case "GET", ["sessions"]:
            return "list", ""
        case "GET", ["sessions", ident]:
            return "get", ident
        case "DELETE", ["sessions", ident]:
            return "delete", ident
        case "POST", ["sessions", ident, ("done" | "extend") as name]:
            return name, ident
        case "GET", ["sessions", ident, "diagnostics"]:
            return "diagnostics", ident
    return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.server.shopper.handle(self, "GET")

    def do_POST(self) -> None:
        self.server.shopper.handle(self, "POST")

    def do_DELETE(self) -> None:
        self.server.shopper.handle(self, "DELETE")

    def reply_json(self, status: int, body: Any, headers: dict[str, str]) -> None:
        text = json.dumps(body).encode()
        self.reply(status, text, "application/json; charset=utf-8", headers)

    def reply(self, status: int, body: bytes, content_type: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def cut(self) -> None:
        """Reset the connection."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, shopper: FakeShopper) -> None:
        self.shopper = shopper
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        """End kept-alive connections, whose threads would otherwise wait for the next request."""
        for request in list(self._open):
            try:
                request.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""
