"""What a failure says about offer, machine and provider (blame.toml)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import cache

from gdl import shipped
from gdl.diagnosis.rule_engine import RuleSet, diagnose
from gdl.domain.errors import (
    BackendError,
    Cancelled,
    GdlError,
    HostKeyChanged,
    ReleaseUnconfirmed,
    UsageError,
)
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.offers import Exclusion, Offer

_REASON = 160
"""Characters of a reason; the whole message is in the event."""


@dataclass(frozen=True, slots=True)
class Blame:
    """One entry of blame.toml; see there."""

    id: str
    cause: str
    errors: frozenset[str] = frozenset()
    rules: frozenset[str] = frozenset()
    remedies: frozenset[str] = frozenset()
    doing: frozenset[str] = frozenset()
    text: re.Pattern[str] | None = None
    provider: bool = False
    machine_hours: float = 0.0
    offer_hours: float = 0.0
    ends: bool = False

    @property
    def spares_machine(self) -> bool:
        """Whether the machine may do for what its user changes."""
        return not (self.provider or self.machine_hours or self.offer_hours)

    def matches(self, error: GdlError, rule: str, kind: str, doing: str) -> bool:
        if not (self.errors or self.rules or self.remedies or self.doing or self.text):
            return True
        return (
            error.kind in self.errors
            or rule in self.rules
            or kind in self.remedies
            or doing in self.doing
            or (self.text is not None and self.text.search(error.message) is not None)
        )


@cache
def _entries() -> tuple[Blame, ...]:
    raw = shipped.table(__file__, "blame.toml")
    return tuple(
        Blame(
            id=row["id"],
            cause=row["cause"],
            errors=frozenset(row.get("errors", ())),
            rules=frozenset(row.get("rules", ())),
            remedies=frozenset(row.get("remedies", ())),
            doing=frozenset(row.get("doing", ())),
            text=re.compile(row["text"]) if "text" in row else None,
            provider=row.get("provider", False),
            machine_hours=float(row.get("machine_hours", 0)),
            offer_hours=float(row.get("offer_hours", 0)),
            ends=row.get("ends", False),
        )
        for row in raw["blame"]
    )


def blame_for(error: GdlError, rules: RuleSet, rule: str = "") -> Blame:
    """What kind of failure it was. rules: of the deployment's engine. `rule`: the diagnosis made on
    the machine, "" without one."""
    if not rule or rule == "unknown":
        rule = diagnose(rules, [error.message], phase="RENTING").rule
        rule = "" if rule == "unknown" else rule
    known = rules.get(rule)
    kind, doing = (known.kind, known.blame) if known is not None else ("", "")
    return next(blame for blame in _entries() if blame.matches(error, rule, kind, doing))


def exclusions_for(
    blame: Blame, offer: Offer, error: GdlError, now: datetime, backend: str
) -> Iterable[Exclusion]:
    """Which offer and machine a failure excludes: always the offer, and what blame.toml adds to it.
    What it means for the provider is not said here."""
    reason = f"failed: {error.message}"[:_REASON]
    cause = blame.cause.format(provider=offer.provider)
    hours = blame.offer_hours
    machine = offer.machine_id
    if machine is None:
        # Where machines have no names, the offer stands for its machine.
        hours = hours or blame.machine_hours
    yield _exclusion("offer", offer.id, reason, cause, now, hours, backend)
    if machine is not None and not blame.offer_hours and blame.id != "busy":
        yield _exclusion("machine", machine, reason, cause, now, blame.machine_hours, backend)


def _exclusion(
    kind: str, key: str, reason: str, cause: str, now: datetime, hours: float, backend: str
) -> Exclusion:
    until = now + timedelta(hours=hours) if hours else None
    scope = "remembered" if hours else "deployment"
    return Exclusion(kind, key, reason, now, until, cause, scope, backend)


def ends_everything(error: GdlError, blame: Blame | None = None) -> bool:
    """Whether another offer cannot help: what was asked for is wrong, the backend is away, the user
    stopped it, a machine may still be billing, or our own journal or keys cannot be written."""
    if blame is not None and blame.ends:
        return True
    if type(error) is GdlError:
        return True
    return isinstance(
        error,
        UsageError | BackendError | Cancelled | ReleaseUnconfirmed | HostKeyChanged,
    )
