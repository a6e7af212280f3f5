"""An offer as a row of the table, and as the list of its details."""

from __future__ import annotations

from datetime import datetime

from rich.text import Text

from gdl.domain.offers import RankedOffer
from gdl.tui import format as fmt
from gdl.tui.widgets.keyed_table import Column, Row

COLUMNS = (
    Column("mark", "", 2),
    Column("price", "$/h", 6, right=True),
    Column("session", "Session", 8, right=True),
    Column("million", "$/1M", 7, needed=100, right=True),
    Column("gpu", "GPU", 12, wish=16),
    Column("vram", "VRAM", 6, right=True),
    Column("fit", "Fit", 17, wish=34),
    Column("cuda", "CUDA", 5, needed=120, right=True),
    Column("place", "Place", 12, needed=92, wish=20),
    Column("rel", "Rel.", 5, right=True),
    Column("conf", "Conf.", 6, needed=140, right=True),
    Column("provider", "Provider", 11, wish=16),
    Column("age", "Age", 7, needed=140, right=True),
    Column("id", "Offer", 16, needed=120, wish=40),
)
"""All the money first, as it decides; who has less room sees less, and all of it with d. $/1M is
shown once there is a figure for any."""
FITS, TIGHT, OUT, MARKED = "✓", "~", "–", "●"
_TIGHT_GB = 1.0
"""Less headroom than this is called tight: it leaves little for longer contexts."""


def row(ranked: RankedOffer, now: datetime, *, marked: bool = False) -> Row:
    """The cells of one offer. Excluded: dimmed, with the mark and the reason in words."""
    offer = ranked.offer
    cells = {
        "mark": f"{MARKED if marked else ' '}{_mark(ranked)}",
        "price": fmt.price(offer.price_per_hour),
        "session": _dollars(ranked.session_cost),
        "million": _dollars(ranked.usd_per_million),
        "gpu": fmt.gpu(offer),
        "vram": f"{offer.vram_gb:.0f} GB" if offer.gpu_count else "-",
        "fit": fit(ranked),
        "cuda": f"{offer.cuda_version:.1f}" if offer.cuda_version is not None else "-",
        "place": fmt.plain(offer.location, 40) or "-",
        "rel": f"{int(offer.reliability * 100)}%" if offer.reliability is not None else "-",
        "conf": f"{int(offer.confidence * 100)}%" if offer.confidence is not None else "-",
        "provider": fmt.plain(offer.provider, 40),
        "age": _age(offer.fetched_at, now),
        "id": fmt.plain(offer.id, 80),
    }
    style = "" if ranked.excluded is None else "dim"
    return Row(cells, f"bold {style}".strip() if marked else style)


def _dollars(value: float | None) -> str:
    """ "$12.50", "$0.40", "$0.062"; a dash when it is not known."""
    if value is None:
        return "-"
    return f"${value:.2f}" if value >= 0.1 or value == 0 else f"${value:.3f}"


def _age(fetched_at: datetime | None, now: datetime) -> str:
    """How long ago the provider listed it: "40 s", "12 min", "3 h"."""
    if fetched_at is None:
        return "-"
    seconds = max((now - fetched_at).total_seconds(), 0.0)
    if seconds < 120:
        return f"{int(seconds)} s"
    return f"{int(seconds // 60)} min" if seconds < 7200 else f"{int(seconds // 3600)} h"


def _mark(ranked: RankedOffer) -> str:
    if ranked.excluded is not None:
        return OUT
    if ranked.offer.gpu_count == 0 or ranked.headroom_gb is None:
        return FITS
    return TIGHT if ranked.headroom_gb < _TIGHT_GB else FITS


def fit(ranked: RankedOffer) -> str:
    """How well the model fits, or why the offer is left out."""
    if ranked.exclusion == "vram" and ranked.headroom_gb is not None:
        return f"no, {ranked.headroom_gb:+.1f} GB"
    if ranked.excluded is not None:
        return fmt.plain(ranked.excluded, 120)
    if ranked.offer.gpu_count == 0:
        return "runs on the CPU"
    if ranked.headroom_gb is None:
        return "not known"
    word = "tight" if ranked.headroom_gb < _TIGHT_GB else "fits"
    return f"{word}, {ranked.headroom_gb:+.1f} GB"


def details(ranked: RankedOffer, now: datetime) -> list[tuple[str, Text | str]]:
    """Names and values of all that is known."""
    offer = ranked.offer
    lines: list[tuple[str, Text | str]] = [
        ("Offer", fmt.plain(offer.id, 200)),
        ("Provider", fmt.plain(offer.provider, 100)),
        ("Price", f"{fmt.price(offer.price_per_hour)}{'/h' if offer.price_per_hour > 0 else ''}"),
        ("Whole session", _dollars(ranked.session_cost)),
        ("1M tokens", _dollars(ranked.usd_per_million)),
        ("GPU", fmt.gpu(offer)),
        ("VRAM", f"{offer.vram_gb:.0f} GB each, {offer.total_vram_gb:.0f} GB together"),
        ("Fit", fit(ranked) if ranked.excluded is None or ranked.exclusion == "vram" else "-"),
        ("CUDA", f"{offer.cuda_version:.1f}" if offer.cuda_version is not None else "not said"),
        ("Place", fmt.plain(offer.location, 100) or "not said"),
        ("Reliability", _share(offer.reliability)),
        ("Confidence", _share(offer.confidence)),
        ("Listed", _age(offer.fetched_at, now).replace("-", "not said")),
        ("Machine", fmt.plain(offer.machine_id or "not said", 100)),
        ("Interruptible", "yes: it may be taken away" if offer.interruptible else "no"),
    ]
    if offer.max_duration_hours is not None:
        lines.append(("At most", f"{offer.max_duration_hours:.0f} h"))
    if ranked.excluded is not None:
        lines.append(("Left out", Text(fmt.plain(ranked.excluded, 300), "bold")))
    return lines


def _share(value: float | None) -> str:
    return "not said" if value is None else f"{value * 100:.0f}%"
