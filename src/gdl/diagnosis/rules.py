"""The rules: those of the folder "rules", an engine's own beside them, and what one says."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import field, fields
from functools import cache, cached_property, lru_cache
from importlib.resources import files
from typing import Any

from gdl.diagnosis.actions import SORTS, action, nearest
from gdl.diagnosis.attention import Interest
from gdl.diagnosis.finder import Finder
from gdl.diagnosis.literals import required
from gdl.diagnosis.records import Level
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.remedies import Remedy

SPECIFIC, BROAD, GENERIC, PLAIN = 1, 2, 3, 4
"""Tiers: a cause; one only where nothing specific is told; words that are never a cause; what the
root error says of itself, where no cause is known."""
VALUE_CHARS = 160
BLAMES = frozenset({"machine", "network", "fit", "user", "model", "client", "program"})
"""Whose doing it is: of the machine, of its network, of the model's size against the GPUs, of what
was asked for, of the model's files, of who sends requests, or of the installed programs."""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One entry of a rule file; rules/README.md describes its keys. pattern None: told by
    behaviour, never by a log. engine: whose rule it is, "" for one that holds for every machine."""

    id: str
    pattern: re.Pattern[str] | None
    cause: str
    remedy: str
    kind: str
    blame: str = "machine"
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
        letters = min(map(len, required(self.pattern.pattern)))
        more = (self.error, self.frame, self.near, self.also, self.programs, self.versions)
        return letters + 20 * sum(bool(each) for each in more)

    @property
    def generic(self) -> bool:
        return self.tier == GENERIC

    @property
    def confidence(self) -> str:
        """ "high" (right in over 95 % of the corpus), "medium" (in over 75 %), or "unknown". What
        an error says of itself is "low": nobody has looked into it."""
        if self.tier == PLAIN:
            return "low"
        as_measured = measured().get(self.id, "high")
        return "medium" if as_measured == "high" and not self.promises else as_measured

    @property
    def promises(self) -> bool:
        """Whether its kind is right in over 95 %: what is specific, and not from inference."""
        return self.sure and self.tier == SPECIFIC

    def action(self, groups: Mapping[str, str | None]) -> Remedy:
        """The remedy as an object. groups: those of the match, as the log has them; untrusted."""
        return action(self.kind, self.blame, self.apply, groups)

    def values(self, groups: Mapping[str, str | None]) -> dict[str, str]:
        """What {name} stands for in its sentences."""
        told = {name: text for name, text in groups.items() if text}
        if of := self.apply.get("nearest_of"):
            named = str(self.apply.get("value", "")).strip("{}")
            told["nearest"] = nearest(told.get(named, ""), told.get(of, ""))
        return {**self.unnamed, **{name: text for name, text in told.items() if text}}


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
    a group `version`. like: engines whose rules are asked about its logs, too. spelled: what it
    calls the options that remedies of shared rules name."""

    name: str
    shows: re.Pattern[str]
    versions: tuple[re.Pattern[str], ...] = ()
    like: tuple[str, ...] = ()
    spelled: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class RuleSet:
    """Rules that are asked together; their order means nothing."""

    rules: tuple[Rule, ...]
    stages: tuple[StageMark, ...] = ()
    logs: tuple[EngineLog, ...] = ()

    def get(self, rule_id: str) -> Rule | None:
        return next((rule for rule in self.rules if rule.id == rule_id), None)

    def spelled(self, program: str) -> Mapping[str, str]:
        """What a program calls the options that remedies of shared rules name."""
        return next((log.spelled for log in self.logs if log.name == program), {})

    @cached_property
    def finder(self) -> Finder[Rule]:
        """Which rules a text is worth asking."""
        return Finder((each, each.pattern.pattern) for each in self.rules if each.pattern)

    @cached_property
    def interest(self) -> Interest:
        """Which lines of a log are worth looking at."""
        return Interest(self.finder.texts, self.marks)

    @cached_property
    def marks(self) -> tuple[str, ...]:
        """Texts of lines that say how far a start is, or which release it is of."""
        versions = (
            text
            for log in self.logs
            for pattern in log.versions
            for text in required(pattern.pattern)
        )
        return (*(stage.text for stage in self.stages), *versions)


