"""What marketplaces list, what is asked of them, and who is excluded. Made of plain types.

Units are in the names: `_gb` is 10^9 bytes as marketplaces use it, `_gib` is 2^30,
`_s` seconds, `_ms` milliseconds, prices in US dollars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from gdl.domain.clock import day_and_time
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.requirements.allocation import Allocation
from gdl.domain.requirements.cards import sold_as
from gdl.domain.session_price import SessionPrice
from gdl.domain.volumes import Volume

ORDERS = ("session", "price")
"""By the price of the whole session, or of an hour."""
_OVER_LEAST = 1.1
"""Whoever bids the least is the first to lose the machine."""
NOT_ASKED = "not asked yet"
"""Stands for the GPUs of a machine of the user's own that nobody has looked at."""
UNTOLD = "unknown"
"""Stands for a name that a backend does not tell, such as that of an offer's provider."""


@dataclass(frozen=True, slots=True)
class OfferTerms:
    """What a machine costs beside the hours of its GPUs, and how fast its line is, where the
    marketplace tells.

    gpu_per_hour: dollars for the machine without any disk. disk_per_gb_hour: dollars for each GB of
    disk and hour. disk_gb: how much disk `Offer.price_per_hour` includes. most_disk_gb: as much can
    be had. down_per_gb, up_per_gb: dollars for each GB of traffic. down_mbps, up_mbps: 10^6 bit/s.
    bid: the least that an interruptible machine goes for now, in dollars an hour.
    """

    gpu_per_hour: float
    disk_per_gb_hour: float = 0.0
    disk_gb: float = 0.0
    most_disk_gb: float | None = None
    down_per_gb: float = 0.0
    up_per_gb: float = 0.0
    down_mbps: float | None = None
    up_mbps: float | None = None
    bid: float | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A machine somebody would rent out. `price_per_hour` is for the whole machine, the disk of
    `terms` included, `vram_gb` per GPU as listed (often floored: a 24 GB card may say 23).
    `host_id` names who runs the machine, where a marketplace has many hosts. `joined`: addresses of
    the machines that serve one model together with it, from rank 1 on."""

    id: str
    backend: str
    provider: str
    gpu_name: str
    gpu_count: int
    vram_gb: float
    price_per_hour: float
    location: str = ""
    reliability: float | None = None
    confidence: float | None = None
    available: bool = True
    cuda_version: float | None = None
    machine_id: str | None = None
    interruptible: bool = False
    max_duration_hours: float | None = None
    fetched_at: datetime | None = None
    terms: OfferTerms | None = None
    host_id: str | None = None
    joined: tuple[str, ...] = ()

    @property
    def asked_directly(self) -> bool:
        """Whether its backend is the marketplace itself, or stands in for it, and not one that
        rents from several."""
        return self.backend.removeprefix("sandbox-") == self.provider

    @property
    def not_asked(self) -> bool:
        """Whether nobody knows what it has, so that nothing of that speaks against it."""
        return self.gpu_count == 0 and self.gpu_name == NOT_ASKED

    @property
    def nominal_vram_gb(self) -> int:
        """What each of its GPUs is sold as, and is known by; see `sold_as`."""
        return sold_as(self.gpu_name, self.vram_gb)

    @property
    def total_vram_gb(self) -> float:
        return self.vram_gb * max(self.gpu_count, 0)

    def with_disk(self, gb: float) -> Offer:
        """The same machine with so many GB of disk, at the price that this makes."""
        terms = self.terms
        if terms is None or terms.disk_gb == gb:
            return self
        return self._priced(replace(terms, disk_gb=gb))

    def bidding(self, most: float) -> Offer:
        """An interruptible machine at what is bid for it: a tenth over the least that it goes for
        now, `most` dollars an hour for its GPUs at most. It costs what is bid."""
        terms = self.terms
        if not self.interruptible or terms is None or terms.bid is None:
            return self
        bid = round(max(min(terms.bid * _OVER_LEAST, most), terms.bid), 4)
        return self._priced(replace(terms, gpu_per_hour=bid))

    def _priced(self, terms: OfferTerms) -> Offer:
        price = terms.gpu_per_hour + terms.disk_gb * terms.disk_per_gb_hour
        return replace(self, price_per_hour=price, terms=terms)


@dataclass(frozen=True, slots=True)
class OfferQuery:
    """What the user wants. None means "do not care".

    offer_ids: these offers alone, whichever is cheapest first. context: tokens a request may have;
    concurrency: requests at a time; quantization: one of `EngineInfo.quantizations`, or "". They
    say how big a machine the model needs, and reach its server. text_only: a model that takes
    images, sound or video as well is to serve text alone, likewise. hours: to be reserved.
    interruptible: machines that are lost to whoever pays more, in place of those on demand, where a
    marketplace has both. bid: dollars an hour for one of these without its disk, at most. nodes:
    machines of one's own that serve one model together.
    """

    provider: str | None = None
    gpu: str | None = None
    min_vram_gb: float | None = None
    max_price: float | None = None
    gpu_count: int | None = None
    exclude_providers: tuple[str, ...] = ()
    offer_id: str | None = None
    model: str | None = None
    min_reliability: float | None = None
    """0-1; offers that do not tell theirs pass."""
    min_cuda: float | None = None
    """The least CUDA version the driver must support; offers that do not tell theirs pass."""
    offer_ids: tuple[str, ...] = ()
    volume: Volume | None = None
    """Machines that can mount it, alone."""
    context: int | None = None
    concurrency: int | None = None
    quantization: str = ""
    hours: int | None = None
    text_only: bool = False
    order: str = ""
    """By what the cheapest is chosen, one of ORDERS; "": by the session's price where a market
    tells what there is to pay beside the hours, else by the hour's."""
    nodes: int = 1
    interruptible: bool = False
    bid: float | None = None

    @property
    def pinned(self) -> frozenset[str]:
        """The offers asked for by name; empty: any."""
        return frozenset(self.offer_ids if self.offer_id is None else (self.offer_id,))


