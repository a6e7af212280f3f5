"""Ending what is public on a machine before the machine is released."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gdl.domain.errors import GdlError
from gdl.domain.rental import Rental
from gdl.journal import public_endpoints
from gdl.journal.store import Journal
from gdl.orchestrator.endpoint import cloudflared

if TYPE_CHECKING:
    from gdl.ssh.reconnecting import Link

LIMIT_S = 15.0
"""A rented machine bills meanwhile, and its end is the end of that, too."""


async def unpublish(link: Link, rental: Rental, journal: Journal) -> None:
    """As far as it can be done in time. Nothing is asked of a machine that the journal knows
    nothing public of."""
    try:
        async with asyncio.timeout(LIMIT_S):
            if await public_endpoints.of_session(journal, rental.session_id or "") is not None:
                await cloudflared.end(link, rental.work_dir)
    except (GdlError, TimeoutError):
        return
