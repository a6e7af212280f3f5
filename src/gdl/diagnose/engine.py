"""From the last lines of a log to a cause and a remedy (rules.toml)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

_LINE = 2000
_EVIDENCE_LINES = 5
_EVIDENCE_CHARS = 300
_VALUE_CHARS = 160
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x1f\x7f-\x9f]"
)
_ERROR = re.compile(
    r"(?:^|[\s\]])(?:(?P<python>(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Failure|Exit)\b.*)"
    r"|(?P<tool>(?:error|ERROR|fatal|FATAL|x|×): ?.+|× .+))"
)
_SPECIFIC, _BROAD, _GENERIC = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """rule: its id, "unknown" or "signal-N". evidence: at most 5 lines of at most 300 characters.
    confidence: "high", "medium" or "low". kind: what sort of remedy (rules.toml), or ""."""

    rule: str
    cause: str
    remedy: str
    evidence: tuple[str, ...] = ()
    confidence: str = "low"
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of rules.toml. pattern None: told by behaviour, never by a line."""

    id: str
    pattern: re.Pattern[str] | None
    cause: str
    remedy: str
    kind: str
    tier: int = _SPECIFIC
    sure: bool = True
    phases: frozenset[str] = frozenset()
    unnamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def generic(self) -> bool:
        return self.tier == _GENERIC


@cache
def rules() -> tuple[Rule, ...]:
    """All rules, in the file's order."""
    raw = tomllib.loads(files("gdl.diagnose").joinpath("rules.toml").read_text("utf-8"))
    return tuple(
        Rule(
            id=row["id"],
            pattern=re.compile(row["pattern"]) if row["pattern"] else None,
            cause=row["cause"],
            remedy=row["remedy"],
            kind=row["kind"],
            tier=row.get("tier", _SPECIFIC),
            sure=row.get("sure", True),
            phases=frozenset(row.get("phases", ())),
            unnamed=row.get("unnamed", {}),
        )
        for row in raw["rule"]
    )


def diagnose(lines: Sequence[str], *, exit_status: int | None = None, phase: str = "") -> Diagnosis:
    """The most likely cause. `exit_status` is -N (or 128 + N) when signal N ended the process.

    The earliest specific match wins over any broader one; then the signal; then the last error
    line, said to be unexplained. Never raises, whatever the lines hold.
    """
    clean = [_CONTROL.sub("", line[:_LINE]).rstrip() for line in lines]
    best: dict[int, tuple[int, Rule, re.Match[str]]] = {}
    asked = [r for r in rules() if r.pattern and (not phase or not r.phases or phase in r.phases)]
    for number, line in enumerate(clean):
        if not line or _SPECIFIC in best:
            continue
        for rule in asked:
            if rule.tier in best or rule.pattern is None:
                continue
            if found := rule.pattern.search(line):
                best[rule.tier] = (number, rule, found)
    for tier in (_SPECIFIC, _BROAD):
        if tier in best:
            return _from_rule(clean, *best[tier])
    by_signal = _from_signal(clean, exit_status)
    if by_signal is not None:
        return by_signal
    if _GENERIC in best:
        return _from_generic(clean, *best[_GENERIC])
    return _unknown(clean, exit_status)


def by_id(rule_id: str, evidence: Sequence[str] = ()) -> Diagnosis:
    """A diagnosis told by behaviour rather than by text. Raises KeyError for an unknown id."""
    rule = next((rule for rule in rules() if rule.id == rule_id), None)
    if rule is None:
        raise KeyError(rule_id)
    return Diagnosis(
        rule.id,
        _fill(rule.cause, rule.unnamed),
        _fill(rule.remedy, rule.unnamed),
        _shown(evidence),
        "high" if rule.sure else "medium",
        rule.kind,
    )


def _from_rule(lines: list[str], number: int, rule: Rule, found: re.Match[str]) -> Diagnosis:
    values = dict(rule.unnamed)
    values.update({k: _value(k, v) for k, v in found.groupdict().items() if v})
    nearby = [lines[i] for i in range(max(number - 1, 0), min(number + 4, len(lines)))]
    confidence = "high" if rule.sure and rule.tier == _SPECIFIC else "medium"
    return Diagnosis(
        rule.id,
        _fill(rule.cause, values),
        _fill(rule.remedy, values),
        _shown(nearby),
        confidence,
        rule.kind,
    )


def _from_generic(lines: list[str], number: int, rule: Rule, found: re.Match[str]) -> Diagnosis:
    """The line itself explains nothing: show the last error that stands above it."""
    above = _last_error(lines[:number])
    if not above:
        return _from_rule(lines, number, rule, found)
    cause = f"{rule.cause.rstrip('.')}; the last error above it: {_cut(above, _VALUE_CHARS)}"
    return Diagnosis(rule.id, cause, rule.remedy, _shown([above, lines[number]]), "low", rule.kind)


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
        "Start it once more; if it crashes again, choose another vLLM release.",
        "fix",
    ),
    15: ("The process was asked to end (signal 15).", "Start it again.", ""),
}


def _from_signal(lines: list[str], exit_status: int | None) -> Diagnosis | None:
    if exit_status is None:
        return None
    signal = -exit_status if exit_status < 0 else exit_status - 128
    if not 0 < signal < 65:
        return None
    cause, remedy, kind = _SIGNALS.get(
        signal, (f"The process was ended by signal {signal}.", "Read the log.", "")
    )
    last = [line for line in lines if line][-2:]
    return Diagnosis(f"signal-{signal}", cause, remedy, _shown(last), "medium", kind)


def _unknown(lines: list[str], exit_status: int | None) -> Diagnosis:
    last = _last_error(lines)
    filled = [line for line in lines if line]
    if last:
        cause = f"Not a known failure; the last error is: {_cut(last, _VALUE_CHARS)}"
    elif filled:
        cause = f"Not a known failure; the last line is: {_cut(filled[-1].strip(), _VALUE_CHARS)}"
    else:
        ended = "" if exit_status is None else f" with status {exit_status}"
        cause = f"Not a known failure; it ended{ended} without a word."
    evidence = [*([last] if last else []), *[line for line in filled[-4:] if line.strip() != last]]
    return Diagnosis("unknown", cause, "Read the log, or take the next offer.", _shown(evidence))


def _last_error(lines: Sequence[str]) -> str:
    for line in reversed(lines):
        if found := _ERROR.search(line):
            return (found["python"] or found["tool"]).strip()
    return ""


def _value(name: str, text: str) -> str:
    """A group's text as shown. Torch tells CUDA 12.8 as 12080."""
    if name == "cuda" and text.isdigit():
        number = int(text[:9])
        return f"{number // 1000}.{number % 1000 // 10}"
    return _cut(text, _VALUE_CHARS).rstrip(".")


def _fill(template: str, values: Mapping[str, str]) -> str:
    """{name} by its value, in one pass: a value's own braces mean nothing."""
    return re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], "it"), template)


def _shown(lines: Sequence[str]) -> tuple[str, ...]:
    kept = [_CONTROL.sub("", line[:_LINE]).strip() for line in lines]
    return tuple(_cut(line, _EVIDENCE_CHARS) for line in kept if line)[:_EVIDENCE_LINES]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