def _log(name: str, row: Mapping[str, Any]) -> EngineLog:
    versions = tuple(re.compile(pattern) for pattern in row.get("versions", ()))
    if any("version" not in pattern.groupindex for pattern in versions):
        raise ValueError(f"a pattern of {name}'s versions has no group 'version'")
    shows, like = re.compile(row["shows"]), tuple(row.get("like", ()))
    return EngineLog(name, shows, versions, like, row.get("spelled", {}))


def folded(groups: Mapping[str, str | None]) -> dict[str, str | None]:
    """A group that one alternative calls `name` is `name_2` in the next: both are `name`."""
    told: dict[str, str | None] = {}
    for name, text in groups.items():
        base = re.sub(r"_\d$", "", name)
        told[base] = told.get(base) or text
    return told


@cache
def measured() -> Mapping[str, str]:
    """What confidence.toml says of rules, by id."""
    told = tomllib.loads(files("gdl.diagnosis").joinpath("confidence.toml").read_text("utf-8"))
    return {name: level for level, names in told.items() for name in names}


@lru_cache(maxsize=16)
def rule_set(*engines: tuple[str, str]) -> RuleSet:
    """What holds for every machine, and the rules of these engines: (name, text in the form of
    rules/README.md) of each.

    Raises ValueError for a text that is no such file, or a pattern that cannot be looked for.
    """
    folder = files("gdl.diagnosis").joinpath("rules")
    names = sorted(each.name for each in folder.iterdir() if each.name.endswith(".toml"))
    general = "\n".join(folder.joinpath(name).read_text("utf-8") for name in names)
    try:
        parsed = [(name, tomllib.loads(text)) for name, text in (*engines, ("", general))]
        made = RuleSet(
            tuple(_rule(row, name) for name, file in parsed for row in file.get("rule", ())),
            tuple(StageMark(**row) for _, file in parsed for row in file.get("stage", ())),
            tuple(_log(name, file["log"]) for name, file in parsed if "log" in file),
        )
        _ = made.interest
        _refuse_circles(made.rules)
    except (KeyError, TypeError, AttributeError, re.error, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return made


def _refuse_circles(rules: Iterable[Rule]) -> None:
    """Raises ValueError where rules are preferred to each other, be it through others."""
    over = {rule.id: rule.over for rule in rules}
    for name in over:
        below, ahead = set[str](), list(over[name])
        while ahead:
            each = ahead.pop()
            if each == name:
                raise ValueError(f"rule {name!r} is preferred to itself, through its `over`")
            if each not in below:
                below.add(each)
                ahead += over.get(each, ())


def _rule(row: Mapping[str, Any], engine: str) -> Rule:
    if row["kind"] not in SORTS or row.get("blame", "machine") not in BLAMES:
        raise ValueError(f"unknown kind or blame of rule {row['id']!r}")
    if unknown := row.keys() - _KEYS:
        raise ValueError(f"unknown key {min(unknown)!r} of rule {row['id']!r}")
    patterns = {
        name: re.compile(_alternatives(row[name])) if row.get(name) else None
        for name in ("pattern", "error", "frame", "near", "also", "unless")
    }
    return Rule(
        id=row["id"],
        cause=row["cause"],
        remedy=row["remedy"],
        kind=row["kind"],
        blame=row.get("blame", "machine"),
        tier=row.get("tier", SPECIFIC),
        sure=row.get("sure", True),
        engine=engine,
        programs=frozenset(row.get("programs", ())),
        phases=frozenset(row.get("phases", ())),
        versions=row.get("versions", ""),
        level=Level[row.get("level", "error").upper()],
        over=frozenset(row.get("over", ())),
        unnamed=row.get("unnamed", {}),
        apply=row.get("apply", {}),
        **patterns,
    )


def _alternatives(pattern: str | list[str]) -> str:
    return pattern if isinstance(pattern, str) else "|".join(pattern)


_KEYS = {each.name for each in fields(Rule)} - {"engine"}
