"""From a log to a cause and a remedy (rules.toml, and an engine's own rules)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gdl.diagnosis.rules import BROAD, GENERIC, SPECIFIC, VALUE_CHARS, Rule, RuleSet, rule_set
from gdl.diagnosis.scan import Found, Scanner, clean
from gdl.domain.remedies import Remedy, RemedyKind

_READ_ON = "Read the log (`gdl-tui bundle ID` packs all of it), or take the next offer."
_EVIDENCE_LINES = 5
_EVIDENCE_CHARS = 300

__all__ = ["Diagnosis", "Rule", "RuleSet", "Scanner", "by_id", "diagnose", "explain", "rule_set"]

_NEXT = Remedy(RemedyKind.NEXT)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """rule: its id, "unknown" or "signal-N". evidence: at most 5 lines of at most 300 characters.
    confidence: "high", "medium" or "low". kind: what sort of remedy (rules.toml), or "".
    action: the remedy as an object. known: whether a cause was found: no guess from a line that
    only says that something failed."""

    rule: str
    cause: str
    remedy: str
    evidence: tuple[str, ...] = ()
    confidence: str = "low"
    kind: str = ""
    action: Remedy = _NEXT
    known: bool = True


def diagnose(
    rules: RuleSet, lines: Sequence[str], *, exit_status: int | None = None, phase: str = ""
) -> Diagnosis:
    """The most likely cause. `exit_status` is -N (or 128 + N) when signal N ended the process.

    Never raises, whatever the lines hold. For logs of any length there is a Scanner and `explain`.
    """
    scanner = Scanner(rules, phase)
    text = "\n".join(clean(line) for line in lines)
    scanner.feed(text.encode("utf-8", "replace"))
    return explain(scanner, exit_status)


def explain(scanner: Scanner, exit_status: int | None = None) -> Diagnosis:
    """What a log that was read to its end says.

    The earliest specific match wins over any broader one; then the signal; then the last error,
    said to be unexplained.
    """
    scanner.end()
    for tier in (SPECIFIC, BROAD):
        if tier in scanner.found:
            return _from_rule(scanner.found[tier])
    by_signal = _from_signal(scanner, exit_status)
    if by_signal is not None:
        return by_signal
    if GENERIC in scanner.found:
        return _from_generic(scanner.found[GENERIC])
    return _unknown(scanner, exit_status)


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


def _from_rule(found: Found) -> Diagnosis:
    rule, groups = found.rule, found.match.groupdict()
    values = {**rule.unnamed, **{k: _value(k, v) for k, v in groups.items() if v}}
    confidence = "high" if rule.sure and rule.tier == SPECIFIC else "medium"
    return _made(rule, values, found.lines, confidence, groups)


def _from_generic(found: Found) -> Diagnosis:
    """The line itself explains nothing: show the last error that stands above it."""
    if not found.above:
        return _from_rule(found)
    rule = found.rule
    cause = f"{rule.cause.rstrip('.')}; the last error above it: {_cut(found.above, VALUE_CHARS)}"
    evidence = _shown([found.above, found.match.string])
    action = rule.action({})
    return Diagnosis(rule.id, cause, rule.remedy, evidence, "low", rule.kind, action, known=False)


_SIGNALS = {
    4: (
        "The processor lacks an instruction that this build uses (signal 4).",
        "Take a machine with a newer processor (AVX2 or AVX-512).",
        "next",
    ),
    6: ("The process gave up by itself (signal 6).", "Read the lines above it in the log.", ""),
    7: (
        "A memory page could not be had (signal 7), mostly because shared memory is too small.",
        "Give the container more shared memory, or take the next offer.",
        "next",
    ),
    9: (
        "The process was killed (signal 9), probably because memory ran out.",
        "Take a machine with more RAM, or a smaller model.",
        "next",
    ),
    11: (
        "The process crashed (signal 11).",
        "Start it once more; if it crashes again, choose another release of the engine.",
        "fix",
    ),
    15: ("The process was asked to end (signal 15).", "Start it again.", ""),
}


def _from_signal(scanner: Scanner, exit_status: int | None) -> Diagnosis | None:
    if exit_status is None:
        return None
    signal = -exit_status if exit_status < 0 else exit_status - 128
    if not 0 < signal < 65:
        return None
    cause, remedy, kind = _SIGNALS.get(
        signal, (f"The process was ended by signal {signal}.", "Read the log.", "")
    )
    # A crash may have been bad luck; a process that was killed will be killed again.
    action = Remedy(RemedyKind.RESTART if signal == 11 else RemedyKind.NEXT)
    return Diagnosis(
        f"signal-{signal}", cause, remedy, _shown(scanner.last[-2:]), "medium", kind, action
    )


def _unknown(scanner: Scanner, exit_status: int | None) -> Diagnosis:
    last, filled = scanner.error, scanner.last
    if last:
        cause = f"Not a known failure; the last error is: {_cut(last, VALUE_CHARS)}"
    elif filled:
        cause = f"Not a known failure; the last line is: {_cut(filled[-1].strip(), VALUE_CHARS)}"
    else:
        ended = "" if exit_status is None else f" with status {exit_status}"
        cause = f"Not a known failure; it ended{ended} without a word."
    evidence = [*([last] if last else []), *[line for line in filled if line.strip() != last]]
    return Diagnosis("unknown", cause, _READ_ON, _shown(evidence), known=False)


def _value(name: str, text: str) -> str:
    """A group's text as shown. Torch tells CUDA 12.8 as 12080."""
    if name == "cuda" and text.isdigit():
        number = int(text[:9])
        return f"{number // 1000}.{number % 1000 // 10}"
    return _cut(text, VALUE_CHARS).rstrip(".")


def _fill(template: str, values: Mapping[str, str]) -> str:
    """{name} by its value, in one pass: a value's own braces mean nothing."""
    return re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], "it"), template)


def _shown(lines: Sequence[str]) -> tuple[str, ...]:
    kept = [clean(line).strip() for line in lines]
    return tuple(_cut(line, _EVIDENCE_CHARS) for line in kept if line)[:_EVIDENCE_LINES]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
