"""The filter line of the offers: plain words on everything, and fields such as
`gpu:4090 price<0.5 vram>=24 !spain`. Sorting by a column."""

from __future__ import annotations

import operator
import re
import shlex
from collections.abc import Callable, Sequence

from gdl.domain.models import Offer, RankedOffer

Test = Callable[[RankedOffer], bool]

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
    "fit": lambda r: r.headroom_gb,
}
_WORDS: dict[str, Callable[[RankedOffer], str]] = {
    "gpu": lambda r: r.offer.gpu_name,
    "provider": lambda r: r.offer.provider,
    "place": lambda r: r.offer.location,
    "id": lambda r: r.offer.id,
    "reason": lambda r: r.excluded or "",
}
FIELDS = (*_WORDS, *_NUMBERS)

SORTS: dict[str, Callable[[Offer, float | None], float | str]] = {
    "price": lambda o, _fit: o.price_per_hour,
    "gpu": lambda o, _fit: f"{_squash(o.gpu_name)} {o.gpu_count:03}",
    "vram": lambda o, _fit: o.total_vram_gb,
    "fit": lambda _o, fit: float("-inf") if fit is None else fit,
    "cuda": lambda o, _fit: o.cuda_version or 0.0,
    "place": lambda o, _fit: o.location.casefold(),
    "rel": lambda o, _fit: o.reliability or 0.0,
    "provider": lambda o, _fit: o.provider.casefold(),
    "id": lambda o, _fit: o.id,
}
"""Column key to the value it sorts by."""


def matcher(text: str) -> Test:
    """The test that a filter line stands for; all its terms must hold. A term that is not
    finished yet (`price<`) holds for everything, so that typing never empties the list."""
    tests = [test for term in _split(text) if (test := _term(term)) is not None]
    return lambda ranked: all(test(ranked) for test in tests)


def sort(rows: Sequence[RankedOffer], column: str, *, reverse: bool) -> list[RankedOffer]:
    """Sorted by a column of SORTS; excluded ones stay last. The order is stable."""
    value = SORTS[column]
    ordered = sorted(rows, key=lambda r: value(r.offer, r.headroom_gb), reverse=reverse)
    return sorted(ordered, key=lambda r: r.excluded is not None)


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.replace('"', " ").replace("'", " ").split()


def _term(term: str) -> Test | None:
    if term.startswith("!"):
        inner = _term(term[1:])
        return None if inner is None else lambda ranked: not inner(ranked)
    found = _TERM.fullmatch(term)
    if found is not None:
        name, sign, wanted = found[1].casefold(), found[2], found[3]
        if name in _NUMBERS:
            return _number(name, sign, wanted)
        if name in _WORDS:
            return _word(name, wanted) if sign in ":=" else None
    squashed = _squash(term)
    return (lambda ranked: squashed in _haystack(ranked)) if squashed else None


def _number(name: str, sign: str, wanted: str) -> Test | None:
    try:
        limit = float(wanted.lstrip("$").rstrip("%"))
    except ValueError:
        return None
    read, compare = _NUMBERS[name], _COMPARE[sign]

    def test(ranked: RankedOffer) -> bool:
        value = read(ranked)
        return value is not None and compare(value, limit)

    return test


def _word(name: str, wanted: str) -> Test | None:
    squashed = _squash(wanted)
    read = _WORDS[name]
    return (lambda ranked: squashed in _squash(read(ranked))) if squashed else None


def _haystack(ranked: RankedOffer) -> str:
    offer = ranked.offer
    return _squash(
        f"{offer.gpu_count}x{offer.gpu_name}|{offer.provider}|{offer.location}|{offer.id}"
        f"|{offer.price_per_hour:.3f}|{offer.vram_gb:g}gb|{offer.cuda_version or ''}"
        f"|{ranked.excluded or ''}"
    )


def _squash(text: str) -> str:
    return text.replace(" ", "").replace("_", "").replace("-", "").casefold()
