"""What is asked of a backend for one offer, and our record of it."""

from __future__ import annotations

import math
import uuid
from datetime import datetime

from gdl.backends.base import Backend
from gdl.domain.offers import Offer
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.session import RentRequest
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing.rental_key import label_of
from gdl.orchestrator.leasing.spending import spending


def intent_for(
    deployment: Deployment, offer: Offer, backend: Backend, consumer_id: str, now: datetime
) -> Rental:
    """The rental as it is journaled before anything is asked for."""
    ident = uuid.uuid4().hex
    volume = deployment.spec.query.volume
    return Rental(
        intent_id=ident,
        deployment_id=deployment.id,
        attempt=deployment.attempt,
        backend=backend.name,
        provider=offer.provider,
        offer_id=offer.id,
        consumer_id=consumer_id,
        price=offer.price_per_hour,
        requested_at=now,
        billing=Billing.REQUESTED if backend.traits.bills else Billing.NONE,
        model=deployment.model.location,
        served_name=deployment.model.served_name,
        service_url=backend.service_url,
        engine=deployment.spec.engine,
        label=label_of(ident),
        bid=_bid(deployment, offer),
        volume="" if volume is None else volume.id,
    )


def request_for(deployment: Deployment, offer: Offer, intent: Rental) -> RentRequest:
    """The request of an intent, as yet without a key."""
    return RentRequest(
        offer,
        intent.consumer_id,
        _hours(deployment, intent),
        deployment.model.location,
        _disk_gb(deployment, offer),
        deployment.spec.engine,
        deployment.engine.info.log_title,
        label=intent.label,
        image="" if deployment.image is None else deployment.image.name,
        min_cuda=deployment.min_cuda,
        bid=intent.bid,
        volume=intent.volume,
    )


def _hours(deployment: Deployment, intent: Rental) -> int:
    """No more than what may be spent pays for: where no guard can be on the machine, its reserved
    time is what ends it."""
    limits = spending(deployment, intent.requested_at)
    if limits is None or intent.price <= 0:
        return deployment.spec.hours
    left = max(limits.limit - limits.spent, 0.0)
    siblings = deployment.siblings
    others = 0.0 if siblings is None else siblings.price(deployment.id)
    return min(deployment.spec.hours, max(math.ceil(left / (intent.price + others) - 1e-9), 1))


def _disk_gb(deployment: Deployment, offer: Offer) -> int | None:
    """As much as the price of the offer includes, where disks are made to order."""
    if deployment.disk_gb is not None or offer.terms is None:
        return deployment.disk_gb
    return math.ceil(offer.terms.disk_gb) or None


def _bid(deployment: Deployment, offer: Offer) -> float | None:
    """What is bid for an interruptible machine: its offer has the price that this makes. None where
    none was asked for, whatever the offer is: such a request may make a machine on demand alone."""
    wanted = deployment.spec.query.interruptible and offer.interruptible
    return offer.terms.gpu_per_hour if wanted and offer.terms is not None else None
