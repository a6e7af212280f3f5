"""Which offers suit, in which order, and what speaks against the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gdl.domain.money import dollars
from gdl.domain.offers import UNTOLD, Exclusion, Offer, OfferQuery, RankedOffer

VRAM_TOLERANCE = 0.97
"""Listings floor VRAM (24 564 MB is shown as 23 GB): a need is met from 97 % of it up."""

SETUP_HOURS = 0.1
"""From rent to serving, while our own history does not know better."""

Against = tuple[str, str, str, datetime | None]
"""(kind, reason, cause, until) of what speaks against an offer."""


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Who is excluded, by key: the reason in words, or the whole exclusion."""

    offers: Mapping[str, str | Exclusion] = field(default_factory=dict)
    providers: Mapping[str, str | Exclusion] = field(default_factory=dict)
    machines: Mapping[str, str | Exclusion] = field(default_factory=dict)

    @classmethod
    def of(cls, exclusions: Iterable[Exclusion]) -> Exclusions:
        """By kind and key; of two for the same key the later one counts."""
        by_kind: dict[str, dict[str, str | Exclusion]] = {
            "offer": {},
            "provider": {},
            "machine": {},
        }
        for each in exclusions:
            by_kind[each.kind][each.key] = each
        return cls(by_kind["offer"], by_kind["provider"], by_kind["machine"])


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """What our own history says. setup_hours: by provider. success: share of attempts that came to
    serve (0-1), by machine id and by provider. tokens_per_s: output tokens a second of the model
    asked for, by GPU name and count."""

    setup_hours: Mapping[str, float] = field(default_factory=dict)
    success: Mapping[str, float] = field(default_factory=dict)
    tokens_per_s: Mapping[tuple[str, int], float] = field(default_factory=dict)


_NONE = TrackRecord()


def rank(
    offers: Iterable[Offer],
    query: OfferQuery,
    *,
    needed_vram_gb: float | None = None,
    exclusions: Exclusions | None = None,
    cpu_allowed: bool = False,
    hours: float = 1.0,
    track_record: TrackRecord | None = None,
) -> list[RankedOffer]:
    """Suitable offers first, cheapest first (ties: reliability, then our track record, then id);
    then the excluded ones, in the same order. `needed_vram_gb` is for all GPUs of a machine
    together, `hours` what is to be reserved."""
    known = track_record or _NONE
    against = _Judge(query, needed_vram_gb, exclusions or Exclusions(), cpu_allowed, hours).against
    setup, speed = known.setup_hours, known.tokens_per_s
    suitable: list[_Keyed] = []
    others: list[_Keyed] = []
    rate = per_million = spare = None
    for number, offer in enumerate(offers):
        price = offer.price_per_hour
        if speed:
            rate = speed.get((offer.gpu_name, offer.gpu_count))
            per_million = price / (rate * 3600) * 1e6 if rate else None
        cost = price * (hours + setup.get(offer.provider, SETUP_HOURS))
        spare = None
        if needed_vram_gb is not None and offer.gpu_count:
            spare = offer.vram_gb * offer.gpu_count - needed_vram_gb
        found = against(offer)
        shaky = -(offer.reliability or 0.0)
        if found is None:
            row = RankedOffer(offer, None, None, spare, cost, per_million)
            suitable.append((price, shaky, number, row))
        else:
            (kind, reason, cause, until), fits = found
            row = RankedOffer(offer, reason, kind, spare, cost, per_million, until, cause, fits)
            others.append((price, shaky, number, row))
    return [*_sorted(suitable, known), *_sorted(others, known)]


_Keyed = tuple[float, float, int, RankedOffer]
"""Price, minus reliability, a number that keeps rows out of comparisons, the row."""


def _sorted(keyed: list[_Keyed], known: TrackRecord) -> list[RankedOffer]:
    """By price and reliability; what is equal in both by our track record, then by id."""
    keyed.sort()
    rows = [entry[3] for entry in keyed]
    start = 0
    for end in range(1, len(keyed) + 1):
        first = keyed[start]
        if end < len(keyed) and keyed[end][0] == first[0] and keyed[end][1] == first[1]:
            continue
        if end - start > 1:
            rows[start:end] = sorted(
                rows[start:end], key=lambda r: (-_success(known.success, r.offer), r.offer.id)
            )
        start = end
    return rows


