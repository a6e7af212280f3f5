"""Whom one deployment excludes or sets aside, beside what is excluded for all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from gdl.domain import events as ev
from gdl.domain.events import Recorded
from gdl.domain.offers import Exclusion
from gdl.domain.phase import Phase


class DeploymentExclusions:
    """included: providers that the user included again, whatever speaks against them.

    A provider that is set aside is excluded as long as another one suits.
    """

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, str], Exclusion] = {}
        self._aside: dict[str, Exclusion] = {}
        self._dead_hosts: dict[str, set[str]] = defaultdict(set)
        self.included: set[str] = set()

    @property
    def in_force(self) -> tuple[Exclusion, ...]:
        """Those that nothing lifts by itself."""
        return tuple(self._by_key.values())

    @property
    def aside(self) -> tuple[Exclusion, ...]:
        """The providers set aside."""
        return tuple(self._aside.values())

    def add(self, exclusion: Exclusion) -> None:
        """Within the deployment it lasts as long as that, however short its own time is."""
        if exclusion.scope == "aside":
            self._aside[exclusion.key] = exclusion
            return
        mine = replace(exclusion, scope="deployment", until=None)
        self._by_key[exclusion.kind, exclusion.key] = mine
        if exclusion.kind == "provider":
            self._aside.pop(exclusion.key, None)
            self.included.discard(exclusion.key)

    def excludes_provider(self, provider: str) -> bool:
        return ("provider", provider) in self._by_key or provider in self._aside

    def include_provider(self, provider: str) -> None:
        """By the user's wish; its hosts are counted from the beginning."""
        self._by_key.pop(("provider", provider), None)
        self._aside.pop(provider, None)
        self._dead_hosts.pop(provider, None)
        self.included.add(provider)

    def take_back(self, provider: str) -> None:
        """One that was set aside, as nothing else suits."""
        self._aside.pop(provider, None)

    def host_failed(self, provider: str, host: str) -> int:
        """SSH of one more host failed; how many of the provider's now, without one between that
        could be entered."""
        self._dead_hosts[provider].add(host)
        return len(self._dead_hosts[provider])

    def host_entered(self, provider: str) -> None:
        self._dead_hosts.pop(provider, None)

    def failed_hosts(self, provider: str) -> int:
        return len(self._dead_hosts.get(provider, ()))


def restore(exclusions: DeploymentExclusions, history: Iterable[Recorded], backend: str) -> None:
    """Whom a deployment's attempts have excluded or set aside by its journal, and who was included
    again. A failed host is counted by its attempt."""
    provider = ""
    for recorded in history:
        event = recorded.event
        match event:
            case ev.AttemptStarted():
                provider = event.provider
            case ev.PhaseChanged() if event.phase is Phase.PREFLIGHT:
                exclusions.host_entered(provider)
            case ev.ExclusionLifted():
                # With a reason it came back by itself, and its hosts count on.
                if event.reason:
                    exclusions.take_back(event.key)
                else:
                    exclusions.include_provider(event.key)
            case ev.ExclusionSet():
                if event.aside:
                    exclusions.host_failed(event.key, f"attempt {event.attempt}")
                exclusions.add(
                    Exclusion(
                        event.kind,
                        event.key,
                        event.reason,
                        recorded.at,
                        cause=event.reason,
                        scope="aside" if event.aside else "deployment",
                        backend=backend,
                    )
                )
            case _:
                continue
