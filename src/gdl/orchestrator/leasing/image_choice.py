"""Which container image a machine is rented with, where its market lets one choose."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from gdl.domain.backend import BackendTraits
from gdl.domain.deployment import DeploymentState
from gdl.domain.engine_image import EngineImage
from gdl.domain.model import Model
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.phase import Phase
from gdl.domain.requirements.gpus import of_listing
from gdl.domain.session_pricing import ImageOf
from gdl.engines.base import Engine, HasImage
from gdl.settings import Settings

UNTOLD_GB = 10.0
"""Of an image that the user names: its registry is not asked."""


def image_of(
    engine: Engine, model: Model, query: OfferQuery, settings: Settings, traits: BackendTraits
) -> ImageOf | None:
    """What could be asked for with an offer; None where there is nothing to choose."""
    asked = settings.install.image
    if not traits.takes_image or asked == "none" or settings.install.runtime == "container":
        return None
    if asked != "auto":
        named = EngineImage(
            asked, UNTOLD_GB, least_cuda(engine, settings, [traits]), asked_for=True
        )
        return lambda offer: named
    if not isinstance(engine, HasImage):
        return None
    ready = engine

    @cache
    def found(name: str, vram_gb: float, cuda: float | None) -> EngineImage | None:
        return ready.image_for(of_listing(name, vram_gb), cuda, settings, model, query)

    def of(offer: Offer) -> EngineImage | None:
        return found(offer.gpu_name, offer.vram_gb, offer.cuda_version) if offer.gpu_count else None

    return of


def not_used(settings: Settings, image: EngineImage | None) -> str:
    """What is to be said of an image that the user named and nobody is asked for; ""."""
    named = settings.install.image
    if named in ("auto", "none") or image is not None:
        return ""
    return f"the image {named[:80]} is not used: this market does not let you choose one"


def least_cuda(engine: Engine, settings: Settings, traits: Iterable[BackendTraits]) -> float | None:
    """That the image which the user named asks of a driver, where that is known, and the markets
    start it."""
    if not isinstance(engine, HasImage) or not all(each.takes_image for each in traits):
        return None
    return engine.cuda_of_image(settings.install.image)


def start_failed(state: DeploymentState) -> bool:
    """Whether a machine of this deployment that was rented with an image never could be entered:
    the next ones are rented with what the market starts by itself."""
    return any(
        attempt.image
        and attempt.failure is not None
        and attempt.rented_at is not None
        and not attempt.entered(Phase.PREFLIGHT)
        for attempt in state.attempts
    )
