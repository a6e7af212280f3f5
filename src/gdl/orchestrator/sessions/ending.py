"""Ending what we started on machines that nobody destroys."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from gdl.domain.rental import Rental
from gdl.orchestrator.machine.earlier_work import end_jobs
from gdl.orchestrator.machine.joined_machine import session_at
from gdl.orchestrator.machine.ways import first_link
from gdl.settings import Settings


def joined_ends(rental: Rental, settings: Settings) -> list[Coroutine[Any, Any, None]]:
    """What ends it on the machines that serve together with the rental's."""
    return [_end_on(rental.rank(n), settings) for n in range(1, len(rental.joined) + 1)]


async def end_all(*ends: Coroutine[Any, Any, None]) -> None:
    """All of them, whether or not one fails. Raises what the first that failed raised."""
    for error in await asyncio.gather(*ends, return_exceptions=True):
        if error is not None:
            raise error


async def _end_on(rental: Rental, settings: Settings) -> None:
    if not rental.work_dir:
        return  # it was never used
    link, entered = await first_link(rental, session_at(rental), settings)
    try:
        await end_jobs(link, entered.work_dir)
    finally:
        await link.aclose()
