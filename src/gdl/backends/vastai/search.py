"""Offers of Vast.ai: a whole market through pages of 64, with as few searches as will do.

Searches are counted for each account and day, and requests must be some time apart. A list is
therefore kept for some minutes, on disk as well, for the next command: rents ask for their one
offer again before they are sent. Machines of which somebody else was faster are taken off it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise

from gdl.backends.vastai import errors
from gdl.backends.vastai.api_client import V0, VastHttp
from gdl.backends.vastai.fields import BACKEND
from gdl.backends.vastai.offer_file import KeptList, OfferFiles
from gdl.backends.vastai.offer_wire import BID_SUFFIX, OfferPage, read_offers
from gdl.domain.errors import BackendError, BackendRefused
from gdl.domain.judging import squash
from gdl.domain.offers import Offer, OfferQuery

LISTED_DISK_GB = 50.0
"""The disk of listed prices, where nobody says how much a model needs."""
_TOO_MANY = 429
_PAGE = 64
"""More rows are never sent."""
_MOST_SEARCHES = 24
"""For one list. The cheapest machines of every size come first, so that what a cut list lacks is
dearer than what it has of that size."""
_SIZES_GB = (11, 20, 40, 70, 150, 400)
"""Bounds between sizes of machines, by the memory of all their GPUs."""
_STEP_S = 10.0
_LEAST_FRESH_S, _MOST_FRESH_S = 60.0, 300.0
"""A list is fresh for so many seconds for each search that it took, within these limits: six
searches a minute are the most."""
_STALE = timedelta(hours=1)
"""A list as old as that is still better than none, when there are no searches left today."""

Filters = dict[str, object]


@dataclass(slots=True)
class _Kept:
    """fetched_at, fresh_until: by this computer's clock."""

    offers: dict[str, Offer]
    fetched_at: datetime
    fresh_until: datetime


@dataclass(slots=True)
class _Listing:
    """A list that is being made."""

    offers: dict[str, Offer] = field(default_factory=dict)
    dropped: int = 0
    searches: int = 0

    def add(self, page: OfferPage) -> None:
        self.searches += 1
        self.dropped += page.dropped
        for offer in page.offers:
            self.offers.setdefault(offer.id, offer)


@dataclass(slots=True)
class _Range:
    """One size of machines, read page by page by price. after: the price to go on from, None once
    all is read."""

    filters: Filters
    after: float | None = 0.0


