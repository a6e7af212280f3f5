"""Which offers suit, in which order, and what speaks against the others."""

from __future__ import annotations

import gc
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import compress, repeat
from operator import not_
from typing import NamedTuple

from gdl.domain.clock import time_of_day
from gdl.domain.judging import Against, Exclusions, Judge
from gdl.domain.money import hourly
from gdl.domain.offers import Offer, OfferCost, OfferQuery, RankedOffer, Verdict
from gdl.domain.requirements.allocation import Allocation
from gdl.domain.requirements.gpus import memory_gb
from gdl.domain.session_price import NOTHING_KNOWN, SessionNeeds
from gdl.domain.session_pricing import ImageOf, SessionPricing
from gdl.domain.track_record import TrackRecord

_NONE = TrackRecord()


class Fit(NamedTuple):
    """Whether a model fits on a type of machine. reason: why it does not, in words, or "".
    headroom_gb: what it leaves free of the GPUs' memory; None when that is not known.
    against: "vram", or "unsuited" where such GPUs cannot run it, whatever their memory."""

    reason: str = ""
    headroom_gb: float | None = None
    allocation: Allocation | None = None
    against: str = "vram"


FitOf = Callable[[Offer], Fit]
"""For a machine of GPUs. Asked once for each type of machine: it may go by name, number and memory
of the GPUs alone."""


def by_total(needed_vram_gb: float | None) -> FitOf:
    """By what all GPUs of a machine must have together; None: that is not known."""
    if needed_vram_gb is None:
        return lambda offer: Fit()
    needed = needed_vram_gb

    def fit(offer: Offer) -> Fit:
        has = memory_gb(offer.gpu_name, offer.vram_gb) * max(offer.gpu_count, 0)
        free = has - needed if offer.gpu_count else None
        if has < needed:
            return Fit(f"{has:.1f} GB VRAM, the model needs {needed:.1f}", free)
        return Fit("", free)

    return fit


class Ranking:
    """A list of offers in its order, ready to be ranked for one load after the other: how long a
    context may be changes whom the model fits, and nothing else."""

    def __init__(
        self,
        offers: Iterable[Offer],
        query: OfferQuery,
        *,
        exclusions: Exclusions | None = None,
        cpu_allowed: bool = False,
        hours: float = 1.0,
        track_record: TrackRecord | None = None,
        needs: SessionNeeds = NOTHING_KNOWN,
        image_of: ImageOf | None = None,
        pulls_free: bool = False,
    ) -> None:
        """needs: of the model, for the price of the session and for disks made to order. image_of,
        pulls_free: as of SessionPricing."""
        known = track_record or _NONE
        judge = Judge(query, exclusions or Exclusions(), cpu_allowed=cpu_allowed, hours=hours)
        pricing = SessionPricing(hours, needs, known, image_of, pulls_free=pulls_free)
        speed = known.tokens_per_s
        in_parts = pricing.price
        numbers: dict[tuple[str, int, float], int] = {}
        groups: dict[_Alike, int] = {}
        self._offers, prices = _in_order(offers, query, needs, pricing, known)
        self._types: list[Offer] = []
        """One offer of each type of machine."""
        self._costs: list[OfferCost] = []
        self._group_of: list[int] = []
        for offer, cost in zip(self._offers, prices, strict=True):
            kind = (offer.gpu_name, offer.gpu_count, offer.vram_gb)
            number = numbers.setdefault(kind, len(numbers))
            if number == len(self._types):
                self._types.append(offer)
            price, per_million = offer.price_per_hour, None
            if speed:
                rate = speed.get((offer.gpu_name, offer.gpu_count))
                per_million = price / (rate * 3600) * 1e6 if rate else None
            self._costs.append(OfferCost(cost, per_million, in_parts))
            whom, before, after = judge.whom(offer), judge.before(offer), judge.after(offer)
            excluded = whom is not None and whom[0] != "query"
            only_whom = excluded and before is None and after is None
            alike = (number, whom or before, after, only_whom)
            self._group_of.append(groups.setdefault(alike, len(groups)))
        self._groups = list(groups)
        """Of offers that the same speaks against."""
        self._exempt = [judge.without_gpu(offer) for offer in self._types]

    def ranked(self, fit_of: FitOf) -> list[RankedOffer]:
        """Suitable offers first, then the excluded ones."""
        with _no_collection():
            return self._ranked(fit_of)

    def _ranked(self, fit_of: FitOf) -> list[RankedOffer]:
        """Group by group: long lists are ranked again and again while a slider moves."""
        fits = [
            Fit() if exempt else fit_of(offer)
            for offer, exempt in zip(self._types, self._exempt, strict=True)
        ]
        verdicts = [_verdict(group, fits[group[0]]) for group in self._groups]
        suit = [verdict.excluded is None for verdict in verdicts]
        suits = list(map(suit.__getitem__, self._group_of))
        columns = zip(
            self._offers, self._costs, map(verdicts.__getitem__, self._group_of), strict=True
        )
        # What `RankedOffer(...)` does, in a third of the time.
        rows = list(map(tuple.__new__, repeat(RankedOffer), columns))
        return [*compress(rows, suits), *compress(rows, map(not_, suits))]