def dearer(price: float, confirmed: float) -> bool:
    """Whether dollars an hour are more than what was confirmed, and not its rounding."""
    return price > confirmed * 1.001 + 0.00005


class OfferCost(NamedTuple):
    """session_price: dollars for the whole session, usd_per_million: dollars per 10^6 output tokens
    at the speed our own benchmarks found on such GPUs; None when not known. pricing: tells the
    session's price in parts, for the hours asked for or others."""

    session_price: float | None = None
    usd_per_million: float | None = None
    pricing: Callable[[Offer, float | None], SessionPrice] | None = None


class Verdict(NamedTuple):
    """What speaks against offers, the same for all that are alike. The fields are RankedOffer's."""

    excluded: str | None = None
    exclusion: str | None = None
    headroom_gb: float | None = None
    until: datetime | None = None
    cause: str = ""
    otherwise_fits: bool = True
    allocation: Allocation | None = None


class RankedOffer(NamedTuple):
    """An offer and what speaks against it. A tuple, and a short one, as thousands are made at each
    look: what many have in common is one object.

    `excluded` is the reason in words, or None.

    exclusion: provider | offer | machine | host | backend | price | gpu | vram | unsuited | count |
    unavailable | query | cuda | reliability | duration | disk | volume.
    headroom_gb: VRAM that the model leaves free, or None when the need is not known.
    until: when an exclusion ends by itself. cause: the few words it is counted under.
    otherwise_fits: nothing but the exclusion of who offers it speaks against it.
    allocation: what each of its GPUs would hold, where the model's configuration is known.
    """

    offer: Offer
    cost: OfferCost = OfferCost()
    verdict: Verdict = Verdict()

    @property
    def excluded(self) -> str | None:
        return self.verdict.excluded

    @property
    def exclusion(self) -> str | None:
        return self.verdict.exclusion

    @property
    def headroom_gb(self) -> float | None:
        return self.verdict.headroom_gb

    @property
    def session_price(self) -> float | None:
        """Dollars from the rent request to the end; `session` tells what they are for."""
        return self.cost.session_price

    def session(self, hours: float | None = None) -> SessionPrice | None:
        """That price in parts. hours: others than those asked for."""
        pricing = self.cost.pricing
        return None if pricing is None else pricing(self.offer, hours)

    @property
    def usd_per_million(self) -> float | None:
        return self.cost.usd_per_million

    @property
    def until(self) -> datetime | None:
        return self.verdict.until

    @property
    def cause(self) -> str:
        return self.verdict.cause

    @property
    def otherwise_fits(self) -> bool:
        return self.verdict.otherwise_fits

    @property
    def allocation(self) -> Allocation | None:
        return self.verdict.allocation


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Who is excluded, why, and until when.

    kind: offer | machine | host | provider | backend. cause: the few words it is counted under
    ("stale"). until: None lasts until it is cleared. scope: deployment (ends with it) | aside (a
    host, provider or backend that this deployment takes when nothing else suits) | remembered
    (across restarts) | user (asked for by the user, across restarts). backend: whose offers it is
    about; another's provider of the same name is another.
    """

    kind: str
    key: str
    reason: str
    since: datetime
    until: datetime | None = None
    cause: str = ""
    scope: str = "remembered"
    backend: str = ""

    @property
    def subject(self) -> tuple[str, str, str]:
        """Who is excluded: (backend, kind, key)."""
        return self.backend, self.kind, self.key

    def covers(self, offer: Offer) -> bool:
        """Whether it is about this offer."""
        if self.backend not in ("", offer.backend):
            return False
        named = {
            "offer": offer.id,
            "machine": offer.machine_id,
            "host": offer.host_id,
            "provider": offer.provider,
            "backend": offer.backend,
        }
        return named.get(self.kind) == self.key

    def holds(self, now: datetime) -> bool:
        return self.until is None or now < self.until

    @property
    def words(self) -> str:
        """The reason with its end, in one line."""
        if self.scope in ("deployment", "aside"):
            return self.reason
        if self.until is None and self.scope == "remembered":
            return f"{self.reason}, until you include it"
        if self.until is None:
            return f"{self.reason}, until you clear it"
        return f"{self.reason}, until {day_and_time(self.until)}"
