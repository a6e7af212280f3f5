"""Subcommands on one machine: destroy, extend, health, bench."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import NoReturn, TypeVar

from gdl.cli import exit_codes
from gdl.cli.ask import ask
from gdl.cli.listing import session_to_plain
from gdl.cli.output import say
from gdl.cli.publishing import publish, refuse_to_publish
from gdl.cli.render import bench as bench_lines
from gdl.cli.render import table
from gdl.cli.runtime import Cli, Session, Target, at_terminal, execute
from gdl.domain.benchmark import OWN
from gdl.domain.errors import Cancelled, GdlError, ReleaseUnconfirmed
from gdl.domain.health import Check, CheckStatus, HealthSample
from gdl.domain.id_matching import matching
from gdl.domain.money import dollars
from gdl.domain.serialization import to_plain
from gdl.orchestrator.api.ports import OrchestratorApi
from gdl.presentation.durations import clock_time
from gdl.presentation.hardware import machine
from gdl.presentation.lines import plain
from gdl.presentation.money import hourly

T = TypeVar("T")
_WATCH_EVERY_S = 5.0


async def _patiently(work: Awaitable[T], what: str, every_s: float = 15.0) -> T:
    """The result of `work`, with a line on stderr now and then while it takes its time."""
    task = asyncio.ensure_future(work)
    say(f"{what} ...")
    waited = 0.0
    try:
        while not (await asyncio.wait({task}, timeout=every_s))[0]:
            waited += every_s
            say(f"{what} ... {clock_time(waited)}")
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
                session.orchestrator.sessions.destroy(ident), f"releasing {plain(ident, 80)}"
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
                f"{plain(row.session.id)}  {plain(row.billing)}  {dollars(row.cost)} in all"
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
        rows = await orchestrator.sessions.rows()
    except GdlError:
        rows = ()
    found = matching(ident, rows, lambda row: (row.session.id, row.deployment_id))
    if len(found) != 1:
        what = plain(ident, 80)
    else:
        row = found[0]
        session = row.session
        what = (
            f"session {session.id}: {machine(session)} "
            f"from {session.provider}, {hourly(session.price_per_hour)}, {dollars(row.cost)} so far"
        )
    if await ask(f"release {plain(what)}? [y/N] ") not in ("y", "yes"):
        raise Cancelled("not released", "say y, or pass --yes, to release it")


def extend(cli: Cli, target: Target, ident: str, hours: int, as_json: bool) -> NoReturn:
    """Reserve more hours; prints the new end."""

    async def body(session: Session) -> int:
        until = await session.orchestrator.sessions.extend(ident, hours)
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


def health(cli: Cli, target: Target, ident: str, watch: bool, as_json: bool) -> NoReturn:
    """The checks, once; exit 6 when one failed. Or the endpoint's state, until Ctrl-C."""

    async def body(session: Session) -> int:
        if watch:
            return await _watch_health(session, ident)
        checks = await _patiently(
            session.orchestrator.endpoints.health(ident), f"checking {plain(ident, 80)}"
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


async def _watch_health(session: Session, ident: str) -> int:
    """One line at each change, and every few seconds; ends by a signal, and then well."""
    told_at = float("-inf")
    try:
        async with aclosing(session.orchestrator.endpoints.watch_health(ident)) as samples:
            async for sample, changed in samples:
                if not changed and time.monotonic() - told_at < _WATCH_EVERY_S:
                    continue
                told_at = time.monotonic()
                now = datetime.now(UTC)
                if session.output.as_json:
                    session.output.json({"at": now.isoformat(), **to_plain(sample)})
                else:
                    session.output.line(f"{now:%H:%M:%S}  {sample_words(sample)}")
    except asyncio.CancelledError:
        _uncancel()
    return exit_codes.OK


def sample_words(sample: HealthSample) -> str:
    """One line: the state, why, and what the engine does."""
    reason = (plain(sample.reason, 200),) if sample.reason else ()
    return "  ".join((sample.condition.value, *reason, *sample.figures))


def _check_cells(check: Check) -> tuple[str, ...]:
    latency = "" if check.latency_ms is None else f"{check.latency_ms:.0f} ms"
    return check.name, check.status.value, latency, check.detail


def bench(cli: Cli, target: Target, ident: str, share: bool, as_json: bool) -> NoReturn:
    """The benchmark; exit 6 when no request of it succeeded."""

    async def body(session: Session) -> int:
        refuse_to_publish(session, share)
        report = await _patiently(
            session.orchestrator.benchmarks.bench(ident), f"benchmarking {plain(ident, 80)}"
        )
        if as_json:
            session.output.json(to_plain(report))
        else:
            for line in bench_lines(report):
                session.output.line(line)
        if share and report.completed:
            await publish(session, ident, report, OWN)
        return exit_codes.OK if report.completed else exit_codes.VERIFICATION_FAILED

    execute(cli, body, target=target, as_json=as_json, changes="benchmarked")
