"""Subcommands that follow a deployment: deploy and attach."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from gdl.cli.ask import ask
from gdl.cli.follow import Follower, exit_code
from gdl.cli.output import Output
from gdl.cli.runtime import Cli, Session, Target, at_terminal, complain, execute
from gdl.cli.show import JsonShow, Show, TextShow
from gdl.cli.signals import leave_now
from gdl.domain.errors import GdlError, UsageError
from gdl.domain.events import DeploymentFinished, Recorded
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing
from gdl.domain.serialization import recorded_to_plain
from gdl.domain.spec import DeploymentSpec


@dataclass(frozen=True, slots=True)
class DeployOptions:
    """What `deploy` was asked for, as far as it is not a setting."""

    model: str
    provider: str | None = None
    exclude_providers: tuple[str, ...] = ()
    offer_id: str | None = None
    bench: bool = True
    after: str = "hold"
    engine_args: tuple[str, ...] = ()
    context: int | None = None
    concurrency: int | None = None
    quantization: str = ""
    auto_fix: bool | None = None


def deploy(
    cli: Cli, target: Target, wish: DeployOptions, flags: Mapping[str, Any], as_json: bool
) -> NoReturn:
    """Deploy and follow to the end."""

    async def body(session: Session) -> int:
        show: Show = JsonShow(session.output) if as_json else TextShow(session.output)
        follower = Follower(
            session.orchestrator.deployments,
            show,
            ask=ask if wish.after == "hold" and at_terminal() else None,
            watch=as_json,
        )
        spec = _spec(wish, session)
        return await _to_the_end(
            follower, session.orchestrator.deployments.deploy(spec), session.output
        )

    def never_began(error: GdlError, output: Output) -> None:
        output.json(recorded_to_plain(_never_began(wish.model, error)))

    execute(
        cli,
        body,
        target=target,
        as_json=as_json,
        changes="deployed",
        flags=flags,
        on_error=never_began,
    )


def _spec(wish: DeployOptions, session: Session) -> DeploymentSpec:
    settings = session.settings
    if wish.after == "keep" and not session.orchestrator.keeps:
        raise UsageError(
            "--keep keeps nothing here: the sandbox of this process ends with it",
            "start one with `gdl-tui sandbox`, and name it with GDL_SANDBOX__URL",
        )
    query = OfferQuery(
        provider=wish.provider,
        max_price=settings.max_price,
        exclude_providers=wish.exclude_providers,
        offer_id=wish.offer_id,
        model=wish.model,
        context=wish.context,
        concurrency=wish.concurrency,
        quantization=wish.quantization,
    )
    return DeploymentSpec(
        model=wish.model,
        backend=settings.backend,
        query=query,
        hours=settings.hours,
        max_attempts=settings.max_attempts,
        bench=wish.bench,
        after=wish.after,
        engine_args=wish.engine_args,
        auto_fix=wish.auto_fix,
    )


def _never_began(model: str, error: GdlError) -> Recorded:
    """The last line of a deployment that had no other: it failed before its first event."""
    finished = DeploymentFinished(
        outcome="cancelled" if error.kind == "cancelled" else "failed",
        endpoint=None,
        model=model,
        session_id=None,
        billing=Billing.NONE,
        attempts=(),
        error=error.message,
        hint=error.hint,
        kind=error.kind,
    )
    return Recorded("", 1, datetime.now(UTC), finished)


def attach(cli: Cli, target: Target, ident: str, as_json: bool) -> NoReturn:
    """Open the tunnel to a serving machine and follow until it is closed."""

    async def body(session: Session) -> int:
        show: Show = (
            JsonShow(session.output)
            if as_json
            else TextShow(session.output, since=datetime.now(UTC))
        )
        follower = Follower(
            session.orchestrator.deployments,
            show,
            attached=True,
            may_release=not session.settings.read_only,
            ask=ask if at_terminal() else None,
            watch=as_json,
        )
        return await _to_the_end(
            follower, session.orchestrator.deployments.attach(ident), session.output
        )

    execute(cli, body, target=target, as_json=as_json)


async def _to_the_end(follower: Follower, start: Awaitable[str], output: Output) -> int:
    ending = await follower.follow(start)
    finished = ending.finished
    if finished.error:
        complain(finished.error, finished.hint or "")
    if ending.closed is not None:
        output.abandon(ending.closed)
    code = exit_code(ending)
    if ending.gave_up:
        leave_now(code)
    return code
