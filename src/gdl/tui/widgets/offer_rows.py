"""An offer as a row of the table, and as the list of its details."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.cells import cell_len
from rich.text import Text

from gdl.domain.money import dollars, hourly, price
from gdl.domain.offers import Offer, RankedOffer
from gdl.domain.requirements.allocation import Allocation
from gdl.domain.requirements.gpus import memory_gb
from gdl.presentation.durations import since
from gdl.presentation.hardware import gpus
from gdl.presentation.lines import plain
from gdl.presentation.session_price import explained
from gdl.tui.widgets.keyed_table import Column, Row

COLUMNS = (
    Column("mark", "", 2),
    Column("price", "$/h", 6, right=True),
    Column("session", "Session", 8, right=True),
    Column("million", "$/1M", 7, needed=100, right=True),
    Column("gpu", "GPU", 12, wish=16, most=46),
    Column("vram", "VRAM", 6, right=True),
    Column("fit", "Fit", 17, wish=52),
    Column("cuda", "CUDA", 5, needed=120, right=True),
    Column("place", "Place", 12, needed=92, wish=20, most=40),
    Column("rel", "Rel.", 5, right=True),
    Column("conf", "Conf.", 6, needed=140, right=True),
    Column("provider", "Provider", 11, wish=16, most=28),
    Column("age", "Age", 7, needed=140, right=True),
    Column("id", "Offer", 16, needed=120, wish=40, most=56),
)
"""All the money first, as it decides; a narrow terminal shows less, and d shows all of it."""
FITS, TIGHT, OUT, MARKED = "✓", "~", "–", "●"
_LOOKED_AT = 200
"""Offers whose words decide how wide the columns are."""
_TIGHT_GB = 1.0
"""Less headroom than this is called tight: it leaves little for longer contexts."""


def untold(offers: Sequence[RankedOffer]) -> tuple[str, ...]:
    """The columns in which nothing would be said of any of these."""
    told = {
        "million": any(ranked.usd_per_million is not None for ranked in offers),
        "conf": any(ranked.offer.confidence is not None for ranked in offers),
        "age": any(ranked.offer.fetched_at is not None for ranked in offers),
    }
    return tuple(key for key, any_is in told.items() if not any_is)


def longest(offers: Sequence[RankedOffer]) -> dict[str, int]:
    """The cells that the columns of words need for what is told of the first of these."""
    found: dict[str, int] = {}
    for ranked in offers[:_LOOKED_AT]:
        for key, told in _words(ranked).items():
            found[key] = max(found.get(key, 0), cell_len(told))
    return found


def row(ranked: RankedOffer, now: datetime, *, marked: bool = False) -> Row:
    """The cells of one offer. Excluded: dimmed, with the mark and the reason in words."""
    offer = ranked.offer
    cells = {
        "mark": f"{MARKED if marked else ' '}{_mark(ranked)}",
        "price": price(offer.price_per_hour),
        "session": _amount(ranked.session_price),
        "million": _amount(ranked.usd_per_million),
        "vram": f"{offer.nominal_vram_gb} GB" if offer.gpu_count else "-",
        "cuda": f"{offer.cuda_version:.1f}" if offer.cuda_version is not None else "-",
        "rel": f"{int(offer.reliability * 100)}%" if offer.reliability is not None else "-",
        "conf": f"{int(offer.confidence * 100)}%" if offer.confidence is not None else "-",
        "age": _age(offer.fetched_at, now),
        **_words(ranked),
    }
    style = "" if ranked.excluded is None else "dim"
    return Row(cells, f"bold {style}".strip() if marked else style)


def _words(ranked: RankedOffer) -> dict[str, str]:
    """The cells of words, which may be short or long."""
    offer = ranked.offer
    return {
        "gpu": gpus(offer),
        "fit": fit(ranked),
        "place": plain(offer.location, 40) or "-",
        "provider": plain(offer.provider, 40),
        "id": plain(offer.id, 80),
    }


def _amount(value: float | None) -> str:
    """A dash when it is not known."""
    return "-" if value is None else dollars(value)


def _age(fetched_at: datetime | None, now: datetime) -> str:
    """How long ago the provider listed it: "40 s", "12 min", "3 h"."""
    return "-" if fetched_at is None else since((now - fetched_at).total_seconds())


def _mark(ranked: RankedOffer) -> str:
    if ranked.excluded is not None:
        return OUT
    if ranked.offer.gpu_count == 0 or ranked.headroom_gb is None:
        return FITS
    return TIGHT if ranked.headroom_gb < _TIGHT_GB else FITS


def fit(ranked: RankedOffer) -> str:
    """How well the model fits, or why the offer is excluded."""
    held = ranked.allocation
    if ranked.exclusion in ("vram", "unsuited") and held is not None:
        return _short(held)
    if ranked.exclusion == "vram" and ranked.headroom_gb is not None:
        return f"no, {ranked.headroom_gb:+.1f} GB"
    if ranked.excluded is not None:
        return plain(ranked.excluded, 120)
    if ranked.offer.not_asked:
        return "checked on connecting"
    if ranked.offer.gpu_count == 0:
        return "runs on the CPU"
    if ranked.headroom_gb is None:
        return "not known"
    if held is not None:
        return held.words
    word = "tight" if ranked.headroom_gb < _TIGHT_GB else "fits"
    return f"{word}, {ranked.headroom_gb:+.1f} GB"


def _short(held: Allocation) -> str:
    """ "no: 3.1 GB short; FP8 variant fits"."""
    if held.refusal:
        return f"no: {plain(held.refusal, 120)}"
    short = f"no: {held.missing_bytes / 1e9:.1f} GB short"
    return "; ".join((short, *(plain(lever.words, 60) for lever in held.levers[:2])))


def details(ranked: RankedOffer, now: datetime) -> list[tuple[str, Text | str]]:
    """Names and values of all that is known."""
    offer = ranked.offer
    lines: list[tuple[str, Text | str]] = [
        ("Offer", plain(offer.id, 200)),
        ("Provider", plain(offer.provider, 100)),
        ("Price", hourly(offer.price_per_hour)),
        ("Whole session", _amount(ranked.session_price)),
        *_session(ranked),
        ("1M tokens", _amount(ranked.usd_per_million)),
        ("GPU", gpus(offer)),
        ("VRAM", _memory(offer)),
        ("Fit", fit(ranked) if ranked.exclusion in (None, "vram", "unsuited") else "-"),
        ("CUDA", f"{offer.cuda_version:.1f}" if offer.cuda_version is not None else "not said"),
        ("Place", plain(offer.location, 100) or "not said"),
        ("Reliability", _share(offer.reliability)),
        ("Confidence", _share(offer.confidence)),
        ("Listed", f"{_age(offer.fetched_at, now)} ago" if offer.fetched_at else "not said"),
        ("Machine", plain(offer.machine_id or "not said", 100)),
        ("Interruptible", "yes: it can be taken away" if offer.interruptible else "no"),
    ]
    if offer.max_duration_hours is not None:
        lines.append(("At most", f"{offer.max_duration_hours:.0f} h"))
    if ranked.excluded is not None:
        lines.append(("Excluded", Text(plain(ranked.excluded, 300), "bold")))
    return lines


def _memory(offer: Offer) -> str:
    """ "24 GB each, 48 GB together; 25.4 GB (10^9 bytes) can be used of each"."""
    if not offer.gpu_count:
        return "-"
    nominal = offer.nominal_vram_gb
    used = f"{memory_gb(offer.gpu_name, offer.vram_gb):.1f} GB (10^9 bytes) can be used"
    if offer.gpu_count == 1:
        return f"{nominal} GB; {used}"
    return f"{nominal} GB each, {nominal * offer.gpu_count} GB together; {used} of each"


def _session(ranked: RankedOffer) -> list[tuple[str, Text | str]]:
    """What the session's price is made of: more than the hour's, as the set-up is paid for, too."""
    whole = ranked.session()
    if whole is None or whole.total <= 0:
        return []
    return [("", line) for line in explained(whole)]


def _share(value: float | None) -> str:
    return "not said" if value is None else f"{value * 100:.0f}%"
