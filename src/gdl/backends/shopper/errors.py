"""From an error answer of cloud-gpu-shopper to the error the rest of the program knows."""

from __future__ import annotations

import re
from typing import Any

from gdl.backends.answer import Answer
from gdl.backends.http import ServiceWords
from gdl.domain.errors import (
    BackendError,
    BackendRefused,
    GdlError,
    InsufficientDisk,
    MachineError,
    OfferGone,
    OfferTaken,
    SessionExists,
    SessionGone,
)
from gdl.domain.text import one_line

_UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_DUPLICATE = re.compile(
    rf"consumer .{{1,256}}? already has active session ({_UUID}) for offer \S{{1,256}} "
    r"\(status: [a-z]{1,20}\)"
)
_OFFER_GONE = ("no_such_ask", "No available nodes found")
_SIBLING_FASTER = "UNIQUE constraint failed: sessions.consumer_id, sessions.offer_id"
_MARKET_BUSY = "HTTP 429"
"""The marketplace's limit for the service or its account, in a 500 of the service's own."""
_OFFER_FAILED = {
    "ssh_timeout": "the machine could not be reached over SSH",
    "instance_stopped": "the machine stopped while it was being set up",
    "provider_unavailable": "the provider does not answer",
    "provision_failed": "the provider could not set the machine up",
}
_NEXT_OFFER = "take another offer, or another provider"

WORDS = ServiceWords(
    name="the shopper",
    away="start cloud-gpu-shopper (at its start it refuses connections for up to 2 minutes), "
    "name its address with GDL_SHOPPER_URL, or use --backend local or ssh",
    no_answer="look at the log of cloud-gpu-shopper, then try again",
)


def own(answer: Answer) -> dict[str, Any] | None:
    """The service's own error object, or None when the answer is not the service's."""
    data = answer.mapping_or_none()
    return data if data is not None and isinstance(data.get("error"), str) else None


def unusable(url: str, what: str) -> BackendError:
    """An answer that is not the service's."""
    return BackendError(
        f"{url} answered with {what}",
        "is that the address of cloud-gpu-shopper? check GDL_SHOPPER_URL and any proxy between",
    )


def refused(answer: Answer, doing: str) -> BackendRefused:
    """The plain refusal: what was being done, the status, and the service's own words."""
    data = own(answer)
    said = words(data) if data is not None else answer.flaw() or "without saying why"
    return BackendRefused(
        f"cloud-gpu-shopper refused to {doing} (HTTP {answer.status}): {said}",
        _hint(answer, data),
        status=answer.status,
        retry_after=answer.retry_after,
        own_words=data is not None,
    )


def words(data: dict[str, Any]) -> str:
    """The service's error text, made safe to show."""
    return one_line(data.get("error", ""), 300)


def _hint(answer: Answer, data: dict[str, Any] | None) -> str:
    if answer.status == 429:
        wait = f"{answer.retry_after:.0f} s" if answer.retry_after else "a little"
        return f"too many requests: wait {wait} and try again"
    if answer.status in (502, 503, 504):
        return "the service is starting, stopping or overloaded: try again shortly"
    if answer.status >= 500:
        return "look at the log of cloud-gpu-shopper"
    if 300 <= answer.status < 400 or data is None:
        return "is that the address of cloud-gpu-shopper? check GDL_SHOPPER_URL"
    return "correct the request as the service's message says"


def no_session(answer: Answer, session_id: str) -> GdlError:
    """For a failed request about one session.

    Only the service's own 404 says that it does not know the session: a proxy's or a wrong
    address's 404 must not pass for "the machine is gone".
    """
    if answer.status == 404 and own(answer) is not None:
        return SessionGone(
            f"the backend does not know session {one_line(session_id, 80)}",
            "`gdl-tui sessions` shows what there is",
        )
    return refused(answer, f"answer for session {one_line(session_id, 80)}")


def rent_error(answer: Answer, offer_id: str) -> GdlError:
    """For a rent request that the service itself turned down (`own(answer)` is not None)."""
    data = own(answer) or {}
    kind = data.get("error_type")
    text = " ".join(str(data.get(k, "")) for k in ("error", "message"))
    said = words(data)
    if answer.status == 409:
        # Matched on the whole, unshortened text: the session id is nowhere else.
        found = _DUPLICATE.fullmatch(str(data["error"]).strip())
        if found:
            return SessionExists(
                found[1], f"offer {offer_id} is already rented: session {found[1]}"
            )
    if kind == "insufficient_disk":
        return _insufficient_disk(data, said)
    if (
        kind == "stale_inventory"
        or any(mark in text for mark in _OFFER_GONE)
        or (answer.status == 404 and said.startswith("offer not found"))
    ):
        return OfferGone(offer_id)
    if answer.status >= 500 and _SIBLING_FASTER in text:
        return OfferTaken(offer_id)
    if answer.status >= 500 and _MARKET_BUSY in text:
        return BackendRefused(
            "the marketplace accepts no more requests for now (HTTP 429)",
            "your account's limit is reached, which is not a machine's fault: wait some minutes",
            status=429,
            retry_after=answer.retry_after,
        )
    if answer.status >= 500 and isinstance(kind, str) and kind in _OFFER_FAILED:
        return MachineError(f"offer {offer_id}: {_OFFER_FAILED[kind]} ({said})", _NEXT_OFFER)
    return refused(answer, f"rent {offer_id}")


def _insufficient_disk(data: dict[str, Any], said: str) -> InsufficientDisk:
    requested = _gb(data.get("requested_gb"))
    wanted = max(_gb(data.get("recommended_gb")), _gb(data.get("minimum_gb")))
    return InsufficientDisk(said or "the disk is too small", requested, wanted or requested + 50)


def _gb(value: object) -> int:
    """Whole gigabytes, 0 when it is no sane number."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100_000:
        return -int(-value // 1)
    return 0
