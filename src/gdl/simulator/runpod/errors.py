"""How the stand-in for RunPod refuses: errors as in RFC 9457."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from starlette.responses import JSONResponse, Response

from gdl.simulator.fault_models import Http
from gdl.simulator.wire_format import Json

NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. "
    "Please refresh and try again."
)


class Problem(Exception):
    """An error answer: `{"title", "status", "detail", "errors"?}`. no_title: as for a request that
    cannot be placed, whose answer is a `detail` alone."""

    def __init__(
        self, status: int, detail: str, errors: Sequence[str] = (), *, no_title: bool = False
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.body: Json = {"detail": detail}
        if not no_title:
            self.body |= {"title": HTTPStatus(status).phrase, "status": status}
        if errors:
            self.body["errors"] = list(errors)

    def response(self) -> Response:
        return JSONResponse(self.body, self.status, media_type="application/problem+json")


def no_capacity() -> Problem:
    return Problem(400, NO_CAPACITY, no_title=True)


def unauthorized() -> Problem:
    return Problem(401, "invalid bearer token")


def no_credit() -> Problem:
    return Problem(402, "Your account balance is too low to start this pod.")


def no_such_pod(ident: str) -> Problem:
    return Problem(404, f"The requested pod {ident} does not exist.")


def wrong(fault: Http) -> Response:
    """What a fault makes it answer."""
    match fault.answer:
        case "429" | "quota":
            return Problem(429, fault.error or "Too many requests.").response()
        case "unauthorized" | "expired":
            return unauthorized().response()
        case "no-credit":
            return no_credit().response()
    return Problem(500, fault.error or "Something went wrong.").response()
