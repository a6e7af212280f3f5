"""`gdl-tui health`: does a serving machine work?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.id_arguments import SessionArgument
from gdl.cli.options import JsonOption, MachineTarget
from gdl.cli.runtime import Cli, Session, execute
from gdl.domain import clock

if TYPE_CHECKING:
    from gdl.domain.health import Check, HealthSample

_WATCH_EVERY_S = 5.0


def health(
    cli: Cli,
    *,
    ident: SessionArgument,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep showing its state, load and speed until Ctrl-C.")
    ] = False,
    target: MachineTarget,
    as_json: JsonOption = False,
) -> NoReturn:
    """Check a serving machine: GPU, process, health, models, inference; and tools, reasoning and
    memory if they were promised. A degraded check is not a failure."""

    async def body(session: Session) -> int:
        return await (_watch if watch else _check)(session, ident)

    execute(cli, body, target=target, as_json=as_json, rented=True)


async def _check(session: Session, ident: str) -> int:
    """The checks, once; exit 6 when one failed."""
    from gdl.cli.progress import with_progress
    from gdl.domain.health import CheckStatus
    from gdl.presentation.lines import plain

    checks = await with_progress(
        session.orchestrator.endpoints.health(ident), f"checking {plain(ident, 80)}"
    )
    if session.output.as_json:
        for check in checks:
            session.output.json(check)
    else:
        headings = ("CHECK", "STATUS", ">LATENCY", "DETAIL")
        session.output.table(headings, [_cells(check) for check in checks])
    failed = any(check.status is CheckStatus.FAILED for check in checks)
    return exit_codes.VERIFICATION_FAILED if failed else exit_codes.OK


def _cells(check: Check) -> tuple[str, ...]:
    latency = "" if check.latency_ms is None else f"{check.latency_ms:.0f} ms"
    return check.name, check.status.value, latency, check.detail


async def _watch(session: Session, ident: str) -> int:
    """One line at each change, and every few seconds; ends by a signal, and then well."""
    import asyncio
    import time
    from contextlib import aclosing

    from gdl.cli.signals import uncancel
    from gdl.domain.serialization import to_plain

    told_at = float("-inf")
    try:
        async with aclosing(session.orchestrator.endpoints.watch_health(ident)) as samples:
            async for sample, changed in samples:
                if not changed and time.monotonic() - told_at < _WATCH_EVERY_S:
                    continue
                told_at = time.monotonic()
                now = clock.now()
                if session.output.as_json:
                    session.output.json({"at": now, **to_plain(sample)})
                else:
                    session.output.line(f"{now:%H:%M:%S}  {_words(sample)}")
    except asyncio.CancelledError:
        uncancel()
    return exit_codes.OK


def _words(sample: HealthSample) -> str:
    """One line: the state, why, and what the engine does."""
    from gdl.presentation.lines import plain

    reason = (plain(sample.reason, 200),) if sample.reason else ()
    return "  ".join((sample.condition.value, *reason, *sample.figures))
