"""Leaving a benchmark with the backend, for others to see."""

from __future__ import annotations

from gdl.cli.output import say
from gdl.cli.runtime import Session
from gdl.domain.benchmark import BenchReport
from gdl.domain.errors import UsageError
from gdl.presentation.lines import plain


def check(session: Session, wanted: bool) -> None:
    """Before minutes are spent on measuring. Raises UsageError."""
    if wanted and not session.orchestrator.publishes:
        raise UsageError(
            f"the {session.orchestrator.backend_name} backend cannot publish benchmarks",
            "omit --publish: `gdl-tui benchmarks` keeps them here",
        )


async def publish(session: Session, ident: str, report: BenchReport, workload: str) -> None:
    """Raises GdlError when the backend does not take it; it is kept here all the same."""
    found = await session.orchestrator.benchmarks.publish(ident, report, workload)
    say(f"published as {plain(found, 80) or 'a benchmark without an id'}")