def _success(success: Mapping[str, float], offer: Offer) -> float:
    """How often the machine, or else its provider, came to serve; 0.5 when nobody knows."""
    by_machine = success.get(offer.machine_id) if offer.machine_id else None
    return by_machine if by_machine is not None else success.get(offer.provider, 0.5)


class _Judge:
    """What speaks against an offer, for one query. Made for lists of thousands: what depends on
    the query alone is worked out once."""

    def __init__(
        self,
        query: OfferQuery,
        needed_vram_gb: float | None,
        exclusions: Exclusions,
        cpu_allowed: bool,
        hours: float,
    ) -> None:
        self._query = query
        self._needed = needed_vram_gb
        self._exclusions = exclusions
        self._excludes = bool(
            exclusions.offers
            or exclusions.providers
            or exclusions.machines
            or query.exclude_providers
        )
        self._cpu_allowed = cpu_allowed
        self._hours = hours
        self._pinned = query.pinned
        self._by_machine_type: dict[tuple[str, str, int, float, float | None], Against | None] = {}
        self._too_dear: Against = ("price", f"over {dollars(query.max_price or 0)}/h", "", None)

    def against(self, offer: Offer) -> tuple[Against, bool] | None:
        """The first thing that speaks against an offer, and whether it is the only one; None when
        nothing does."""
        if self._pinned and offer.id not in self._pinned:
            return ("query", "another offer was asked for", "", None), False
        if self._excludes:
            found = self._excluded(offer)
            if found is not None:
                return found, offer.available and self._against_wish(offer) is None
        if not offer.available:
            return ("unavailable", "listed as not available", "", None), False
        found = self._against_wish(offer)
        return None if found is None else (found, False)

    def _excluded(self, offer: Offer) -> Against | None:
        exclusions = self._exclusions
        if exclusions.offers and (why := exclusions.offers.get(offer.id)) is not None:
            return _told("offer", why)
        if exclusions.providers and (why := exclusions.providers.get(offer.provider)) is not None:
            return _told("provider", why)
        if offer.provider in self._query.exclude_providers:
            return "provider", f"provider {offer.provider} excluded", "", None
        if exclusions.machines and offer.machine_id is not None:
            why = exclusions.machines.get(offer.machine_id)
            if why is not None:
                return _told("machine", why)
        return None

    def _against_wish(self, offer: Offer) -> Against | None:
        """The price comes last, so that "too expensive" means that all else is right."""
        query = self._query
        # A long list holds few kinds of machines.
        kind = (
            offer.provider,
            offer.gpu_name,
            offer.gpu_count,
            offer.vram_gb,
            offer.cuda_version,
        )
        try:
            found = self._by_machine_type[kind]
        except KeyError:
            found = self._by_machine_type[kind] = self._against_kind(offer)
        if found is not None:
            return found
        floor = query.min_reliability
        if floor is not None and offer.reliability is not None and offer.reliability < floor:
            return "reliability", f"{offer.reliability:.1%} reliable, under {floor:.1%}", "", None
        longest = offer.max_duration_hours
        if longest is not None and longest < self._hours:
            return "duration", f"for {longest:.0f} h at most", "", None
        if query.max_price is not None and offer.price_per_hour > query.max_price:
            return self._too_dear
        return None

    def _against_kind(self, offer: Offer) -> Against | None:
        """What speaks against every offer of this provider and kind of machine."""
        query = self._query
        if query.provider is not None and offer.provider != query.provider:
            return "query", f"not from {query.provider}", "", None
        if query.gpu is not None and squash(query.gpu) not in squash(offer.gpu_name):
            return "gpu", f"not a {query.gpu}", "", None
        if query.gpu_count is not None and offer.gpu_count < query.gpu_count:
            return "count", f"{offer.gpu_count} of {query.gpu_count} GPUs", "", None
        if offer.gpu_count == 0 and query.quantization:
            return "gpu", f"{query.quantization} needs a GPU", "", None
        if offer.gpu_count == 0 and self._cpu_allowed:
            return None
        each, enough = query.min_vram_gb, self._needed
        if each is not None and offer.vram_gb < each * VRAM_TOLERANCE:
            return "vram", f"{offer.vram_gb:.0f} of {each:.0f} GB VRAM", "", None
        if enough is not None and offer.total_vram_gb < enough * VRAM_TOLERANCE:
            words = f"{offer.total_vram_gb:.0f} GB VRAM, the model needs {enough:.1f}"
            return "vram", words, "", None
        least, cuda = query.min_cuda, offer.cuda_version
        if least is not None and cuda is not None and cuda < least:
            return "cuda", f"driver knows CUDA {cuda:.1f}, {least:.1f} needed", "", None
        return None


