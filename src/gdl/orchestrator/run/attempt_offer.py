"""The offer of an attempt, as its events tell it."""

from __future__ import annotations

from gdl.domain import events as ev
from gdl.domain.engine_image import EngineImage
from gdl.domain.money import hourly
from gdl.domain.offers import Offer
from gdl.domain.session_price import SessionPrice


def attempt_started(
    number: int,
    offer: Offer,
    expected: SessionPrice | None = None,
    image: EngineImage | None = None,
) -> ev.AttemptStarted:
    """expected: what the whole session is to cost; image: that is asked for."""
    return ev.AttemptStarted(
        number,
        offer.id,
        offer.provider,
        offer.gpu_name,
        offer.gpu_count,
        offer.vram_gb,
        offer.price_per_hour,
        offer.location,
        offer.machine_id or "",
        host_id=offer.host_id or "",
        expected=expected,
        backend=offer.backend,
        image="" if image is None else image.name,
    )


def offer_of(began: ev.AttemptStarted, backend: str) -> Offer:
    """backend: of an event that names none."""
    return Offer(
        id=began.offer_id,
        backend=began.backend or backend,
        provider=began.provider,
        gpu_name=began.gpu_name,
        gpu_count=began.gpu_count,
        vram_gb=began.vram_gb,
        price_per_hour=began.price_per_hour,
        location=began.location,
        machine_id=began.machine_id or None,
        host_id=began.host_id or None,
    )


def words(offer: Offer) -> str:
    """What is being rented: "RTX 4090 at $0.289/h", "CPU (2 cores, 24 GB), free"."""
    until = ", until somebody bids more" if offer.interruptible else ""
    price = f" at {hourly(offer.price_per_hour)}" if offer.price_per_hour > 0 else ", free"
    return f"{offer.gpu_name}{price}{until}"
