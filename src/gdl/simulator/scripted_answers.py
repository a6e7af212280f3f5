"""What was asked of the simulated service, and answers that are given whatever was asked."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gdl.domain.lazy_dataclass import dataclass
from gdl.simulator.fault_models import Operation


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came; `path` without its query. body: as read from JSON, None for none."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Canned:
    """An answer that is given without a look at the request. on: to requests of that kind alone;
    None: to all."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    on: Operation | None = None

    def response(self) -> Response:
        headers = {"Content-Type": self.content_type, **dict(self.headers)}
        return Response(self.body, self.status, headers)


def received(request: Request, raw: bytes | None) -> Received:
    """raw: the body; None: it was too long to be kept."""
    try:
        body = json.loads(raw) if raw else None
    except ValueError:
        body = None
    return Received(request.method, request.scope["path"], dict(request.query_params), body)