def _told(kind: str, why: str | Exclusion) -> Against:
    if isinstance(why, str):
        return kind, why, "", None
    return kind, why.words, why.cause, why.until


def squash(name: str) -> str:
    """A GPU's name without what listings write differently: case, blanks, "_" and "-"."""
    return name.replace(" ", "").replace("_", "").replace("-", "").casefold()


def alike(one: str, other: str) -> bool:
    """Whether two names may mean the same; one that is not told may be any."""
    names = {squash(one), squash(other)}
    return len(names) == 1 or bool(names & {"", UNTOLD})


_COUNTED = {
    "price": "too expensive",
    "vram": "with too little VRAM",
    "gpu": "with another GPU",
    "count": "with too few GPUs",
    "cuda": "with too old a driver",
    "reliability": "not reliable enough",
    "duration": "not for so many hours",
    "provider": "from excluded providers",
    "machine": "on excluded machines",
    "offer": "already failed",
    "unavailable": "not available",
    "query": "not asked for",
}


def counted(ranked: Iterable[RankedOffer]) -> str:
    """The excluded ones by cause: "3 stale, 4 vastai after SSH errors"."""
    causes = (r.cause or _COUNTED.get(r.exclusion or "", "other") for r in ranked if r.excluded)
    return ", ".join(f"{n} {cause}" for cause, n in Counter(causes).most_common())


def why_none(ranked: Iterable[RankedOffer], query: OfferQuery) -> tuple[str, str]:
    """(what happened, what would help) for a list in which nothing suits."""
    rows = list(ranked)
    if not rows:
        return "no suitable offers: the backend lists none", "try again later, or another backend"
    pinned = query.pinned
    if pinned and not pinned & {r.offer.id for r in rows}:
        names = ", ".join(sorted(pinned)[:3]) + (", ..." if len(pinned) > 3 else "")
        return (
            f"no suitable offers: {names} {'is' if len(pinned) == 1 else 'are'} not listed",
            "`gdl-tui offers` shows what there is",
        )
    return f"no suitable offers ({len(rows)} excluded: {counted(rows)})", _what_helps(rows)


def _what_helps(rows: list[RankedOffer]) -> str:
    """Only what is sure to help: offers that nothing else speaks against."""
    too_dear = [r.offer.price_per_hour for r in rows if r.exclusion == "price"]
    shut_out = [r for r in rows if r.otherwise_fits]
    providers = sorted({r.offer.provider for r in shut_out if r.exclusion == "provider"})
    hints = []
    if too_dear:
        hints.append(f"raise the price ceiling to {dollars(_up_to_a_cent(min(too_dear)))}/h")
    if providers:
        names = " ".join(f"--include-provider {name}" for name in providers)
        hints.append(f"include provider {', '.join(providers)} (`{names}`, or u)")
    remembered = [r for r in shut_out if r.exclusion in ("offer", "machine") and r.until]
    if remembered and not hints:
        soonest = min(r.until for r in remembered if r.until is not None)
        hints.append(
            f"wait until {soonest:%H:%M} UTC, when the first exclusion ends"
            " (`gdl-tui exclusions` shows and clears them)"
        )
    if shut_out and not hints:
        hints.append("deploy again: what failed is excluded from this deployment only")
    if not hints and any(r.exclusion == "vram" for r in rows):
        hints.append("choose a smaller model, or allow several GPUs")
    return " or ".join(hints) or "loosen the filters"


def _up_to_a_cent(price: float) -> float:
    """Rounded up: a ceiling of the rounded price must let the offer through."""
    return -(-round(price * 10_000) // 100) / 100
