"""The guard on a machine: what it ends the machine for, and what became of that. Pure."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta

from gdl.domain.clock import day_and_time, time_of_day
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import dollars, for_time

FRESH = timedelta(minutes=5)
"""For so long, what was last seen of a machine's guard is how it stands."""
LATE = timedelta(minutes=3)
"""How much later than it was due an end may be found to be the guard's doing: it looks every few
seconds, and a marketplace takes a while to destroy a machine."""

_LONGEST_S = 10 * 366 * 86_400.0
"""No limit is counted down for longer: it may be more than a date can tell."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What guards one rental, as our record has it.

    ends: "machine" (the guard destroys it), "server" (it ends what we run there) or "reservation"
    (there is no guard on the machine: what it may cost ends with its reserved time).
    max_spend: dollars, of which spent_before went elsewhere or to traffic; since, price: when the
    machine began to cost, and dollars an hour. idle_minutes: without a request; unseen_hours:
    without one of our programs connected. None: no such limit.
    method, url, key_variable: the request by which the machine ends itself, and what holds its key
    there; see SelfRelease. ref: what is to be revoked once the machine is gone.
    installed: it was seen at work on the machine. seen_at: when it was last asked; idle_s: how long
    there had been no request then. survives: what starts it with the machine again, "" for nothing.
    ended: why it has ended the machine ("spend", "idle", "unseen"), "" while it has not. ended_at:
    when, or the earliest time that is possible.
    """

    ends: str
    since: datetime
    price: float = 0.0
    max_spend: float | None = None
    spent_before: float = 0.0
    idle_minutes: float | None = None
    unseen_hours: float | None = None
    method: str = ""
    url: str = ""
    key_variable: str = ""
    ref: str = ""
    installed: bool = False
    seen_at: datetime | None = None
    idle_s: float = 0.0
    survives: str = ""
    ended: str = ""
    ended_at: datetime | None = None

    @property
    def limit_s(self) -> int | None:
        """Seconds after `since` at which the money is spent; None without a limit."""
        if self.max_spend is None or self.price <= 0:
            return None
        seconds = (self.max_spend - self.spent_before) / self.price * 3600
        return max(math.floor(min(seconds, _LONGEST_S)), 1)

    @property
    def spent_at(self) -> datetime | None:
        """When the money is spent; None where that is too far off for a date."""
        seconds = self.limit_s
        if seconds is None or seconds >= _LONGEST_S:
            return None
        return self.since + timedelta(seconds=seconds)

    @property
    def wants(self) -> bool:
        """Whether there is anything to end the machine for."""
        limits = (self.limit_s, self.idle_minutes, self.unseen_hours)
        return any(limit is not None for limit in limits)

    def spent(self, at: datetime) -> float:
        """Dollars, by price and time."""
        return self.spent_before + for_time(self.price, self.since, at)

    def due(self) -> list[tuple[datetime, str]]:
        """Each reason to end the machine with the earliest time at which it may hold, the first
        one first. No more was known when the guard was last seen."""
        found = []
        if self.spent_at is not None:
            found.append((self.spent_at, "spend"))
        if self.seen_at is not None and self.idle_minutes is not None:
            left = max(self.idle_minutes * 60 - self.idle_s, 0.0)
            found.append((self.seen_at + timedelta(seconds=left), "idle"))
        if self.seen_at is not None and self.unseen_hours is not None:
            found.append((self.seen_at + timedelta(hours=self.unseen_hours), "unseen"))
        return sorted(found)


@dataclass(frozen=True, slots=True)
class GuardStatus:
    """What the guard on a machine says. Times in seconds; idle_s, unseen_s: since the last request,
    and since one of our programs was last connected. reason: why it is ending the machine, "" while
    it is not; asked: how often it has asked for that; answer: to the last request, an HTTP status,
    "stopped" (all that we ran there is ended) or "". ago_s: since it wrote this; None where that
    is not known. alive: its process runs."""

    id: str = ""
    alive: bool = False
    counted_s: int = 0
    idle_s: int = 0
    unseen_s: int = 0
    reason: str = ""
    asked: int = 0
    answer: str = ""
    survives: str = ""
    ago_s: int | None = None


