"""Which offers are asked for, which came, and which of them are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gdl.domain.offers import OfferQuery, RankedOffer
from gdl.tui.filtering import Listing, key_of


class OfferChoice:
    """What the user has chosen on the offers screen.

    wanted: the model and the load it is to serve. listing: the offers that came last.
    excluded: providers that are not to be taken, by a wish for this run alone, the latest last.
    """

    def __init__(self, wanted: OfferQuery) -> None:
        self.wanted = wanted
        self.listing = Listing()
        self.excluded: list[str] = []
        self._marked: list[str] = []

    def query(self, max_price: float | None, offer_ids: Sequence[str] = ()) -> OfferQuery:
        """What offers are asked for with. max_price: dollars an hour; offer_ids: these alone."""
        return replace(
            self.wanted,
            max_price=max_price,
            exclude_providers=tuple(self.excluded),
            offer_id=offer_ids[0] if len(offer_ids) == 1 else None,
            offer_ids=tuple(offer_ids) if len(offer_ids) > 1 else (),
        )

    def take(self, listing: Listing) -> None:
        """Fresh offers; marks of those that are gone go, too."""
        self.listing = listing
        self._marked = [key for key in self._marked if key in listing.by_key]

    @property
    def marked(self) -> list[RankedOffer]:
        """In the order of the list, as they would be tried."""
        if not self._marked:
            return []
        marked = set(self._marked)
        return [ranked for key, ranked in self.listing.by_key.items() if key in marked]

    def is_marked(self, key: str) -> bool:
        return key in self._marked

    def toggle_mark(self, ranked: RankedOffer) -> None:
        key = key_of(ranked)
        if key in self._marked:
            self._marked.remove(key)
        else:
            self._marked.append(key)

    def unmark_all(self) -> None:
        self._marked.clear()

    def exclude_provider(self, provider: str) -> bool:
        """Whether that is new."""
        new = provider not in self.excluded
        if new:
            self.excluded.append(provider)
        return new

    def include_provider(self, provider: str) -> str:
        """Take this provider's offers again, or those of the one excluded last where this one is
        not excluded; its name."""
        name = provider if provider in self.excluded else self.excluded[-1]
        self.excluded.remove(name)
        return name

    def cheapest(self) -> RankedOffer | None:
        """What the orchestrator would take by itself: the first suitable one as listed."""
        listed = self.listing.by_key.values()
        return next((ranked for ranked in listed if ranked.excluded is None), None)


def remembered_key(ranked: RankedOffer) -> str | None:
    """The key under which the exclusion of an offer is remembered, beyond one deployment; None
    when it is no such one."""
    offer = ranked.offer
    keys = {
        "offer": offer.id,
        "machine": offer.machine_id,
        "host": offer.host_id,
        "provider": offer.provider,
    }
    return keys.get(ranked.exclusion or "")
