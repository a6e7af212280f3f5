"""Which rule explains a log: every rule is asked about every record, and the best match wins.

The order among matches, and why a candidate was passed over, is all here; see `_rank`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import field

from gdl.diagnosis.records import Level, Line, Log, Record
from gdl.diagnosis.rules import PLAIN, Rule, RuleSet, folded
from gdl.domain.lazy_dataclass import dataclass

_AROUND = 15
"""Lines of the same stream, before and after a record, that belong to its surroundings."""
_NOBODY: frozenset[str] = frozenset()
_BY_PHASE = dict.fromkeys(("RENTING", "CONNECTING", "PREFLIGHT"), frozenset({"ssh", "market"}))
"""Whose words are read in a phase, whatever they look like."""
_NO_NAME = re.compile(r"(?i:it|its|this|that|these|those|them|they|which|the|an?)")
"""Words in the place of a name that name nothing, as in "Please install it with pip"."""
_PART = re.compile(r"([<>=!]=?)\s*([\d.]+)")


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that holds for a record. groups: the named groups of its patterns."""

    rule: Rule
    record: Record
    groups: dict[str, str | None]
    survived: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """A rule whose words a record has, and that was not chosen. why: in a few words."""

    rule: Rule
    record: Record
    why: str


@dataclass(slots=True)
class Matches:
    """All that was found; best first. dropped: what a condition ruled out."""

    found: list[Match] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)


class Surroundings:
    """What stands around records: their incident, and lines of the same stream near them."""

    def __init__(self, log: Log) -> None:
        self._streams: dict[str, list[Line]] = defaultdict(list)
        self._places: dict[int, int] = {}
        for line in log.lines:
            self._places.setdefault(line.number, len(self._streams[line.stream]))
            self._streams[line.stream].append(line)
        self._incidents: dict[int, list[Record]] = defaultdict(list)
        for record in log.records:
            self._incidents[record.incident].append(record)
        self._known: dict[int, str] = {}

    def of(self, record: Record) -> str:
        """The words, one record or line under the other."""
        key = id(record)
        if key not in self._known:
            self._known[key] = "\n".join(self._texts(record))
        return self._known[key]

    def _texts(self, record: Record) -> Iterator[str]:
        for each in self._incidents[record.incident]:
            yield each.text
            yield from (frame.words for frame in each.frames)
        lines = self._streams[record.stream]
        first = self._places[record.line.number]
        last = self._places.get(record.last.number, first)
        for line in lines[max(0, first - _AROUND) : last + _AROUND + 1]:
            yield line.text
        if record.stream:
            yield from self._of_nobody(record)

    def _of_nobody(self, record: Record) -> Iterator[str]:
        """What stands right before a worker's words without saying whose it is."""
        lines = self._streams.get("", [])
        end = bisect_left(lines, record.line.number, key=lambda line: line.number)
        for line in lines[max(0, end - _AROUND) : end]:
            if line.number >= record.line.number - _AROUND:
                yield line.text


def matches(rules: RuleSet, log: Log, phase: str = "") -> Matches:
    """What the rules say of a log, but for those of what an error says of itself. phase: of the
    deployment, where one is known."""
    around, result = Surroundings(log), Matches()
    asked = rules.finder.candidates([record.text for record in log.records])
    for place, candidates in sorted(asked.items()):
        for rule in candidates:
            if rule.tier != PLAIN:
                _ask(rule, log.records[place], log, phase, around, result)
    return _sorted(result, log)


def of_itself(rules: RuleSet, log: Log, phase: str, record: Record) -> Match | None:
    """What an error says of itself, where no cause is known: the best rule of that tier."""
    around, result = Surroundings(log), Matches()
    for rule in rules.finder.candidates([record.text]).get(0, ()):
        if rule.tier == PLAIN:
            _ask(rule, record, log, phase, around, result)
    return next(iter(_sorted(result, log).found), None)


def _sorted(result: Matches, log: Log) -> Matches:
    """Best first."""
    beaten = {name for match in result.found for name in match.rule.over}
    begins: dict[int, int] = {}
    for record in log.records:
        begins.setdefault(record.incident, record.line.number)
    result.found.sort(key=lambda match: _rank(match, beaten, begins[match.record.incident]))
    return result


