"""What speaks against an offer, for one query: all but whether a model fits on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from datetime import datetime

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import hourly
from gdl.domain.offers import UNTOLD, Exclusion, Offer, OfferQuery

Against = tuple[str, str, str, datetime | None]
"""(kind, reason, cause, until) of what speaks against an offer."""


@dataclass(frozen=True, slots=True)
class Exclusions:
    """Who is excluded, by key: the reason in words, or the whole exclusion."""

    offers: Mapping[str, str | Exclusion] = field(default_factory=dict)
    providers: Mapping[str, str | Exclusion] = field(default_factory=dict)
    machines: Mapping[str, str | Exclusion] = field(default_factory=dict)
    hosts: Mapping[str, str | Exclusion] = field(default_factory=dict)
    backends: Mapping[str, str | Exclusion] = field(default_factory=dict)

    @classmethod
    def of(cls, exclusions: Iterable[Exclusion]) -> Exclusions:
        """By kind and key; of two for the same key the later one counts."""
        by_kind: dict[str, dict[str, str | Exclusion]] = {
            kind: {} for kind in ("offer", "provider", "machine", "host", "backend")
        }
        for each in exclusions:
            by_kind[each.kind][each.key] = each
        return cls(*by_kind.values())


class Judge:
    """Made for lists of thousands: what depends on the query alone is worked out once, and what
    depends on the kind of machine once for each kind."""

    def __init__(
        self, query: OfferQuery, exclusions: Exclusions, *, cpu_allowed: bool, hours: float
    ) -> None:
        self._query = query
        self._exclusions = exclusions
        self._excludes = bool(
            exclusions.offers
            or exclusions.providers
            or exclusions.machines
            or exclusions.hosts
            or exclusions.backends
            or query.exclude_providers
        )
        self._cpu_allowed = cpu_allowed
        self._hours = hours
        self._pinned = query.pinned
        self._by_machine_type: dict[tuple[str, str, int, float], Against | None] = {}
        self._too_dear: Against = ("price", f"over {hourly(query.max_price or 0)}", "", None)
        volume = query.volume
        where = f"{volume.backend}, {volume.place}" if volume and volume.place else "elsewhere"
        self._cannot_mount: Against = (
            "volume",
            f"cannot mount the volume {volume.name if volume else ''} ({where})",
            "cannot mount the volume",
            None,
        )
        words = f"costs more than your bid of {hourly(query.bid or 0)}"
        self._over_bid: Against = ("price", words, "over the bid", None)

    def whom(self, offer: Offer) -> Against | None:
        """Against this very offer: who rents it out, and what happened before."""
        if self._pinned and offer.id not in self._pinned:
            return "query", "another offer was requested", "", None
        if self._excludes:
            return self._excluded(offer)
        return None

    def before(self, offer: Offer) -> Against | None:
        """What counts before memory does: whether it can be had at all, and is what was asked
        for."""
        if not offer.available:
            return "unavailable", "listed as not available", "", None
        volume = self._query.volume
        if volume and not volume.mounts_at(offer.backend, offer.machine_id, offer.location):
            return self._cannot_mount
        if offer.interruptible and (against := self._against_way(offer)) is not None:
            return against
        # A long list holds few types of machines.
        machine = (offer.provider, offer.gpu_name, offer.gpu_count, offer.vram_gb)
        try:
            return self._by_machine_type[machine]
        except KeyError:
            found = self._by_machine_type[machine] = self._against_type(offer)
            return found

    def without_gpu(self, offer: Offer) -> bool:
        """Whether it may serve without a GPU, so that GPU memory and drivers count for nothing."""
        return offer.gpu_count == 0 and self._cpu_allowed

    def after(self, offer: Offer) -> Against | None:
        """What counts after memory does. The price comes last, so that "too expensive" means that
        all else is right."""
        query = self._query
        least, cuda = query.min_cuda, offer.cuda_version
        if least is not None and cuda is not None and cuda < least and not self.without_gpu(offer):
            return "cuda", f"driver supports CUDA {cuda:.1f}, {least:.1f} needed", "", None
        floor = query.min_reliability
        if floor is not None and offer.reliability is not None and offer.reliability < floor:
            return "reliability", f"{offer.reliability:.1%} reliable, under {floor:.1%}", "", None
        longest = offer.max_duration_hours
        if longest is not None and longest < self._hours:
            return "duration", f"for at most {longest:.0f} h", "", None
        terms = offer.terms
        if terms is not None and (most := terms.most_disk_gb) is not None and terms.disk_gb > most:
            return "disk", f"{most:.0f} GB of disk at most, {terms.disk_gb:.0f} needed", "", None
        if query.max_price is not None and offer.price_per_hour > query.max_price:
            return self._too_dear
        return None

    def _against_way(self, offer: Offer) -> Against | None:
        """What speaks against an interruptible machine."""
        if not self._query.interruptible:
            return "query", "interruptible: can be lost to a higher bid", "interruptible", None
        if offer.terms is None or offer.terms.bid is None:
            return "query", "takes no bids", "", None
        if self._query.bid is not None and offer.terms.bid > self._query.bid:
            return self._over_bid
        return None

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
        if exclusions.hosts and offer.host_id is not None:
            why = exclusions.hosts.get(offer.host_id)
            if why is not None:
                return _told("host", why)
        if exclusions.backends and (why := exclusions.backends.get(offer.backend)) is not None:
            return _told("backend", why)
        return None

    def _against_type(self, offer: Offer) -> Against | None:
        """What speaks against every offer of this provider and type of machine."""
        query = self._query
        if query.provider is not None and offer.provider != query.provider:
            return "query", f"not from {query.provider}", "", None
        if offer.not_asked:
            return None
        if query.gpu is not None and squash(query.gpu) not in squash(offer.gpu_name):
            return "gpu", f"not a {query.gpu}", "", None
        if query.gpu_count is not None and offer.gpu_count < query.gpu_count:
            return "count", f"{offer.gpu_count} of {query.gpu_count} GPUs", "", None
        if offer.gpu_count == 0 and query.quantization:
            return "gpu", f"{query.quantization} needs a GPU", "", None
        each = query.min_vram_gb
        has = max(offer.nominal_vram_gb, offer.vram_gb)
        if each is not None and has < each and not self.without_gpu(offer):
            return "vram", f"{has:g} of {each:g} GB VRAM", "", None
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
