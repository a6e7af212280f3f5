"""The port to offers, models and exclusions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from gdl.domain.money import CostReport
from gdl.domain.offers import Exclusion, OfferQuery, RankedOffer
from gdl.domain.spec import DeploymentSpec
from gdl.orchestrator.api.model_views import ModelRow, ModelVariant, SizedModel


class Market(Protocol):
    """What could be rented, for which model, and from whom never again."""

    @property
    def away(self) -> Mapping[str, str]:
        """The backends that did not answer when offers were last asked for, and why."""
        ...

    async def offers(self, query: OfferQuery) -> Sequence[RankedOffer]:
        """Fresh offers, ranked: suitable ones first and cheapest first, excluded ones last."""
        ...

    def models(self) -> Sequence[ModelRow]:
        """The program's own list. Nobody is asked, and nothing is worked out."""
        ...

    async def search(self, words: str) -> Sequence[ModelRow]:
        """What the model hub finds, most downloaded first. Raises HubAway."""
        ...

    def answered(self, rows: Sequence[ModelRow]) -> AsyncGenerator[ModelRow]:
        """Rows of which it is not known whether a card of 24 GB runs the model, with that, one
        after the other: what has to be asked of the hub comes last, and not at all where it does
        not answer."""
        ...

    def variants(self, model: str) -> Sequence[ModelVariant]:
        """The same model in other formats, as far as that is known. Raises UsageError."""
        ...

    def size(
        self, query: OfferQuery, gpu: str = "", *, check: DeploymentSpec | bool = False
    ) -> SizedModel:
        """What the query's model needs for its context, concurrency and quantization. gpu: named as
        in `gdl.domain.requirements.gpus`; what one of them would hold is told, too. Raises
        UsageError for what cannot be served on any machine. check: also for what a deployment would
        be refused for, as far as that is known by now: a gated model without a token, say. A
        spec: for all that this deployment would be refused for."""
        ...

    async def exclusions(self) -> Sequence[Exclusion]:
        """Those in force for coming deployments, newest first."""
        ...

    async def exclude(self, kind: str, key: str, reason: str = "", backend: str = "") -> Exclusion:
        """Exclude a provider, host, machine or offer until that is cleared. kind: those four words.
        backend: whose, "" for all in use."""
        ...

    async def clear_exclusions(self, key: str | None = None) -> int:
        """Forget the exclusions of a provider, machine or offer, or all; how many there were.
        Raises UsageError when that key has none."""
        ...

    async def costs(self) -> CostReport:
        """What was spent, by the backend's own records, and on each session by ours."""
        ...
