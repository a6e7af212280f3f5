"""The filter line of the offers: plain words on everything, and fields such as
`gpu:4090 price<0.5 vram>=24 !spain`. Sorting by a column."""

from __future__ import annotations

import operator
import re
import shlex
from collections.abc import Callable, Sequence

from gdl.domain.offers import RankedOffer

Test = Callable[[RankedOffer], bool]
_Term = Callable[[RankedOffer, str], bool]
"""A test of an offer and of the text that plain words are looked for in."""

_TERM = re.compile(r"([a-z_]+)(:|<=|>=|<|>|=)(.*)", re.IGNORECASE | re.DOTALL)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": lambda a, b: abs(a - b) < 1e-9,
    ":": lambda a, b: abs(a - b) < 1e-9,
}
_NUMBERS: dict[str, Callable[[RankedOffer], float | None]] = {
    "price": lambda r: r.offer.price_per_hour,
    "vram": lambda r: r.offer.vram_gb,
    "total": lambda r: r.offer.total_vram_gb,
    "gpus": lambda r: float(r.offer.gpu_count),
    "cuda": lambda r: r.offer.cuda_version,
    "rel": lambda r: None if r.offer.reliability is None else r.offer.reliability * 100,
    "conf": lambda r: None if r.offer.confidence is None else r.offer.confidence * 100,
    "fit": lambda r: r.headroom_gb,
    "session": lambda r: r.session_price,
    "million": lambda r: r.usd_per_million,
}
_WORDS: dict[str, Callable[[RankedOffer], str]] = {
    "gpu": lambda r: r.offer.gpu_name,
    "provider": lambda r: r.offer.provider,
    "place": lambda r: r.offer.location,
    "id": lambda r: r.offer.id,
    "reason": lambda r: r.excluded or "",
}
FIELDS = (*_WORDS, *_NUMBERS)

SORTS: dict[str, Callable[[RankedOffer], float | str]] = {
    "price": lambda r: r.offer.price_per_hour,
    "session": lambda r: _or_last(r.session_price),
    "million": lambda r: _or_last(r.usd_per_million),
    "gpu": lambda r: f"{_squash(r.offer.gpu_name)} {r.offer.gpu_count:03}",
    "vram": lambda r: r.offer.total_vram_gb,
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
        self._texts = {key: _haystack(ranked) for key, ranked in self.by_key.items()}
        return self

    def pick(self, line: str, column: str, *, reverse: bool) -> list[str]:
        """The keys of the offers that pass the filter line, in the order of `sort`."""
        if self._order != (column, reverse):
            self._order = (column, reverse)
            ordered = sort(list(self.by_key.values()), column, reverse=reverse)
            self._keys = [key_of(ranked) for ranked in ordered]
        terms = _terms(line)
        if terms and not self._texts:
            self.prepare()
        keys, offers, texts = self._keys, self.by_key, self._texts
        for term in terms:
            keys = [key for key in keys if term(offers[key], texts[key])]
        return keys


def key_of(ranked: RankedOffer) -> str:
    """What tells an offer from all others of its backend."""
    return f"{ranked.offer.provider}\0{ranked.offer.id}"


def matcher(text: str) -> Test:
    """The test that a filter line stands for; all its terms must hold. A term that is not
    finished yet (`price<`) holds for everything, so that typing never empties the list."""
    terms = _terms(text)

    def test(ranked: RankedOffer) -> bool:
        words = _haystack(ranked)
        return all(term(ranked, words) for term in terms)

    return test


def _terms(text: str) -> list[_Term]:
    return [test for term in _split(text) if (test := _term(term)) is not None]


def sort(rows: Sequence[RankedOffer], column: str, *, reverse: bool) -> list[RankedOffer]:
    """Sorted by a column of SORTS; excluded ones stay last. The order is stable."""
    value = SORTS[column]
    ordered = sorted(rows, key=value, reverse=reverse)
    return sorted(ordered, key=lambda r: r.excluded is not None)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.replace('"', " ").replace("'", " ").split()


def _or_last(dollars: float | None) -> float:
    """Prices that are not known come after all others."""
    return float("inf") if dollars is None else dollars


def _term(term: str) -> _Term | None:
    if term.startswith("!"):
        inner = _term(term[1:])
        return None if inner is None else lambda ranked, text: not inner(ranked, text)
    found = _TERM.fullmatch(term)
    if found is not None:
        name, sign, wanted = found[1].casefold(), found[2], found[3]
        if name in _NUMBERS:
            return _number(name, sign, wanted)
        if name in _WORDS:
            return _word(name, wanted) if sign in ":=" else None
    squashed = _squash(term)
    return (lambda _ranked, text: squashed in text) if squashed else None


def _number(name: str, sign: str, wanted: str) -> _Term | None:
    try:
        limit = float(wanted.lstrip("$").rstrip("%"))
    except ValueError:
        return None
    read, compare = _NUMBERS[name], _COMPARE[sign]

    def test(ranked: RankedOffer, _text: str) -> bool:
        value = read(ranked)
        return value is not None and compare(value, limit)

    return test


def _word(name: str, wanted: str) -> _Term | None:
    squashed = _squash(wanted)
    read = _WORDS[name]
    return (lambda ranked, _text: squashed in _squash(read(ranked))) if squashed else None


def _haystack(ranked: RankedOffer) -> str:
    offer = ranked.offer
    return _squash(
        f"{offer.gpu_count}x{offer.gpu_name}|{offer.provider}|{offer.location}|{offer.id}"
        f"|{offer.price_per_hour:.3f}|{offer.vram_gb:g}gb|{offer.cuda_version or ''}"
        f"|{ranked.excluded or ''}"
    )


def _squash(text: str) -> str:
    return text.replace(" ", "").replace("_", "").replace("-", "").casefold()
