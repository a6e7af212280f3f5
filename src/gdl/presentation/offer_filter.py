"""The line that offers are filtered by: plain words on everything, and fields.

    line  = terms joined by blanks, all of which must hold; `or` between two groups of them
    term  = [!] word | [!] "several words" | [!] field operator value
    value = a number, a name, several names with commas, or yes and no

An unknown field, operator or value is a problem that is told where it stands, never a term that is
silently dropped."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from gdl.domain.judging import squash
from gdl.domain.offers import RankedOffer
from gdl.presentation.filter_fields import BY_NAME, FIELDS, Field, Kind
from gdl.presentation.lines import plain

Term = Callable[[RankedOffer, str], bool]
"""A test of an offer and of the text that plain words are looked for in."""

_TOKEN = re.compile(
    r"""(?P<not>!?)
    (?: (?P<quote>["'])(?P<quoted>.*?)(?:(?P=quote)|$)
      | (?P<name>[A-Za-z_]+)
        (?: (?P<sign>[:<>=!~≤≥]+) | \ +(?P<apart>!?[<>=~≤≥]+)\ * )
        (?: (?P<q2>["'])(?P<text>.*?)(?:(?P=q2)|$) | (?P<value>\S*) )
      | (?P<word>\S+) )""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": lambda a, b: abs(a - b) < 1e-9,
    "!=": lambda a, b: abs(a - b) >= 1e-9,
}
_SAME_SIGN = {"≤": "<=", "≥": ">=", "==": "="}
_MEANT_SIGN = {"=<": "<=", "=>": ">=", "<>": "!=", "><": "!=", "!": "!=", "~": ":", "=~": ":"}
_YES = {"yes": True, "y": True, "true": True, "no": False, "n": False, "false": False}


class Problem(NamedTuple):
    """What cannot be asked for. start, end: where it stands in the line. what: one line; helps:
    what to write instead. typing: it may only be unfinished."""

    start: int
    end: int
    what: str
    helps: str
    typing: bool = False


class OfferFilter(NamedTuple):
    """groups: an offer passes that passes all terms of one of them; none: all pass. problems: the
    terms that cannot be asked for, which are in no group. most_price: dollars an hour that no offer
    that passes is above, where the terms say so."""

    groups: tuple[tuple[Term, ...], ...] = ()
    problems: tuple[Problem, ...] = ()
    most_price: float | None = None

    def passes(self, ranked: RankedOffer, text: str) -> bool:
        """text: `searched(ranked)`."""
        groups = self.groups
        return not groups or any(all(term(ranked, text) for term in each) for each in groups)

    @property
    def problem(self) -> Problem | None:
        """The one to tell: the first, but none that may only be unfinished before another."""
        return min(self.problems, key=lambda p: (p.typing, p.start), default=None)


def passing(wanted: OfferFilter, ranked: Sequence[RankedOffer]) -> list[RankedOffer]:
    """Those that pass it, whatever else speaks against them."""
    if not wanted.groups:
        return list(ranked)
    return [row for row in ranked if wanted.passes(row, searched(row))]


def parse(line: str) -> OfferFilter:
    """Never raises: what cannot be asked for is in `problems`."""
    groups: list[list[Term]] = [[]]
    ceilings = [math.inf]
    problems: list[Problem] = []
    for found in _TOKEN.finditer(line):
        word = (found["word"] or "").casefold()
        if word in ("or", "|", "||", "and", "&&"):
            if word in ("or", "|", "||"):
                if not groups[-1] and not problems:
                    problems.append(_lone(found))
                groups.append([])
                ceilings.append(math.inf)
            continue
        try:
            made = _term(found, line)
        except _Wrong as wrong:
            problems.append(wrong.problem)
        else:
            if made is not None:
                groups[-1].append(made)
                ceilings[-1] = min(ceilings[-1], _most_price(found))
    # A side of an "or" that is not written yet, or is wrong, asks for nothing.
    dearest = max((most for most, each in zip(ceilings, groups, strict=True) if each), default=0.0)
    return OfferFilter(
        tuple(tuple(each) for each in groups if each),
        tuple(problems),
        dearest if 0 < dearest < math.inf else None,
    )


class _Wrong(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


def _lone(found: re.Match[str]) -> Problem:
    return Problem(*found.span(), 'nothing comes before "or"', "as in 4090 or 3090", typing=False)


def _term(found: re.Match[str], line: str) -> Term | None:
    """None for a term without a word in it. Raises _Wrong."""
    made = _field_term(found, line) if found["name"] else _plain(found["quoted"] or found["word"])
    if made is None or not found["not"]:
        return made
    return lambda ranked, text: not made(ranked, text)


def _most_price(found: re.Match[str]) -> float:
    """The price above which the term lets nothing pass; infinity where it is about another field,
    or lets dearer ones pass."""
    field = BY_NAME.get((found["name"] or "").casefold())
    sign = found["sign"] or found["apart"]
    if field is None or field.name != "price" or found["not"] or sign in (">", ">=", "≥", "!="):
        return math.inf
    value = found["text"] if found["text"] is not None else found["value"]
    return _as_number(field, value.rpartition("..")[2]) or math.inf


def _plain(word: str | None) -> Term | None:
    squashed = squash(word or "")
    if not squashed.strip("!"):
        return None
    return lambda _ranked, text: squashed in text


def _field_term(found: re.Match[str], line: str) -> Term:
    name, written = found["name"].casefold(), found["sign"] or found["apart"]
    value = found["text"] if found["text"] is not None else found["value"] or ""

    def wrong(what: str, helps: str, *, typing: bool = False) -> _Wrong:
        return _Wrong(Problem(*found.span(), what, helps, typing))

    field = BY_NAME.get(name)
    if field is None:
        raise wrong(f"there is no field {plain(name, 30)}", _meant(name, found.group()))
    sign = _SAME_SIGN.get(written, written)
    if sign == ":" and field.kind is Kind.NUMBER:
        sign = "="
    elif sign == "=" and field.kind is not Kind.NUMBER:
        sign = ":"
    if sign not in field.operators:
        unfinished = found.end() == len(line) and not value and sign == "!"
        raise wrong(*_other_sign(field, sign, value), typing=unfinished)
    if not value:
        raise wrong(f"{field.name}: {field.help}", f"as in {field.example}", typing=True)
    if field.kind is Kind.NAME and found["text"] is not None:
        made: Term | str = _name(field, sign, [value])
    elif field.kind is Kind.NAME:
        made = _name(field, sign, value.split(","))
    else:
        made = (_number if field.kind is Kind.NUMBER else _yes)(field, sign, value)
    if isinstance(made, str):
        raise wrong(made, f"as in {field.example}")
    return made


def _number(field: Field, sign: str, value: str) -> Term | str:
    low, dots, high = value.partition("..")
    limits = [_as_number(field, each) for each in ((low, high) if dots else (low,))]
    if any(limit is None for limit in limits):
        return f"{field.name} takes a number, and {plain(value, 20)!r} is not one"
    least, most = (limit or 0.0 for limit in (limits[0], limits[-1]))
    if field.most is not None and max(least, most) > field.most:
        return f"{field.name} is {field.most:g} at most: {field.help}"
    read = field.read
    if dots:
        if sign != "=":
            return f"{field.name} from {low} to {high} is written {field.name}={value}"
        return lambda ranked, _t: (got := read(ranked)) is not None and least <= float(got) <= most
    compare = _COMPARE[sign]
    return lambda ranked, _t: (got := read(ranked)) is not None and compare(float(got), least)


def _as_number(field: Field, text: str) -> float | None:
    try:
        number = float(re.sub(r"(?i)^\$|%$|gb$|/h$|h$|mbit/s$|mbps$", "", text))
    except ValueError:
        return None
    if not math.isfinite(number):  # "nan" would let nothing pass without a word
        return None
    # Shares are told in percent; who writes 0.99 means 99.
    return number * 100 if field.most == 100 and "%" not in text and 0 < number < 1 else number


def _name(field: Field, sign: str, values: Sequence[str]) -> Term | str:
    """One of several names; a comma inside of one is in quotes."""
    names = [each for part in values if (each := squash(part))]
    if not names:
        return f"{field.name}: {field.help}"
    read = field.read
    if sign == "!=":
        return lambda ranked, _t: not any(each in squash(str(read(ranked))) for each in names)
    return lambda ranked, _t: any(each in squash(str(read(ranked))) for each in names)


def _yes(field: Field, sign: str, value: str) -> Term | str:
    wanted = _YES.get(value.casefold())
    if wanted is None:
        return f"{field.name} is yes or no, and {plain(value, 20)!r} is neither"
    read = field.read
    return lambda ranked, _t: bool(read(ranked)) is wanted


def _other_sign(field: Field, sign: str, value: str) -> tuple[str, str]:
    """What is wrong with an operator that the field does not take, and what to write."""
    if field.name == "fit" and _as_number(field, value) is not None:
        return "fit is yes or no", f"for the GB left free: spare{sign}{plain(value, 20)}"
    better = _MEANT_SIGN.get(sign) or _once(sign)
    if better not in field.operators:
        better = "=" if field.kind is Kind.NUMBER else ":"
    what = f"{field.name} takes no {sign}"
    if field.kind is not Kind.NUMBER and set(sign) & set("<>"):
        what = f"{field.name} is {_article(field)}, not a number"
    return what, f"write {field.name}{better}{plain(value, 20) or '…'}"


def _once(sign: str) -> str:
    """What was meant by an operator that is written twice, or with another: "<" by "<<"."""
    signs = set(sign.replace("≤", "<=").replace("≥", ">="))
    way = signs & set("<>")
    return (way.pop() + "=" * ("=" in signs)) if len(way) == 1 else ""


def _article(field: Field) -> str:
    return "a name" if field.kind is Kind.NAME else "yes or no"


def _meant(name: str, term: str) -> str:
    near = difflib.get_close_matches(name, BY_NAME, n=1, cutoff=0.6)
    starts = [each for each in BY_NAME if len(name) > 1 and each.startswith(name)]
    if meant := (starts or near):
        return f"did you mean {meant[0]}?"
    names = ", ".join(field.name for field in FIELDS[:8])
    return f'fields are {names} ...; as a plain word, put it in quotes: "{plain(term, 40)}"'


def searched(ranked: RankedOffer) -> str:
    """What plain words are looked for in."""
    offer = ranked.offer
    return squash(
        f"{offer.gpu_count}x{offer.gpu_name}|{offer.provider}|{offer.location}|{offer.id}"
        f"|{offer.price_per_hour:.3f}|{offer.nominal_vram_gb}gb|{offer.cuda_version or ''}"
        f"|{ranked.excluded or ''}"
    )


def help_lines() -> Iterator[tuple[str, str]]:
    """(example, meaning) of every field, then of what joins terms."""
    for field in FIELDS:
        also = f" (also {', '.join(field.aliases)})" if field.aliases else ""
        yield field.example, f"{field.help}{also}"
    yield "price=0.2..0.4", "a range, both ends included; also < <= > >= = !="
    yield "!spain", "not; before any term"
    yield "4090 or gpu:3090 price<0.2", "either of two groups of terms"
    yield '"virginia, us"', "words as one phrase"


def about(line: str, cursor: int) -> str:
    """Of the field that is being typed, what it is: "price: dollars per hour, as in price<0.5"."""
    begun = re.search(r"([A-Za-z_]+)[:<>=!~≤≥ ]*[^\s]*$", line[:cursor])
    field = BY_NAME.get(begun[1].casefold()) if begun is not None else None
    return "" if field is None else f"{field.name}: {field.help}, as in {field.example}"


def completed(line: str, names: Callable[[str], Sequence[str]]) -> str | None:
    """The line with its last term completed: a field's name with its operator, or a name that the
    offers have. names: those of a field. None where nothing is to be added."""
    value = re.search(r"(?:^|[\s!])([A-Za-z_]+)[:=]([^\s,\"']*,)*([^\s,\"']*)$", line)
    if value is not None:
        field = BY_NAME.get(value[1].casefold())
        typed = value[3]
        if field is None or not typed:
            return None
        choices = ("yes", "no") if field.kind is Kind.YES else names(field.name)
        return _longer(line, typed, choices)
    begun = re.search(r"(?:^|[\s!])([A-Za-z_]{2,})$", line)
    if begun is None:
        return None
    starts = [f"{field.name}{_usual(field)}" for field in FIELDS]
    return _longer(line, begun[1], starts)


def _usual(field: Field) -> str:
    """The operator that is asked for most."""
    found = re.search(r"[:<>=]+", field.example)
    return found.group() if found is not None else ":"


def _longer(line: str, typed: str, choices: Sequence[str]) -> str | None:
    for choice in choices:
        if choice.casefold().startswith(typed.casefold()) and len(choice) > len(typed):
            return line + choice[len(typed) :]
    return None
