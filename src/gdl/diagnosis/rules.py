"""The rules: those of rules.toml, an engine's own beside them, and what one makes of a line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

from gdl.diagnosis.literals import required
from gdl.domain.remedies import Remedy, RemedyKind

SPECIFIC, BROAD, GENERIC = 1, 2, 3
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
    """One entry of rules.toml. place: of two that match a line, the lower one counts. pattern None:
    told by behaviour, never by a line."""

    id: str
    place: int
    pattern: re.Pattern[str] | None
    cause: str
    remedy: str
    kind: str
    tier: int = SPECIFIC
    sure: bool = True
    phases: frozenset[str] = frozenset()
    unnamed: Mapping[str, str] = field(default_factory=dict)
    apply: Mapping[str, Any] = field(default_factory=dict)

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


@dataclass(frozen=True, eq=False)
class RuleSet:
    """Rules that are asked together, in the order of their places."""

    rules: tuple[Rule, ...]

    def get(self, rule_id: str) -> Rule | None:
        return next((rule for rule in self.rules if rule.id == rule_id), None)

    @cached_property
    def texts(self) -> tuple[tuple[bytes, tuple[bytes, ...], Rule], ...]:
        """(text, its words, rule), for each alternative of each rule."""
        return tuple(
            (text.encode(), tuple(word.encode() for word in words), rule)
            for rule in self.rules
            if rule.pattern is not None
            for text, words in required(rule.pattern.pattern)
        )


@lru_cache(maxsize=16)
def rule_set(*engines: str) -> RuleSet:
    """What holds for every machine, after the rules of these engines (texts in the form of
    rules.toml), which know their own logs better.

    Raises ValueError for a text that is no such file, or a pattern that cannot be looked for.
    """
    general = files("gdl.diagnosis").joinpath("rules.toml").read_text("utf-8")
    try:
        rows = [row for text in (*engines, general) for row in tomllib.loads(text).get("rule", ())]
        made = RuleSet(tuple(_rule(row, place) for place, row in enumerate(rows)))
        _ = made.texts
    except (KeyError, TypeError, AttributeError, re.error, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return made


def _rule(row: Mapping[str, Any], place: int) -> Rule:
    if row["kind"] not in _OTHERWISE:
        raise ValueError(f"unknown kind {row['kind']!r} of rule {row['id']!r}")
    return Rule(
        id=row["id"],
        place=place,
        pattern=re.compile(row["pattern"]) if row["pattern"] else None,
        cause=row["cause"],
        remedy=row["remedy"],
        kind=row["kind"],
        tier=row.get("tier", SPECIFIC),
        sure=row.get("sure", True),
        phases=frozenset(row.get("phases", ())),
        unnamed=row.get("unnamed", {}),
        apply=row.get("apply", {}),
    )