_Alike = tuple[int, Against | None, Against | None, bool]
"""(number of the type of machine; what counts before memory does, what after it; nothing but an
exclusion speaks against it, memory aside) of an offer."""


def _verdict(alike: _Alike, fit: Fit) -> Verdict:
    _, first, last, only_whom = alike
    short: Against | None = (fit.against, fit.reason, "", None) if fit.reason else None
    against = first or short or last
    if against is None:
        return Verdict(headroom_gb=fit.headroom_gb, allocation=fit.allocation)
    kind, reason, cause, until = against
    otherwise = only_whom and short is None
    return Verdict(reason, kind, fit.headroom_gb, until, cause, otherwise, fit.allocation)


@contextmanager
def _no_collection() -> Iterator[None]:
    """While rows are made by the hundred thousand, none of which is garbage, Python would look
    through all of them again and again for some that are: three times the work itself."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def rank(
    offers: Iterable[Offer],
    query: OfferQuery,
    *,
    needed_vram_gb: float | None = None,
    exclusions: Exclusions | None = None,
    cpu_allowed: bool = False,
    hours: float = 1.0,
    track_record: TrackRecord | None = None,
    needs: SessionNeeds = NOTHING_KNOWN,
) -> list[RankedOffer]:
    """Suitable offers first, cheapest first (ties: reliability, then our track record, then id);
    then the excluded ones, in the same order. `needed_vram_gb` is for all GPUs of a machine
    together, `hours` what is to be reserved, `needs` for the price of the session."""
    made = Ranking(
        offers,
        query,
        exclusions=exclusions,
        cpu_allowed=cpu_allowed,
        hours=hours,
        track_record=track_record,
        needs=needs,
    )
    return made.ranked(by_total(needed_vram_gb))


def merged(lists: Sequence[list[RankedOffer]], *, by_session: bool) -> list[RankedOffer]:
    """Ranked lists of several backends as one: suitable offers first, then the excluded ones, both
    in the order that each list has. by_session: the price that they are ordered by."""

    def place(row: RankedOffer) -> tuple[float, float]:
        price = row.session_price if by_session else row.offer.price_per_hour
        return price or 0.0, -(row.offer.reliability or 0.0)

    suit = [[row for row in rows if row.excluded is None] for rows in lists]
    rest = [[row for row in rows if row.excluded is not None] for rows in lists]
    return [*heapq.merge(*suit, key=place), *heapq.merge(*rest, key=place)]


def _in_order(
    offers: Iterable[Offer],
    query: OfferQuery,
    needs: SessionNeeds,
    pricing: SessionPricing,
    known: TrackRecord,
) -> tuple[list[Offer], list[float]]:
    """With the disk that the model needs, and what the session costs on each. By price and
    reliability; what is equal in both by our track record, then by id."""
    disk = needs.disk_gb
    if query.interruptible:
        # What a market without them lists instead is nothing that was asked for.
        offers = [offer for offer in offers if offer.interruptible]
    made = [offer.with_disk(disk) for offer in offers] if disk else list(offers)
    if query.bid is not None:
        made = [offer.bidding(query.bid) for offer in made]
    prices = list(map(pricing.total, made))
    # Where the market tells what else there is to pay, the hour's price alone says little.
    by_session = query.order == "session" or (
        not query.order and disk > 0 and any(offer.terms is not None for offer in made)
    )
    # Numbers keep offers out of the comparisons.
    keyed = [
        (
            prices[number] if by_session else offer.price_per_hour,
            -(offer.reliability or 0.0),
            number,
        )
        for number, offer in enumerate(made)
    ]
    keyed.sort()
    order = [entry[2] for entry in keyed]
    start = 0
    for end in range(1, len(keyed) + 1):
        first = keyed[start]
        if end < len(keyed) and keyed[end][0] == first[0] and keyed[end][1] == first[1]:
            continue
        if end - start > 1:
            order[start:end] = sorted(
                order[start:end], key=lambda n: (-_success(known.success, made[n]), made[n].id)
            )
        start = end
    return [made[number] for number in order], [prices[number] for number in order]


def _success(success: Mapping[str, float], offer: Offer) -> float:
    """How often the machine, or else its provider, came to serve; 0.5 when nobody knows."""
    by_machine = success.get(offer.machine_id) if offer.machine_id else None
    return by_machine if by_machine is not None else success.get(offer.provider, 0.5)


_OF_OWN = ("offer", "machine", "host")
_COUNTED = {
    "price": "too expensive",
    "vram": "with too little VRAM",
    "unsuited": "whose GPUs cannot run it",
    "gpu": "with another GPU",
    "count": "with too few GPUs",
    "cuda": "with too old a driver",
    "reliability": "not reliable enough",
    "duration": "not for so many hours",
    "disk": "with too small a disk",
    "provider": "from excluded providers",
    "machine": "on excluded machines",
    "host": "of excluded hosts",
    "backend": "of excluded backends",
    "offer": "already failed",
    "unavailable": "not available",
    "query": "not what was requested",
}


def counted(ranked: Iterable[RankedOffer]) -> str:
    """The excluded ones by cause: "3 stale, 4 vastai after SSH errors"."""
    causes = (r.cause or _COUNTED.get(r.exclusion or "", "other") for r in ranked if r.excluded)
    return ", ".join(f"{n} {cause}" for cause, n in Counter(causes).most_common())


def why_none(ranked: Iterable[RankedOffer], query: OfferQuery) -> tuple[str, str]:
    """(what happened, what would help) for a list in which nothing suits."""
    rows = list(ranked)
    if not rows and query.interruptible:
        return "no suitable offers: no interruptible machine is listed", "omit --interruptible"
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
        hints.append(f"raise the price ceiling to {hourly(_up_to_a_cent(min(too_dear)))}")
    if providers:
        names = " ".join(f"--include-provider {name}" for name in providers)
        hints.append(f"include provider {', '.join(providers)} (`{names}`, or u)")
    remembered = [r for r in shut_out if r.exclusion in _OF_OWN and r.until]
    if remembered and not hints:
        soonest = min(r.until for r in remembered if r.until is not None)
        hints.append(
            f"wait until {time_of_day(soonest)}, when the first exclusion ends"
            " (`gdl-tui exclusions` shows and clears them)"
        )
    if shut_out and not hints:
        hints.append("deploy again: what failed is excluded from this deployment only")
    if not hints and any(r.exclusion == "vram" for r in rows):
        hints.append("choose a smaller model, or allow several GPUs")
    if not hints and any(r.exclusion == "disk" for r in rows):
        hints.append("choose a smaller model, or another variant of it")
    if not hints and any(r.exclusion == "volume" for r in rows):
        hints.append("wait until a machine there is free, or omit --volume")
    if not hints and any(r.exclusion == "unsuited" for r in rows):
        hints.append("take an offer with newer GPUs, or choose another variant of the model")
    return " or ".join(hints) or "relax the filters"


def _up_to_a_cent(price: float) -> float:
    """Rounded up: a ceiling of the rounded price must let the offer through."""
    return -(-round(price * 10_000) // 100) / 100
