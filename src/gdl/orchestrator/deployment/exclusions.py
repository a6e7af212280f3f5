"""Whom one deployment excludes or sets aside, beside what is excluded for all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from gdl.domain import events as ev
from gdl.domain.events import Recorded
from gdl.domain.offers import Exclusion, Offer
from gdl.domain.phase import Phase

Subject = tuple[str, str, str]
"""Who is excluded: (backend, kind, key)."""


class DeploymentExclusions:
    """included: providers that the user included again, whatever speaks against them, on every
    backend.

    Who is set aside is excluded as long as somebody else suits.
    """

    def __init__(self) -> None:
        self._by_subject: dict[Subject, Exclusion] = {}
        self._aside: dict[Subject, Exclusion] = {}
        self._dead_hosts: dict[Subject, set[str]] = defaultdict(set)
        self.included: set[str] = set()

    @property
    def in_force(self) -> tuple[Exclusion, ...]:
        """Those that nothing lifts by itself."""
        return tuple(self._by_subject.values())

    @property
    def aside(self) -> tuple[Exclusion, ...]:
        """The hosts, providers and backends set aside."""
        return tuple(self._aside.values())

    def add(self, exclusion: Exclusion) -> None:
        """Within the deployment it lasts as long as that, however short its own time is."""
        if exclusion.scope == "aside":
            self._aside[exclusion.subject] = exclusion
            return
        self._by_subject[exclusion.subject] = replace(exclusion, scope="deployment", until=None)
        self._aside.pop(exclusion.subject, None)
        if exclusion.kind == "provider":
            self.included.discard(exclusion.key)

    def excludes_provider(self, provider: str) -> bool:
        return any(x[1:] == ("provider", provider) for x in (*self._by_subject, *self._aside))

    def include_provider(self, provider: str) -> None:
        """By the user's wish; its hosts are counted from the beginning."""
        for known in (self._by_subject, self._aside, self._dead_hosts):
            for subject in [s for s in known if s[1:] == ("provider", provider)]:
                del known[subject]
        self.included.add(provider)

    def take_back(self, subject: Subject) -> None:
        """One that was set aside, as nothing else suits."""
        self._aside.pop(subject, None)

    def host_failed(self, subject: Subject, host: str) -> int:
        """SSH of one more of its hosts failed; how many now, without one between that could be
        entered."""
        self._dead_hosts[subject].add(host)
        return len(self._dead_hosts[subject])

    def host_entered(self, subject: Subject) -> None:
        self._dead_hosts.pop(subject, None)

    def failed_hosts(self, subject: Subject) -> int:
        return len(self._dead_hosts.get(subject, ()))

    def failures_of(self, offer: Offer) -> int:
        """How many failures speak against whoever is set aside and runs this offer."""
        return sum(self.failed_hosts(x.subject) for x in self.aside if x.covers(offer))


def restore(exclusions: DeploymentExclusions, history: Iterable[Recorded], backend: str) -> None:
    """Whom a deployment's attempts have excluded or set aside by its journal, and who was included
    again. A failed host is counted by its attempt. backend: of events that name none."""
    started: ev.AttemptStarted | None = None
    for recorded in history:
        event = recorded.event
        match event:
            case ev.AttemptStarted():
                started = event
            case ev.PhaseChanged() if event.phase is Phase.PREFLIGHT and started is not None:
                name = started.backend or backend
                exclusions.host_entered((name, "provider", started.provider))
                exclusions.host_entered((name, "host", started.host_id))
            case ev.ExclusionLifted():
                # With a reason it came back by itself, and its hosts count on.
                if event.reason:
                    exclusions.take_back((event.backend or backend, event.kind, event.key))
                else:
                    exclusions.include_provider(event.key)
            case ev.ExclusionSet():
                made = Exclusion(
                    event.kind,
                    event.key,
                    event.reason,
                    recorded.at,
                    cause=event.reason,
                    scope="aside" if event.aside else "deployment",
                    backend=event.backend or backend,
                )
                if event.aside:
                    exclusions.host_failed(made.subject, f"attempt {event.attempt}")
                exclusions.add(made)
            case _:
                continue
