"""The rules: those of rules.toml, an engine's own beside them, and what one makes of a line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

from gdl.diagnosis.literals import required
from gdl.diagnosis.records import Level
from gdl.domain.remedies import Remedy, RemedyKind

SPECIFIC, BROAD, GENERIC = 1, 2, 3
"""Tiers: a cause; one only where nothing specific is told; words that are never a cause."""
VALUE_CHARS = 160
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}")
"""What of a log may become part of a command: nothing that a shell or an option could misread."""
_OTHERWISE = {
    "next": RemedyKind.NEXT,
    "exclude": RemedyKind.EXCLUDE_MACHINE,
    "fix": RemedyKind.NEXT,
    "change": RemedyKind.NEXT,
    "wait": RemedyKind.WAIT,
    "stop": RemedyKind.STOP,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of rules.toml, which describes its keys. pattern None: told by behaviour, never by
    a log. engine: whose rule it is, "" for one that holds for every machine."""

    id: str
    pattern: re.Pattern[str] | None
    cause: str
    remedy: str
    kind: str
    tier: int = SPECIFIC
    sure: bool = True
    engine: str = ""
    error: re.Pattern[str] | None = None
    frame: re.Pattern[str] | None = None
    near: re.Pattern[str] | None = None
    also: re.Pattern[str] | None = None
    unless: re.Pattern[str] | None = None
    programs: frozenset[str] = frozenset()
    phases: frozenset[str] = frozenset()
    versions: str = ""
    level: Level = Level.ERROR
    over: frozenset[str] = frozenset()
    unnamed: Mapping[str, str] = field(default_factory=dict)
    apply: Mapping[str, Any] = field(default_factory=dict)

    @property
    def specificity(self) -> int:
        """How much a log must say for this rule to hold: letters of plain text that its pattern
        needs, and 20 for each condition more."""
        if self.pattern is None:
            return 0
        letters = min(len(text) for text, _ in required(self.pattern.pattern))
        more = (self.error, self.frame, self.near, self.also, self.programs, self.versions)
        return letters + 20 * sum(bool(each) for each in more)

    @property
    def generic(self) -> bool:
        return self.tier == GENERIC

    def action(self, groups: Mapping[str, str | None]) -> Remedy:
        """The remedy as an object. groups: those of the match, as the log has them; untrusted."""
        kind = RemedyKind(self.apply.get("kind", _OTHERWISE[self.kind]))
        value = str(self.apply.get("value", ""))
        if named := re.fullmatch(r"\{(\w+)\}", value):
            value = groups.get(named[1]) or ""
            if by := self.apply.get("divided_by"):
                value = str(int(value[:9]) // by) if value.isdecimal() else ""
            if of := self.apply.get("share_of"):
                value = _share(value, groups.get(of) or "")
            if not _SAFE.fullmatch(value) or value == "0":
                return Remedy(_OTHERWISE[self.kind])
        return Remedy(
            kind, str(self.apply.get("name", "")), value, bool(self.apply.get("automatic", False))
        )


def _share(part: str, whole: str) -> str:
    """ "10.5" of "23.6" as "0.42", rounded down and a little less, because it changes from moment
    to moment; "" for less than a third, which is not worth having."""
    try:
        share = float(part) / float(whole) - 0.02
    except (ValueError, ZeroDivisionError):
        return ""
    return f"{int(share * 100) / 100:.2f}" if 1 / 3 <= share < 1 else ""


@dataclass(frozen=True, slots=True)
class StageMark:
    """A text by which a log shows how far a start is. fraction: 0 where it begins, 1 where it
    serves."""

    text: str
    name: str
    fraction: float


@dataclass(frozen=True, slots=True)
class EngineLog:
    """How an engine's log is known. shows: searched in a line. versions: these name the release in
    a group `version`."""

    name: str
    shows: re.Pattern[str]
    versions: tuple[re.Pattern[str], ...] = ()


@dataclass(frozen=True, eq=False)
class RuleSet:
    """Rules that are asked together; their order means nothing."""

    rules: tuple[Rule, ...]
    stages: tuple[StageMark, ...] = ()
    logs: tuple[EngineLog, ...] = ()

    def get(self, rule_id: str) -> Rule | None:
        return next((rule for rule in self.rules if rule.id == rule_id), None)

    @cached_property
    def texts(self) -> tuple[tuple[str, tuple[str, ...], Rule], ...]:
        """(text, its words, rule), for each alternative of each rule."""
        return tuple(
            (text, words, rule)
            for rule in self.rules
            if rule.pattern is not None
            for text, words in required(rule.pattern.pattern)
        )

    @cached_property
    def marks(self) -> tuple[str, ...]:
        """Texts of lines that say how far a start is, or which release it is of."""
        versions = (
            text
            for log in self.logs
            for pattern in log.versions
            for text, _ in required(pattern.pattern)
        )
        return (*(stage.text for stage in self.stages), *versions)


def _log(name: str, row: Mapping[str, Any]) -> EngineLog:
    versions = tuple(re.compile(pattern) for pattern in row.get("versions", ()))
    if any("version" not in pattern.groupindex for pattern in versions):
        raise ValueError(f"a pattern of {name}'s versions has no group 'version'")
    return EngineLog(name, re.compile(row["shows"]), versions)


@lru_cache(maxsize=16)
def rule_set(*engines: tuple[str, str]) -> RuleSet:
    """What holds for every machine, and the rules of these engines: (name, text in the form of
    rules.toml) of each.

    Raises ValueError for a text that is no such file, or a pattern that cannot be looked for.
    """
    general = files("gdl.diagnosis").joinpath("rules.toml").read_text("utf-8")
    try:
        parsed = [(name, tomllib.loads(text)) for name, text in (*engines, ("", general))]
        made = RuleSet(
            tuple(_rule(row, name) for name, file in parsed for row in file.get("rule", ())),
            tuple(StageMark(**row) for _, file in parsed for row in file.get("stage", ())),
            tuple(_log(name, file["log"]) for name, file in parsed if "log" in file),
        )
        _ = made.texts, made.marks
    except (KeyError, TypeError, AttributeError, re.error, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return made


def _rule(row: Mapping[str, Any], engine: str) -> Rule:
    if row["kind"] not in _OTHERWISE:
        raise ValueError(f"unknown kind {row['kind']!r} of rule {row['id']!r}")
    if unknown := row.keys() - _KEYS:
        raise ValueError(f"unknown key {min(unknown)!r} of rule {row['id']!r}")
    patterns = {
        name: re.compile(row[name]) if row.get(name) else None
        for name in ("pattern", "error", "frame", "near", "also", "unless")
    }
    return Rule(
        id=row["id"],
        cause=row["cause"],
        remedy=row["remedy"],
        kind=row["kind"],
        tier=row.get("tier", SPECIFIC),
        sure=row.get("sure", True),
        engine=row.get("engine", engine),
        programs=frozenset(row.get("programs", ())),
        phases=frozenset(row.get("phases", ())),
        versions=row.get("versions", ""),
        level=Level[row.get("level", "error").upper()],
        over=frozenset(row.get("over", ())),
        unnamed=row.get("unnamed", {}),
        apply=row.get("apply", {}),
        **patterns,
    )


_KEYS = {each.name for each in fields(Rule)}
