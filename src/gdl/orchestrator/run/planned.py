"""A deployment as it begins: planned, and in the journal."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from datetime import datetime

from gdl.domain import events as ev
from gdl.domain.model import Model
from gdl.domain.spec import DeploymentSpec
from gdl.engines.base import Engine
from gdl.journal.store import DeploymentRow, Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.deployment.event_channel import EventChannel
from gdl.orchestrator.deployment.rental_record import RentalRecord
from gdl.orchestrator.deployment.siblings import Siblings
from gdl.orchestrator.leasing import process_liveness
from gdl.orchestrator.leasing.deployed_model import tell_source
from gdl.orchestrator.leasing.engine_choice import tell_choice
from gdl.orchestrator.leasing.requirements import needed_of
from gdl.settings import Settings


def new_id(now: datetime) -> str:
    """Of a deployment or a fleet that begins now."""
    return f"{now:%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"


async def tell_plan(deployment: Deployment, why: str) -> None:
    """What its user did not decide. why: its engine was chosen, if it was."""
    await tell_choice(deployment, why)
    await tell_source(deployment)


async def planned(
    journal: Journal,
    clock: Callable[[], datetime],
    settings: Settings,
    spec: DeploymentSpec,
    engine: Engine,
    model: Model,
    backend: str,
    siblings: Siblings | None,
) -> Deployment:
    """Raises GdlError when the journal does not take it."""
    now = clock()
    ident = new_id(now)
    deployment = Deployment(
        ident,
        spec,
        engine,
        model,
        EventChannel(ident, journal, clock),
        RentalRecord(journal),
        settings.logs_dir / ident,
        auto_failover=spec.auto_failover,
        siblings=siblings,
    )
    await journal.add_deployment(
        DeploymentRow(
            ident,
            now,
            model.served_name,
            backend,
            "",
            os.getpid(),
            process_liveness.mark(os.getpid()),
            spec.engine,
            "" if spec.member is None else spec.member.fleet,
        )
    )
    need = needed_of(engine, model, spec.query, settings)
    vram_gb = None if need is None else need.vram_gb
    await deployment.emit(ev.DeploymentPlanned(spec, model.location, model.served_name, vram_gb))
    return deployment
