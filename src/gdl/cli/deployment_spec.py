"""What a command's options ask for, as the query for offers and the deployment that they make."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gdl.cli.deploy_options import DeployOptions
    from gdl.cli.runtime import Session
    from gdl.domain.offers import OfferQuery
    from gdl.domain.spec import DeploymentSpec
    from gdl.settings import Settings


def query_of(wanted: DeployOptions, model: str | None, settings: Settings) -> OfferQuery:
    """Which offers are wanted, for a model or for any. A volume is looked up by name later."""
    from gdl.domain.offers import OfferQuery

    return OfferQuery(
        provider=wanted.provider,
        max_price=settings.max_price,
        exclude_providers=tuple(wanted.exclude_provider or ()),
        offer_id=wanted.offer,
        min_vram_gb=wanted.min_vram,
        model=model,
        context=wanted.context,
        concurrency=wanted.concurrency,
        quantization=wanted.quantization or "",
        text_only=bool(wanted.text_only),
        order=wanted.sort or "",
        interruptible=bool(wanted.interruptible),
        bid=wanted.bid,
        nodes=wanted.nodes or 1,
    )


def spec_of(wanted: DeployOptions, model: str, session: Session) -> DeploymentSpec:
    """The deployment of a model. Raises UsageError for --keep where nothing can be kept."""
    from gdl.domain.errors import UsageError
    from gdl.domain.spec import DeploymentSpec

    settings = session.settings
    if wanted.keep and not session.orchestrator.keeps:
        hint = "omit --keep"
        if session.orchestrator.simulated:
            hint = "start a market with `gdl-tui sandbox`, and name it with GDL_SANDBOX__URL"
        raise UsageError(
            "--keep has no effect here: the machines of this backend end with this process", hint
        )
    return DeploymentSpec(
        model=model,
        backend=settings.backend,
        query=query_of(wanted, model, settings),
        hours=settings.hours,
        max_attempts=settings.max_attempts,
        exclude_provider_after=settings.exclude_provider_after,
        include_providers=tuple(wanted.include_provider or ()),
        max_spend=settings.max_spend,
        idle_minutes=settings.guard.idle_minutes,
        unseen_hours=settings.guard.unseen_hours,
        bench=wanted.bench is not False,
        after=wanted.after,
        engine_args=tuple(wanted.engine_arg or ()),
        auto_fix=wanted.auto_fix,
        engine=settings.engine.name,
        tools=settings.engine.tools,
        trust_remote_code=wanted.trust_remote_code,
    )
