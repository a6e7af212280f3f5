"""Which offers suit, in which order, and what speaks against the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gdl.domain.models import Offer, OfferQuery, RankedOffer

VRAM_TOLERANCE = 0.97
"""Listings floor VRAM (24 564 MB is shown as 23 GB): a need is met from 97 % of it up."""


@dataclass(frozen=True, slots=True)
class Exclusions:
    """What is left out of one deployment, each with its reason in words."""

    offers: Mapping[str, str] = field(default_factory=dict)
    providers: Mapping[str, str] = field(default_factory=dict)
    machines: Mapping[str, str] = field(default_factory=dict)


def rank(
    offers: Iterable[Offer],
    query: OfferQuery,
    *,
    needed_vram_gb: float | None = None,
    exclusions: Exclusions | None = None,
    cpu_allowed: bool = False,
) -> list[RankedOffer]:
    """Suitable offers first, cheapest first (ties: reliability, then id); then the excluded ones,
    in the same order. `needed_vram_gb` is for all GPUs of a machine together."""
    left_out = exclusions or Exclusions()
    ranked = []
    for offer in offers:
        kind, reason = _against(offer, query, needed_vram_gb, left_out, cpu_allowed)
        headroom = None
        if needed_vram_gb is not None and offer.gpu_count:
            headroom = offer.total_vram_gb - needed_vram_gb
        ranked.append(RankedOffer(offer, reason, kind, headroom))
    return sorted(ranked, key=_order)


def _order(ranked: RankedOffer) -> tuple[bool, float, float, str]:
    offer = ranked.offer
    return (
        ranked.excluded is not None,
        offer.price_per_hour,
        -(offer.reliability or 0.0),
        offer.id,
    )


def _against(
    offer: Offer,
    query: OfferQuery,
    needed_vram_gb: float | None,
    left_out: Exclusions,
    cpu_allowed: bool,
) -> tuple[str | None, str | None]:
    """The first thing that speaks against an offer: (kind, reason), or (None, None)."""
    if query.offer_id is not None and offer.id != query.offer_id:
        return "query", "another offer was asked for"
    if offer.id in left_out.offers:
        return "offer", left_out.offers[offer.id]
    if offer.provider in left_out.providers:
        return "provider", left_out.providers[offer.provider]
    if offer.provider in query.exclude_providers:
        return "provider", f"provider {offer.provider} excluded"
    if offer.machine_id is not None and offer.machine_id in left_out.machines:
        return "machine", left_out.machines[offer.machine_id]
    if not offer.available:
        return "unavailable", "listed as not available"
    return _against_wish(offer, query, needed_vram_gb, cpu_allowed)


def _against_wish(
    offer: Offer, query: OfferQuery, needed_vram_gb: float | None, cpu_allowed: bool
) -> tuple[str | None, str | None]:
    if query.provider is not None and offer.provider != query.provider:
        return "query", f"not from {query.provider}"
    if query.gpu is not None and _squash(query.gpu) not in _squash(offer.gpu_name):
        return "gpu", f"not a {query.gpu}"
    if query.gpu_count is not None and offer.gpu_count < query.gpu_count:
        return "count", f"{offer.gpu_count} of {query.gpu_count} GPUs"
    if query.max_price is not None and offer.price_per_hour > query.max_price:
        return "price", f"over ${query.max_price:.2f}/h"
    if offer.gpu_count == 0 and cpu_allowed:
        return None, None
    if query.min_vram_gb is not None and offer.vram_gb < query.min_vram_gb * VRAM_TOLERANCE:
        return "vram", f"{offer.vram_gb:.0f} of {query.min_vram_gb:.0f} GB VRAM"
    if needed_vram_gb is not None and offer.total_vram_gb < needed_vram_gb * VRAM_TOLERANCE:
        return "vram", f"{offer.total_vram_gb:.0f} GB VRAM, the model needs {needed_vram_gb:.1f}"
    return None, None


def _squash(name: str) -> str:
    return name.replace(" ", "").replace("_", "").replace("-", "").casefold()


def why_none(ranked: Iterable[RankedOffer], query: OfferQuery) -> tuple[str, str]:
    """(what happened, what would help) for a list in which nothing suits."""
    rows = list(ranked)
    if not rows:
        return "no suitable offers: the backend lists none", "try again later, or another backend"
    if query.offer_id is not None and all(r.offer.id != query.offer_id for r in rows):
        return (
            f"no suitable offers: {query.offer_id} is not listed",
            "`gdl-tui offers` shows what there is",
        )
    counts = Counter(r.exclusion or "other" for r in rows)
    words = {
        "price": "too expensive",
        "vram": "with too little VRAM",
        "gpu": "with another GPU",
        "count": "with too few GPUs",
        "provider": "from excluded providers",
        "machine": "on excluded machines",
        "offer": "already failed",
        "unavailable": "not available",
        "query": "not asked for",
    }
    parts = ", ".join(f"{n} {words.get(kind, kind)}" for kind, n in counts.most_common())
    return f"no suitable offers ({len(rows)} excluded: {parts})", _what_helps(rows)


def _what_helps(rows: list[RankedOffer]) -> str:
    too_dear = [r.offer.price_per_hour for r in rows if r.exclusion == "price"]
    providers = sorted({r.offer.provider for r in rows if r.exclusion == "provider"})
    hints = []
    if too_dear:
        hints.append(f"raise the price ceiling to ${min(too_dear):.2f}/h")
    if providers:
        hints.append(f"allow provider {', '.join(providers)}")
    if not hints and any(r.exclusion == "vram" for r in rows):
        hints.append("choose a smaller model, or allow several GPUs")
    return " or ".join(hints) or "loosen the filters"
