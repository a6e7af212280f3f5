"""Whom one deployment excludes, beside what is excluded for all."""

from __future__ import annotations

from gdl.domain.offers import Exclusion


class DeploymentExclusions:
    """included: providers that the user included again, whatever speaks against them."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[str, str], Exclusion] = {}
        self.included: set[str] = set()

    @property
    def in_force(self) -> tuple[Exclusion, ...]:
        return tuple(self._by_key.values())

    def add(self, exclusion: Exclusion) -> None:
        self._by_key[exclusion.kind, exclusion.key] = exclusion
        if exclusion.kind == "provider":
            self.included.discard(exclusion.key)

    def excludes_provider(self, provider: str) -> bool:
        return ("provider", provider) in self._by_key

    def include_provider(self, provider: str) -> None:
        self._by_key.pop(("provider", provider), None)
        self.included.add(provider)
