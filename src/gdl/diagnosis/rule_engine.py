"""From a log to a cause and a remedy (the rules, and an engine's own).

    decoding -> attention -> prefixes -> tracebacks, reading -> matching -> here

Bytes become lines; of a long log only those of interest are looked at closely; lines lose their
prefixes and become records; rules are asked about records; the best match is told.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from gdl.diagnosis.attention import Attention
from gdl.diagnosis.decoding import Decoder
from gdl.diagnosis.headline import headline, root, where
from gdl.diagnosis.matching import Match, Matches, matches, of_itself
from gdl.diagnosis.places import first_to_try, suspects
from gdl.diagnosis.prefixes import LINE
from gdl.diagnosis.reading import read
from gdl.diagnosis.records import Log, Record, Stage
from gdl.diagnosis.rules import GENERIC, PLAIN, VALUE_CHARS, Rule, RuleSet, rule_set
from gdl.diagnosis.signals import ended_by
from gdl.diagnosis.words import unexplained
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.remedies import Remedy, RemedyKind
from gdl.domain.text import flat

_EVIDENCE_LINES = 5
_EVIDENCE_CHARS = 300
_LAST_LINES = 4
_CONSIDERED = 40
_OPTION = re.compile(r"--[a-z][\w-]+|\b[a-z]?[A-Z]{3,}(?:_[A-Z]+)?\b")
"""An option, the name of one of its values, or the engine's, as rules have them."""
_NAMED = re.compile(r"\{(\w+)\}")

__all__ = ["Diagnosis", "Rule", "RuleSet", "Scanner", "by_id", "diagnose", "explain", "rule_set"]

_NEXT = Remedy(RemedyKind.NEXT)
_NOTHING = Remedy(RemedyKind.STOP)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rule that was considered. lines: the first and the last of what it was asked about. why:
    what spoke against it, or "" for the one that was chosen."""

    rule: str
    lines: tuple[int, int]
    text: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """rule: its id, "unknown" or "signal-N". evidence: at most 5 lines of at most 300 characters.
    confidence: "high", "medium" or "low". kind: what sort of remedy (rules/README.md), or "".
    action: the remedy as an object. known: whether a cause was found: no guess from a line that
    only says that something failed.

    headline: the root error in the log's own words, "" for a log without one. where: the module it
    was raised in. program, version: whose log it is. stage: the last sign of progress before the
    error. state: "failed", "healthy" (it served, and nothing went wrong after) or "unfinished".
    lines: the first and the last of the record that the rule holds for, from 1; (0, 0) without one.
    considered: for `--explain`.
    """

    rule: str
    cause: str
    remedy: str
    evidence: tuple[str, ...] = ()
    confidence: str = "low"
    kind: str = ""
    action: Remedy = _NEXT
    known: bool = True
    headline: str = ""
    where: str = ""
    program: str = ""
    version: str = ""
    stage: str = ""
    state: str = "failed"
    lines: tuple[int, int] = (0, 0)
    considered: tuple[Candidate, ...] = ()


class Scanner:
    """Takes a log of any length piece by piece, as it is in its file."""

    def __init__(self, rules: RuleSet, phase: str = "") -> None:
        self.rules = rules
        self.phase = phase
        self._decoder = Decoder()
        self._attention = Attention(rules.interest)

    def feed(self, data: bytes) -> None:
        """The next piece; lines may be cut anywhere."""
        for piece in self._decoder.feed(data):
            self._attention.feed(piece)

    def read_text(self, text: str) -> None:
        """A piece that is text already."""
        self._attention.feed(text.encode("utf-8", "replace"))

    def end(self) -> Log:
        """What was read; nothing can be fed any more."""
        for piece in self._decoder.end():
            self._attention.feed(piece)
        self._attention.end()
        return _staged(self.rules, read(self._attention.lines(), self.rules.logs))


def diagnose(
    rules: RuleSet, lines: Sequence[str], *, exit_status: int | None = None, phase: str = ""
) -> Diagnosis:
    """The most likely cause. `exit_status` is -N (or 128 + N) when signal N ended the process.

    Never raises, whatever the lines hold. For logs of any length there is a Scanner and `explain`.
    """
    scanner = Scanner(rules, phase)
    scanner.read_text("\n".join(line[: 4 * LINE] for line in lines))
    return explain(scanner, exit_status)


def _staged(rules: RuleSet, log: Log) -> Log:
    """With the signs of progress that its engine's rules tell of."""
    for line in log.lines:
        for stage in rules.stages:
            if stage.text in line.text:
                log.stages.append(Stage(line.number, stage.name, stage.fraction))
                break
    return log


