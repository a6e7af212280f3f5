"""How the stand-in for Vast.ai refuses."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from starlette.responses import JSONResponse, PlainTextResponse, Response

from gdl.simulator.fault_models import Http
from gdl.simulator.wire_format import Json


class VastRefusal(Exception):
    """An error answer: `{"success": false, "error": ..., "msg": ...}`."""

    def __init__(self, status: int, error: str, msg: str, **more: object) -> None:
        super().__init__(msg)
        self.status = status
        self.body: Json = {"success": False, "error": error, "msg": msg, **more}

    def response(self) -> Response:
        return JSONResponse(self.body, self.status)


def unknown_key() -> VastRefusal:
    return VastRefusal(401, "auth_error", "Invalid user key")


def session_expired() -> VastRefusal:
    return VastRefusal(404, "auth_error", "Session expired: please log in again (two factors)")


def forbidden() -> VastRefusal:
    return VastRefusal(401, "auth_error", "This action is not permitted for this API key")


def no_such_ask(ask_id: int | str) -> VastRefusal:
    return VastRefusal(
        400,
        "invalid_args",
        f"error 404/3603: no_such_ask Instance type by id {ask_id} is not available.",
        ask_id=ask_id,
    )


def no_such_instance(ident: str) -> VastRefusal:
    return VastRefusal(404, "no_such_instance", f"Instance {ident} not found.")


def no_credit() -> VastRefusal:
    return VastRefusal(
        400,
        "insufficient_credit",
        "error 400/3201: Your account lacks credit; see the billing page.",
    )


def quota_exceeded() -> Response:
    """Of the searches of a day, which begins at midnight UTC."""
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    body = {
        "success": False,
        "error": "search_quota_exceeded",
        "msg": "Daily search quota exceeded",
    }
    return JSONResponse(body, 429, {"X-RateLimit-Reset": str(int(midnight.timestamp()))})


def wrong(fault: Http) -> Response:
    """What a fault makes it answer."""
    match fault.answer:
        case "429":
            return PlainTextResponse(fault.error or "API requests too frequent", 429)
        case "unauthorized":
            return unknown_key().response()
        case "expired":
            return session_expired().response()
        case "no-credit":
            return no_credit().response()
        case "quota":
            return quota_exceeded()
    return VastRefusal(500, "server_error", fault.error or "Internal server error").response()