def _rank(match: Match, beaten: set[str], begins: int) -> tuple[int | bool, ...]:
    """Causes before wrappers; what a start survived, and what is only a warning, after what ended
    it; then the earlier incident; inside one, what says more."""
    rule, record = match.rule, match.record
    return (
        rule.tier,
        rule.id in beaten,
        record.level < Level.ERROR,
        match.survived,
        begins,
        _outer(match),
        -rule.specificity,
        record.line.number,
    )


def _outer(match: Match) -> bool:
    """Whether a rule knows only how a complaint of several causes begins, not what it ends in."""
    rule, record = match.rule, match.record
    if record.raised or not record.head or rule.pattern is None:
        return False
    return rule.pattern.search(record.head) is None


def _ask(
    rule: Rule, record: Record, log: Log, phase: str, around: Surroundings, result: Matches
) -> None:
    found = rule.pattern.search(record.text) if rule.pattern is not None else None
    if found is None:
        return
    groups = folded(found.groupdict())
    if any(_NO_NAME.fullmatch(text) for text in groups.values() if text):
        result.dropped.append(Dropped(rule, record, "what it takes for a name is none"))
        return
    why = _elsewhere(rule, record, log, phase) or _conditions(rule, record, log, around, groups)
    if why:
        result.dropped.append(Dropped(rule, record, why))
    else:
        result.found.append(Match(rule, record, groups, _survived(record, log)))


def _elsewhere(rule: Rule, record: Record, log: Log, phase: str) -> str:
    """Why a rule does not apply to such a record at all; "" when it does."""
    if record.level < rule.level:
        return f"it is only {'a warning' if record.level is Level.WARNING else 'information'}"
    if rule.engine and log.engines and rule.engine not in log.engines:
        return f"it is about {rule.engine}, and this log is not"
    if rule.programs and not rule.programs & (
        record.programs | {log.program} | _BY_PHASE.get(phase, _NOBODY)
    ):
        return f"it is about {' or '.join(sorted(rule.programs))}, and these words are not"
    if rule.phases and phase and phase not in rule.phases:
        return f"it is about another phase than {phase}"
    if rule.versions and log.version and not fits(log.version, rule.versions):
        return f"it is about versions {rule.versions}, and this is {log.version}"
    return ""


def _conditions(
    rule: Rule, record: Record, log: Log, around: Surroundings, groups: dict[str, str | None]
) -> str:
    if rule.error is not None and not rule.error.fullmatch(record.error):
        return "the error is of another class"
    frames = "\n".join(frame.words for frame in record.frames)
    if rule.frame is not None:
        if not (raised := list(rule.frame.finditer(frames))):
            return "it was raised elsewhere"
        groups.update({k: v for k, v in raised[-1].groupdict().items() if v})
    if rule.near is not None or rule.unless is not None:
        words = around.of(record)
        if rule.near is not None:
            if (near := rule.near.search(words)) is None:
                return "what must stand near it does not"
            groups.update(
                {k: v for k, v in folded(near.groupdict()).items() if v and not groups.get(k)}
            )
        if rule.unless is not None and rule.unless.search(words):
            return "the lines near it are about something else"
    if rule.also is not None and not any(rule.also.search(each.text) for each in log.records):
        return "what the log must say besides it does not"
    return ""


def _survived(record: Record, log: Log) -> bool:
    """Whether a start that said this served in the end: until it begins anew."""
    for stage in log.stages:
        if stage.number <= record.last.number:
            continue
        if stage.fraction <= 0:
            return False
        if stage.fraction >= 1:
            return True
    return False


def fits(version: str, wanted: str) -> bool:
    """Whether "0.11.2rc1" fits ">=0.8,<0.12". What is no version fits everything."""
    own = _numbers(version)
    for sign, text in _PART.findall(wanted):
        other = _numbers(text)
        width = max(len(own), len(other))
        mine, theirs = (each + (0,) * (width - len(each)) for each in (own, other))
        if not _HOLDS[sign](mine, theirs):
            return False
    return True


_HOLDS = {
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part[:9]) for part in found[0].split(".")) if found else ()
