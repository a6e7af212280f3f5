"""Subcommands on one machine: destroy, extend, health, bench."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import NoReturn, TypeVar

from gdl.cli import exit_codes
from gdl.cli.ask import ask
from gdl.cli.listing import session_to_plain
from gdl.cli.output import say
from gdl.cli.render import bench as bench_lines
from gdl.cli.render import elapsed, machine, money, plain, price, table
from gdl.cli.runtime import Cli, Session, Target, at_terminal, execute
from gdl.domain.errors import Cancelled, GdlError, ReleaseUnconfirmed
from gdl.domain.models import Check, CheckStatus
from gdl.domain.plain import to_plain
from gdl.orchestrator.api import OrchestratorApi, SessionRow

T = TypeVar("T")


async def _patiently(work: Awaitable[T], what: str, every_s: float = 15.0) -> T:
    """The result of `work`, with a line on stderr now and then while it takes its time."""
    task = asyncio.ensure_future(work)
    say(f"{what} ...")
    waited = 0.0
    try:
        while not (await asyncio.wait({task}, timeout=every_s))[0]:
            waited += every_s
            say(f"{what} ... {elapsed(waited)}")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, GdlError):
                await task


def destroy(cli: Cli, target: Target, ident: str, yes: bool, as_json: bool) -> NoReturn:
    """Release a session and wait for the confirmation; asks first when somebody can be asked."""

    async def body(session: Session) -> int:
        if not yes and at_terminal():
            await _confirm(session.orchestrator, ident)
        try:
            row = await _patiently(
                session.orchestrator.destroy(ident), f"releasing {plain(ident, 80)}"
            )
        except asyncio.CancelledError:
            _uncancel()
            raise ReleaseUnconfirmed(
                f"stopped waiting for the release of {ident}: it may still be billing",
                "run `gdl-tui sessions` to see whether it is gone, and destroy it again if not",
            ) from None
        if as_json:
            session.output.json(session_to_plain(row))
        else:
            session.output.line(
                f"{plain(row.session.id)}  {plain(row.billing)}  {money(row.cost)} in all"
            )
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, changes="destroyed")


def _uncancel() -> None:
    """The cancellation was ours to answer: the task goes on to close what is open."""
    if (task := asyncio.current_task()) is not None:
        task.uncancel()


async def _confirm(orchestrator: OrchestratorApi, ident: str) -> None:
    """Ask whether to release, naming machine and price. Raises Cancelled when not."""
    try:
        row = _find(await orchestrator.sessions(), ident)
    except GdlError:
        row = None
    if row is None:
        what = plain(ident, 80)
    else:
        session = row.session
        what = (
            f"session {session.id}: {machine(session.gpu_name, session.gpu_count)} "
            f"from {session.provider}, {price(session.price_per_hour)}, {money(row.cost)} so far"
        )
    if await ask(f"release {plain(what)}? [y/N] ") not in ("y", "yes"):
        raise Cancelled("not released", "say y, or pass --yes, to release it")


def _find(rows: object, ident: str) -> SessionRow | None:
    """The one session that an id, or the beginning of one, names."""
    assert isinstance(rows, list | tuple)
    found = [
        row
        for row in rows
        if row.session.id.startswith(ident) or (row.deployment_id or "").startswith(ident)
    ]
    return found[0] if len(found) == 1 else None


def extend(cli: Cli, target: Target, ident: str, hours: int, as_json: bool) -> NoReturn:
    """Reserve more hours; prints the new end."""

    async def body(session: Session) -> int:
        until = await session.orchestrator.extend(ident, hours)
        if as_json:
            session.output.json(
                {"id": ident, "hours": hours, "expires_at": until and until.isoformat()}
            )
        elif until is None:
            session.output.line(f"{plain(ident)}  does not run out")
        else:
            session.output.line(f"{plain(ident)}  until {until.isoformat(timespec='minutes')}")
        return exit_codes.OK

    execute(cli, body, target=target, as_json=as_json, changes="extended")


def health(cli: Cli, target: Target, ident: str, as_json: bool) -> NoReturn:
    """The checks, once; exit 6 when one failed."""

    async def body(session: Session) -> int:
        checks = await _patiently(
            session.orchestrator.health(ident), f"checking {plain(ident, 80)}"
        )
        if as_json:
            for check in checks:
                session.output.json(to_plain(check))
        else:
            for line in table(
                ("CHECK", "STATUS", ">LATENCY", "DETAIL"), [_check_cells(c) for c in checks]
            ):
                session.output.line(line)
        failed = any(check.status is CheckStatus.FAILED for check in checks)
        return exit_codes.VERIFICATION_FAILED if failed else exit_codes.OK

    execute(cli, body, target=target, as_json=as_json)


def _check_cells(check: Check) -> tuple[str, ...]:
    latency = "" if check.latency_ms is None else f"{check.latency_ms:.0f} ms"
    return check.name, check.status.value, latency, check.detail


def bench(cli: Cli, target: Target, ident: str, as_json: bool) -> NoReturn:
    """The benchmark; exit 6 when no request of it succeeded."""

    async def body(session: Session) -> int:
        report = await _patiently(
            session.orchestrator.bench(ident), f"benchmarking {plain(ident, 80)}"
        )
        if as_json:
            session.output.json(to_plain(report))
        else:
            for line in bench_lines(report):
                session.output.line(line)
        return exit_codes.OK if report.completed else exit_codes.VERIFICATION_FAILED

    execute(cli, body, target=target, as_json=as_json, changes="benchmarked")
