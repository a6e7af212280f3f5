"""Offers as the table lists them: filtered by a line, sorted by a column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from gdl.domain.judging import squash
from gdl.domain.offers import RankedOffer
from gdl.presentation.filter_fields import BY_NAME
from gdl.presentation.lines import plain
from gdl.presentation.offer_filter import OfferFilter, searched

SORTS: dict[str, Callable[[RankedOffer], float | str]] = {
    "price": lambda r: r.offer.price_per_hour,
    "session": lambda r: _or_last(r.session_price),
    "million": lambda r: _or_last(r.usd_per_million),
    "gpu": lambda r: f"{squash(r.offer.gpu_name)} {r.offer.gpu_count:03}",
    "vram": lambda r: float(r.offer.nominal_vram_gb * max(r.offer.gpu_count, 0)),
    "fit": lambda r: float("-inf") if r.headroom_gb is None else r.headroom_gb,
    "cuda": lambda r: r.offer.cuda_version or 0.0,
    "place": lambda r: r.offer.location.casefold(),
    "rel": lambda r: r.offer.reliability or 0.0,
    "conf": lambda r: r.offer.confidence or 0.0,
    "provider": lambda r: r.offer.provider.casefold(),
    "age": lambda r: -r.offer.fetched_at.timestamp() if r.offer.fetched_at else float("inf"),
    "id": lambda r: r.offer.id,
}
"""Column key to the value it sorts by."""
_MAKERS = re.compile(r"(?i)^(nvidia)?(geforce|quadro|tesla)?(rtx|gtx)?")
_MOST_NAMES = 200
"""Of a field, that a filter line is completed with."""


class Listing:
    """Offers as they were listed, with what filters look at prepared once, so that a key stroke
    over ten thousand of them costs some milliseconds. Keys are unique in one backend."""

    def __init__(self, offers: Sequence[RankedOffer] = ()) -> None:
        self.by_key = {key_of(ranked): ranked for ranked in offers}
        self._texts: dict[str, str] = {}
        self._order: tuple[str, bool] | None = None
        self._keys: list[str] = []

    def __len__(self) -> int:
        return len(self.by_key)

    def prepare(self) -> Listing:
        """Make the texts now; slow enough for a thread."""
        self._texts = {key: searched(ranked) for key, ranked in self.by_key.items()}
        return self

    def pick(self, asked: OfferFilter, column: str, *, reverse: bool) -> list[str]:
        """The keys of the offers that pass the filter, in the order of `sort`."""
        if self._order != (column, reverse):
            self._order = (column, reverse)
            ordered = sort(list(self.by_key.values()), column, reverse=reverse)
            self._keys = [key_of(ranked) for ranked in ordered]
        if not asked.groups:
            return self._keys
        if not self._texts:
            self.prepare()
        offers, texts = self.by_key, self._texts
        kept = []
        for terms in asked.groups:
            keys = self._keys
            for term in terms:
                keys = [key for key in keys if term(offers[key], texts[key])]
            kept.append(keys)
        if len(kept) == 1:
            return kept[0]
        either = {key for keys in kept for key in keys}
        return [key for key in self._keys if key in either]

    def names(self, field: str) -> list[str]:
        """That the offers have in a field of names, those of most offers first; without blanks, as
        a filter takes them."""
        read = BY_NAME[field].read
        told = Counter(str(read(ranked) or "") for ranked in self.by_key.values())
        shown = [plain(name, 60).replace(" ", "") for name, _ in told.most_common(_MOST_NAMES)]
        if field == "gpu":
            # People begin with the number as often as with the maker.
            shown += [_MAKERS.sub("", name) for name in shown]
        return [name for name in shown if name and not set(name) & set("\"',")]


def key_of(ranked: RankedOffer) -> str:
    """What tells an offer from all others of its backend."""
    return f"{ranked.offer.provider}\0{ranked.offer.id}"


def sort(rows: Sequence[RankedOffer], column: str, *, reverse: bool) -> list[RankedOffer]:
    """Sorted by a column of SORTS; excluded ones stay last. The order is stable."""
    value = SORTS[column]
    ordered = sorted(rows, key=value, reverse=reverse)
    return sorted(ordered, key=lambda r: r.excluded is not None)


def _or_last(dollars: float | None) -> float:
    """Prices that are not known come after all others."""
    return float("inf") if dollars is None else dollars
