"""The rent requests that the simulated service turns down, in the real one's words."""

from __future__ import annotations

from gdl.simulator.fault_models import Disk
from gdl.simulator.listings import Listing
from gdl.simulator.wire_format import Json, Refusal

_WORKLOADS = (
    *("llm", "llm_vllm", "llm_tgi", "training", "batch", "interactive", "inference"),
    *("ssh", "benchmark"),
)
_NEEDED = ("consumer_id", "offer_id", "workload_type", "reservation_hours")
_UNSAID_DISK_GB = 50
"""The disk of a request that names none."""


def check(body: Json) -> None:
    """Raises Refusal for a request that is wrong in itself."""
    missing = [f"{name} is required" for name in _NEEDED if not body.get(name)]
    if missing:
        raise Refusal(400, "; ".join(missing))
    if body["workload_type"] not in _WORKLOADS:
        listed = ", ".join(_WORKLOADS)
        raise Refusal(400, f"invalid workload_type: must be one of: {listed}")
    _whole(body, "reservation_hours", 1, 12)
    if body.get("ssh_timeout_minutes") is not None:
        _whole(body, "ssh_timeout_minutes", 1, 30)
    if body.get("disk_gb") is not None:
        _whole(body, "disk_gb", 1, 10_000)


def _whole(body: Json, name: str, least: int, most: int) -> None:
    value = body[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refusal(400, f"invalid request body: {name} must be an integer")
    if value < least:
        raise Refusal(400, f"{name} must be at least {least}")
    if value > most:
        raise Refusal(400, f"{name} must be at most {most}")


def check_disk(fault: Disk | None, disk_gb: int | None) -> None:
    """Raises Refusal for a disk that is smaller than the fault lets pass."""
    asked = disk_gb or _UNSAID_DISK_GB
    if fault is None or asked >= fault.recommended_gb:
        return
    least = round(fault.recommended_gb * 0.8)
    weights = round(least * 0.6)
    raise Refusal(
        400,
        f"insufficient disk: requested {asked} GB, minimum {least} GB",
        error_type="insufficient_disk",
        requested_gb=asked,
        minimum_gb=least,
        recommended_gb=fault.recommended_gb,
        breakdown={
            "model_weights_gb": weights,
            "container_image_gb": 15,
            "overhead_gb": least - weights - 15,
        },
    )


def words_of_gone(offer: Listing, form: str) -> str:
    """What the marketplace says of an offer that somebody else took."""
    if form == "nodes":
        return f"{offer.provider} CreateInstance failed: No available nodes found"
    return (
        f'{offer.provider} CreateInstance failed (HTTP 400): {{"success": false, "error": '
        f'"no_such_ask", "msg": "error 404/3603: no_such_ask Instance type by id '
        f'{offer.provider_id} is not available."}}'
    )


def gone(offer: Listing, form: str, words: str) -> Refusal:
    """What the service makes of that. form: 503, 500 or nodes."""
    if form in ("500", "nodes"):
        error = f"failed to create session: {words}"
        return Refusal(500, error, error_type="provision_failed", retry_suggested=True)
    return Refusal(
        503,
        f"offer {offer.id} from {offer.provider} unavailable (stale inventory): {words} - "
        "consider retrying with a different offer",
        error_type="stale_inventory",
        message="The selected offer is no longer available. Please refresh inventory and select a "
        "different offer.",
        offer_id=offer.id,
        provider=offer.provider,
        retry_suggested=True,
    )