def read_status(text: str) -> GuardStatus:
    """From the lines that it keeps, and those of the look at it. What cannot be read is nothing."""
    told: dict[str, str] = {}
    for line in text.splitlines()[:60]:
        name, _, value = line.strip().partition(" ")
        told[name] = value[:200]

    def number(name: str) -> int:
        value = told.get(name, "")
        return int(value) if value.isascii() and value.isdigit() and len(value) < 15 else 0

    same_boot = told.get("boot", "") == told.get("boot_now", "") != ""
    reason, survives = told.get("reason", ""), told.get("survives", "")
    return GuardStatus(
        id=told.get("id", ""),
        alive=told.get("alive") == "1",
        counted_s=number("counted"),
        idle_s=number("idle"),
        unseen_s=number("unseen"),
        reason=reason if reason in _REASONS else "",
        asked=number("asked"),
        answer=told.get("answer", "")[:20],
        survives=survives if survives in ("onstart", "systemd", "cron") else "",
        ago_s=max(number("up") - number("now"), 0) if same_boot else None,
    )


_REASONS = ("spend", "idle", "unseen")


def ended_by_guard(guard: Guard, now: datetime) -> Guard | None:
    """The guard of a machine that is gone without our asking, with why and when it has ended it;
    None when it cannot have been the guard. What is due first has ended it: the time is exact, but
    for requests that came after the last look. What marketplaces charge does not tell: that comes
    late, and by the hour."""
    if not guard.installed or guard.ends != "machine":
        return None
    may_be = [(at, why) for at, why in guard.due() if at <= now + LATE]
    if not may_be:
        return None
    at, why = may_be[0]
    return replace(guard, ended=why, ended_at=min(at, now))


def end_words(guard: Guard, now: datetime | None = None) -> str:
    """ "the guard ended it at 16:41 UTC: $1.00 spent"; "" when it has not. now: the day is told
    where it is not near that."""
    at = guard.ended_at
    if not guard.ended or at is None:
        return ""
    when = _when(at, now or at)
    spent = dollars(guard.spent(at))
    what = "stopped the server" if guard.ends == "server" else "ended it"
    if guard.ended == "spend":
        return f"the guard {what} at {when}: {spent} spent"
    why = f"nobody connected for {_hours(guard.unseen_hours)}"
    if guard.ended == "idle":
        why = f"no request for {_minutes(guard.idle_minutes)}"
        if guard.ends == "machine":
            # Requests may have come after we looked last.
            return f"the guard {what} at {when} or later: {why}, at least {spent} spent"
    money = f", {spent} spent" if guard.price > 0 else ""
    return f"the guard {what} at {when}: {why}{money}"


def words(guard: Guard, now: datetime) -> str:
    """What it will do when: "ends at $1.00, about 16:40 UTC; idle 20 min of 30". What it did, once
    it has."""
    if guard.ended:
        return end_words(guard, now)
    parts = []
    if guard.ends == "reservation":
        return "no guard on the machine: it ends with its reserved time"
    if guard.spent_at is not None and guard.max_spend is not None:
        parts.append(f"ends at {dollars(guard.max_spend)}, about {_when(guard.spent_at, now)}")
    if guard.idle_minutes is not None:
        fresh = guard.seen_at is not None and now - guard.seen_at <= FRESH
        if fresh and guard.idle_s >= 60:
            minutes = math.floor(guard.idle_s / 60)
            parts.append(f"idle {minutes} min of {_figure(guard.idle_minutes)}")
        else:
            parts.append(f"ends after {_minutes(guard.idle_minutes)} without a request")
    if guard.unseen_hours is not None:
        parts.append(f"ends after {_hours(guard.unseen_hours)} with nobody connected")
    if not guard.installed:
        parts.append("not active yet")
    elif guard.ends == "server":
        parts.append("ends only the server")
    return "; ".join(parts)


def limits(idle_minutes: float | None, unseen_hours: float | None) -> str:
    """ "30 min idle, 12 h unseen"; "" without either."""
    told = (
        (idle_minutes, f"{_minutes(idle_minutes)} idle"),
        (unseen_hours, f"{_hours(unseen_hours)} unseen"),
    )
    return ", ".join(text for limit, text in told if limit is not None)


def _when(at: datetime, now: datetime) -> str:
    """A time of day, with its date where that could be another one."""
    near = abs(at - now) < timedelta(hours=12)
    return time_of_day(at) if near else day_and_time(at)


def _figure(value: float | None) -> str:
    return f"{value or 0:g}"


def _minutes(value: float | None) -> str:
    return f"{_figure(value)} min"


def _hours(value: float | None) -> str:
    return f"{_figure(value)} h"
