"""Which offer next, and whom to leave out after a failure."""

from __future__ import annotations

from collections import Counter

from gdl.backends.base import Backend
from gdl.domain import events as ev
from gdl.domain.errors import (
    BackendError,
    Cancelled,
    GdlError,
    HostKeyChanged,
    NoSuitableOffer,
    OfferGone,
    ReleaseUnconfirmed,
    SessionExists,
    SshError,
    UsageError,
)
from gdl.domain.models import Offer, OfferQuery, RankedOffer
from gdl.domain.offers import Exclusions, rank, why_none
from gdl.domain.sizing import needed
from gdl.engines.base import Engine, Model
from gdl.orchestrator.deployment import Deployment


def needed_vram_gb(model: Model) -> float | None:
    """What a model needs, or None when its size is not known."""
    return None if model.shape is None else needed(model.shape).vram_gb


async def list_offers(
    backend: Backend, engine: Engine, query: OfferQuery, exclusions: Exclusions | None = None
) -> list[RankedOffer]:
    """Fresh offers, ranked for the query's model. Raises UsageError, BackendError."""
    vram = None if query.model is None else needed_vram_gb(engine.resolve(query.model))
    offers = await backend.offers(query)
    return rank(
        offers,
        query,
        needed_vram_gb=vram,
        exclusions=exclusions,
        cpu_allowed=backend.cpu_allowed,
    )


async def choose(deployment: Deployment, backend: Backend, engine: Engine) -> Offer:
    """The cheapest suitable offer of a fresh list. Raises NoSuitableOffer with what would help."""
    exclusions = Exclusions(
        deployment.excluded_offers, deployment.excluded_providers, deployment.excluded_machines
    )
    query = deployment.spec.query
    ranked = await list_offers(backend, engine, query, exclusions)
    suitable = [r for r in ranked if r.excluded is None]
    reasons = Counter(r.excluded for r in ranked if r.excluded is not None)
    await deployment.emit(
        ev.OffersRanked(
            len(suitable),
            len(ranked) - len(suitable),
            tuple(f"{count} x {reason}" for reason, count in reasons.most_common(8)),
        )
    )
    if not suitable:
        raise NoSuitableOffer(*why_none(ranked, query))
    return suitable[0].offer


def leave_out(deployment: Deployment, offer: Offer, error: GdlError) -> None:
    """Note whom the next attempt leaves out: a stale offer only itself; after an SSH failure the
    provider, for this deployment; otherwise the offer and its machine."""
    reason = f"failed: {error.message}"[:160]
    deployment.excluded_offers[offer.id] = reason
    if isinstance(error, OfferGone | SessionExists):
        return
    if isinstance(error, SshError) or "ssh" in error.message.casefold():
        deployment.excluded_providers[offer.provider] = f"SSH error on {offer.id}"
    elif offer.machine_id is not None:
        deployment.excluded_machines[offer.machine_id] = reason


def ends_everything(error: GdlError) -> bool:
    """Whether another offer cannot help: the wish is wrong, the backend is away, the user
    stopped it, or a machine may still be billing."""
    return isinstance(
        error,
        UsageError | BackendError | Cancelled | ReleaseUnconfirmed | HostKeyChanged,
    )