def explain(scanner: Scanner, exit_status: int | None = None) -> Diagnosis:
    """What a log that was read to its end says."""
    return explained(scanner.rules, scanner.end(), exit_status, scanner.phase)


def explained(rules: RuleSet, log: Log, exit_status: int | None, phase: str) -> Diagnosis:
    """The best match of a specific rule, else of a broad one; then the signal; then what the root
    error says of itself; then that error, said to be unexplained."""
    all_matches = matches(rules, log, phase)
    explains = {id(m.record) for m in all_matches.found if m.rule.tier < GENERIC}
    wrappers = {id(m.record) for m in all_matches.found if m.rule.tier == GENERIC} - explains
    record = root(log, wrappers)
    best = next((m for m in all_matches.found if _worth_telling(m.rule)), None)
    signal = _from_signal(log, exit_status) if best is None else None
    if best is None and signal is None:
        best = of_itself(rules, log, phase, record) if record is not None else None
    if best is not None:
        found = _from_match(best, log, rules.spelled(log.program))
    else:
        state = _state(log, all_matches, record)
        found = signal or _unexplained(all_matches, log, record, state, exit_status)
    stands = best.record if best is not None else record
    record = record or stands
    return replace(
        found,
        headline=_cut(headline(record), _EVIDENCE_CHARS),
        where=where(record),
        program=log.program,
        version=log.version,
        stage=_stage_before(log, stands),
        state=_state(log, all_matches, record),
        lines=(stands.line.number, stands.last.number) if stands is not None else (0, 0),
        considered=_considered(all_matches, best),
    )


def _worth_telling(rule: Rule) -> bool:
    return rule.tier < GENERIC and rule.confidence != "unknown"


def by_id(rules: RuleSet, rule_id: str, evidence: Sequence[str] = (), **values: str) -> Diagnosis:
    """A diagnosis told by behaviour rather than by text. Raises KeyError for an unknown id."""
    rule = rules.get(rule_id)
    if rule is None:
        raise KeyError(rule_id)
    return _made(rule, {**rule.unnamed, **values}, evidence, "high" if rule.sure else "medium")


def _made(
    rule: Rule,
    values: Mapping[str, str],
    evidence: Sequence[str],
    confidence: str,
    groups: Mapping[str, str | None] | None = None,
) -> Diagnosis:
    return Diagnosis(
        rule.id,
        _fill(rule.cause, values),
        _fill(rule.remedy, values),
        _shown(evidence),
        confidence,
        rule.kind,
        rule.action(groups or {}),
        not rule.generic,
    )


def _from_match(best: Match, log: Log, spelled: Mapping[str, str]) -> Diagnosis:
    rule = best.rule
    values = {name: _value(name, text) for name, text in rule.values(best.groups).items()}
    values.setdefault("where", _cut(where(best.record), VALUE_CHARS) or "the program")
    values.setdefault("first", first_to_try(best.record))
    made = _made(rule, values, _lines_of(best.record, log), rule.confidence, best.groups)
    remedy = made.remedy + suspects(log) if rule.tier == PLAIN else made.remedy
    if spelled and rule.engine != log.program:
        own = partial(_OPTION.sub, lambda found: spelled.get(found[0]) or found[0])
        action = _as_spelled(made.action, rule, spelled)
        return replace(made, cause=own(made.cause), remedy=own(remedy), action=action)
    return replace(made, remedy=remedy)


def _as_spelled(told: Remedy, rule: Rule, spelled: Mapping[str, str]) -> Remedy:
    """Without an option that the engine does not have: what the rule's kind does, then."""
    name = spelled.get(told.name, told.name)
    if told.name and not name:
        return replace(rule, apply={}).action({})
    return replace(told, name=name)


def _lines_of(record: Record, log: Log) -> list[str]:
    """The record's own lines; of an exception with the frame above, of a line with what stands
    around it in its stream."""
    own = [each for each in log.lines if each.stream == record.stream]
    numbers = [each.number for each in own]
    first = bisect_left(numbers, record.line.number)
    last = bisect_left(numbers, record.last.number)
    begin = max(0, first - (2 if record.frames else 1))
    end = last + 1 if record.raised else begin + _EVIDENCE_LINES
    shown = [each.raw for each in own[begin:end] if each.text.strip(" ^~\t")]
    return shown[:_EVIDENCE_LINES]