class OfferSearch:
    """now: this computer's clock. dropped: rows of the latest list that could not be trusted.
    cut: whether the latest list has not all there is."""

    def __init__(
        self, http: VastHttp, now: Callable[[], datetime], files: OfferFiles | None = None
    ) -> None:
        self._http = http
        self._now = now
        self._files = files
        self._kept: dict[tuple[bool, str, str], _Kept] = {}
        self._locks: dict[tuple[bool, str, str], asyncio.Lock] = {}
        self._returns: datetime | None = None
        self._names: tuple[str, ...] = ()
        self.dropped = 0
        self.cut = False

    async def offers(self, query: OfferQuery) -> Sequence[Offer]:
        """Those that the query's GPU and kind of contract allow; offers asked for by name alone.
        Raises BackendUnreachable, BackendRefused, BackendError."""
        if query.pinned:
            kept_ones = [self._fresh(ident) for ident in query.pinned]
            listed = [offer for offer in kept_ones if offer is not None]
            return listed if len(listed) == len(kept_ones) else await self.named(query.pinned)
        scope = (query.interruptible, squash(query.gpu or ""), _machine_of(query))
        async with self._locks.setdefault(scope, asyncio.Lock()):
            kept = self._kept.get(scope)
            if kept is not None and self._now() < kept.fresh_until:
                return tuple(kept.offers.values())
            try:
                kept = await self._stored(scope) or await self._listed(scope, query)
            except BackendRefused:
                if kept is None or not self.out_of_quota or self._old(kept):
                    raise
            self._kept[scope] = kept
            return tuple(kept.offers.values())

    async def named(self, ids: frozenset[str]) -> Sequence[Offer]:
        """These offers as they are now, as far as they are still there."""
        found: list[Offer] = []
        for bid in (False, True):
            asks = [int(ident) for each in ids if (ident := _ask_of(each, bid=bid)).isdecimal()]
            if asks:
                page = await self._search({"ask_contract_id": {"in": sorted(asks)}}, bid=bid)
                found += [offer for offer in page.offers if offer.id in ids]
        return tuple(found)

    async def sample(self) -> OfferPage:
        """The cheapest few machines on demand: one search."""
        return await self._search({}, bid=False)

    def forget(self, offer_id: str) -> None:
        """Somebody else was faster."""
        for kept in self._kept.values():
            kept.offers.pop(offer_id, None)

    def took(self, offer_id: str) -> None:
        """We were."""
        for kept in self._kept.values():
            if (offer := kept.offers.get(offer_id)) is not None:
                kept.offers[offer_id] = replace(offer, available=False)

    def _fresh(self, offer_id: str) -> Offer | None:
        """An offer of a list that is fresh."""
        for kept in self._kept.values():
            if offer_id in kept.offers and self._now() < kept.fresh_until:
                return kept.offers[offer_id]
        return None

    @property
    def out_of_quota(self) -> bool:
        return self._returns is not None and self._http.clock.theirs() < self._returns

    def _old(self, kept: _Kept) -> bool:
        return self._now() - kept.fetched_at > _STALE

    async def _stored(self, scope: tuple[bool, str, str]) -> _Kept | None:
        """What another process has asked for a moment ago."""
        if self._files is None:
            return None
        found = await asyncio.to_thread(self._files.read, scope, self._now())
        if found is None:
            return None
        return _Kept({o.id: o for o in found.offers}, found.fetched_at, found.fresh_until)

    async def _listed(self, scope: tuple[bool, str, str], query: OfferQuery) -> _Kept:
        made = await self._list(query)
        if self._files is not None:
            offers = tuple(made.offers.values())
            told = KeptList(offers, made.fetched_at, made.fresh_until)
            await asyncio.to_thread(self._files.write, scope, told)
        return made

    # -- one list ------------------------------------------------------------------------------

    async def _list(self, query: OfferQuery) -> _Kept:
        began, bid = self._now(), query.interruptible
        narrow = await self._of_gpu(query.gpu) if query.gpu else {}
        if machine := _machine_of(query):
            # It may be none of the cheapest.
            narrow = {**narrow, "machine_id": {"eq": int(machine)}}
        listing = _Listing()
        first = await self._search(narrow, bid=bid)
        listing.add(first)
        ranges = []
        if first.rows >= _PAGE:
            ranges = [_Range(narrow, first.last)] if narrow else _by_size()
        while ranges and listing.searches < _MOST_SEARCHES:
            try:
                await self._next_page(ranges[0], listing, bid=bid)
            except BackendRefused as error:
                if error.status != _TOO_MANY:
                    raise
                break  # what is there already is better than nothing, and than all of it again
            # One page of every size before the second of any.
            ranges = [*ranges[1:], ranges[0]] if ranges[0].after is not None else ranges[1:]
        self.dropped, self.cut = listing.dropped, bool(ranges)
        fresh = min(max(_STEP_S * listing.searches, _LEAST_FRESH_S), _MOST_FRESH_S)
        return _Kept(listing.offers, began, self._now() + timedelta(seconds=fresh))

    async def _next_page(self, range_: _Range, listing: _Listing, *, bid: bool) -> None:
        after = range_.after or 0.0
        page = await self._search(range_.filters, bid=bid, after=after)
        listing.add(page)
        if page.rows < _PAGE or page.last is None:
            range_.after = None
        elif page.last > after:
            range_.after = page.last
        else:
            # More machines at one price than a page holds: those beyond it cannot be reached.
            range_.after = after + 1e-6

    async def _of_gpu(self, gpu: str) -> Filters:
        """A filter for the names that the marketplace has for a GPU; none where that is not known.
        To ask for the names counts as no search."""
        if not self._names:
            try:
                data = await self._http.get_data(
                    f"{V0}/gpu_names/unique/", "list the names of GPUs"
                )
            except BackendError:
                data = {}
            names = data.get("gpu_names")
            told = names if isinstance(names, list) else []
            self._names = tuple(name for name in told if isinstance(name, str))
        fitting = [name for name in self._names if squash(gpu) in squash(name)]
        return {"gpu_name": {"in": fitting}} if fitting else {}

    async def _search(self, filters: Filters, *, bid: bool, after: float = 0.0) -> OfferPage:
        """One search: up to 64 machines, cheapest first, from the price `after` on."""
        if self._returns is not None and self.out_of_quota:
            raise errors.out_of_quota(self._returns, self._http.clock.theirs())
        body: Filters = {
            "verified": {"eq": True},
            "external": {"eq": False},
            "rentable": {"eq": True},
            "rented": {"eq": False},
            **filters,
            "type": "bid" if bid else "on-demand",
            "order": [["dph_base", "asc"]],
            "limit": _PAGE,
            "allocated_storage": LISTED_DISK_GB,
        }
        if after > 0:
            # What is shown may be rounded.
            body["dph_base"] = {"gte": after * (1 - 1e-9)}
        answer = await self._http.read("POST", f"{V0}/bundles/", body=body)
        if errors.quota_gone(answer):
            now = self._http.clock.theirs()
            self._returns = errors.quota_returns(answer, now)
            raise errors.out_of_quota(self._returns, now)
        return self._page(self._http.data(answer, "list its offers"), bid=bid)

    def _page(self, data: Mapping[str, object], *, bid: bool) -> OfferPage:
        try:
            return read_offers(data, LISTED_DISK_GB, self._now(), bid=bid)
        except (KeyError, ValueError):
            raise self._http.wrong_shape("a list of offers") from None


def _by_size() -> list[_Range]:
    bounds = [gb * 1000 for gb in _SIZES_GB]
    ranges = [_Range({"gpu_total_ram": {"lt": bounds[0]}})]
    for low, high in pairwise(bounds):
        ranges.append(_Range({"gpu_total_ram": {"gte": low, "lt": high}}))
    return [*ranges, _Range({"gpu_total_ram": {"gte": bounds[-1]}})]


def _machine_of(query: OfferQuery) -> str:
    """The machine whose volume is to be mounted; "" for any."""
    volume = query.volume
    ours = volume is not None and volume.backend == BACKEND and volume.place.isdigit()
    return volume.place if ours and volume is not None else ""


def _ask_of(offer_id: str, *, bid: bool) -> str:
    """The marketplace's own id of an offer, "" where it is not of this kind."""
    if offer_id.endswith(BID_SUFFIX) != bid:
        return ""
    return offer_id.removesuffix(BID_SUFFIX)