def _unexplained(
    found: Matches, log: Log, record: Record | None, state: str, status: int | None
) -> Diagnosis:
    """Nothing but wrappers, or nothing at all: the root error says most."""
    generic = next((m.rule for m in found.found if m.rule.tier == GENERIC), None)
    said = _cut(headline(record), VALUE_CHARS)
    told = unexplained(log, record, said, _stage_before(log, record), state, status)
    last = [each for each in log.lines if each.text.strip()][-_LAST_LINES:]
    evidence = _lines_of(record, log) if record is not None else []
    evidence += [each.raw for each in last if each.raw not in evidence]
    if generic is None:
        cause = _cut(told.cause, _EVIDENCE_CHARS)
        return Diagnosis(
            "unknown", cause, told.remedy, _shown(evidence), action=_NOTHING, known=False
        )
    cause = f"{generic.cause.rstrip('.')}; the error is: {said}" if said else generic.cause
    # What helps where a machine is to blame does not depend on the words.
    remedy = told.remedy if said and generic.blame != "machine" else generic.remedy
    action = generic.action({})
    return Diagnosis(
        generic.id, cause, remedy, _shown(evidence), "low", generic.kind, action, False
    )


def _stage_before(log: Log, record: Record | None) -> str:
    reached = [s for s in log.stages if record is None or s.number <= record.last.number]
    return reached[-1].name if reached else ""


def _state(log: Log, found: Matches, record: Record | None) -> str:
    if record is not None or any(match.rule.tier < GENERIC for match in found.found):
        return "failed"
    served = bool(log.stages) and log.stages[-1].fraction >= 1
    return "healthy" if served else "unfinished"


def _considered(found: Matches, best: Match | None) -> tuple[Candidate, ...]:
    """The chosen one, then what it was preferred to, then what did not apply; each rule once."""
    rows: dict[str, Candidate] = {}
    for match in found.found if best is None else (best, *found.found):
        why = "" if match is best else _why_less(match, best)
        rows.setdefault(match.rule.id, _candidate(match.rule, match.record, why))
    for dropped in found.dropped:
        rows.setdefault(dropped.rule.id, _candidate(dropped.rule, dropped.record, dropped.why))
    return tuple(rows.values())[:_CONSIDERED]


def _candidate(rule: Rule, record: Record, why: str) -> Candidate:
    lines = (record.line.number, record.last.number)
    return Candidate(rule.id, lines, _cut(record.text, _EVIDENCE_CHARS), why)


def _why_less(match: Match, best: Match | None) -> str:
    if match.rule.tier == GENERIC:
        return "it says only that something failed"
    if best is None or match.rule.tier > best.rule.tier:
        return "it is broad, and a specific cause was found"
    if match.rule.id in best.rule.over:
        return f"{best.rule.id} says more than this"
    if match.record.level < best.record.level:
        return "only a warning says so"
    if match.survived and not best.survived:
        return "the server came up in spite of it"
    if match.record.incident == best.record.incident:
        return "the other says more of the same error"
    return "another error came before it"


def _from_signal(log: Log, exit_status: int | None) -> Diagnosis | None:
    told = ended_by(exit_status)
    if told is None:
        return None
    last = [each.raw for each in log.lines if each.text.strip()][-2:]
    return Diagnosis(
        f"signal-{told.number}",
        told.cause,
        told.remedy,
        _shown(last),
        "medium",
        told.kind,
        told.action,
    )


def _value(name: str, text: str) -> str:
    """A group's text as shown. Torch tells CUDA 12.8 as 12080."""
    if name == "cuda" and text.isdigit():
        number = int(text[:9])
        return f"{number // 1000}.{number % 1000 // 10}"
    return _cut(text, VALUE_CHARS).rstrip(".")


def _fill(template: str, values: Mapping[str, str]) -> str:
    """{name} by its value, in one pass: a value's own braces mean nothing. Of one that is empty
    nothing is left, nor the brackets around it; one that the log does not have is "it", and its
    brackets go as well."""
    empty = "|".join(name for name, value in values.items() if not value)
    absent = "|".join(name for name in _NAMED.findall(template) if not values.get(name))
    if absent:
        template = re.sub(rf" ?\([^(){{}}]*\{{(?:{absent})\}}[^(){{}}]*\)", "", template)
    if empty:
        template = re.sub(rf" \{{(?:{empty})\}}", "", template)
    return _NAMED.sub(lambda m: values.get(m[1], "it"), template)


def _shown(lines: Sequence[str]) -> tuple[str, ...]:
    kept = [flat(line, _EVIDENCE_CHARS).strip() for line in lines]
    return tuple(_cut(line, _EVIDENCE_CHARS) for line in kept if line)[:_EVIDENCE_LINES]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
