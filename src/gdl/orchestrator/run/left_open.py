"""What a deployment says, as it begins, of machines that processes that are gone left open."""

from __future__ import annotations

import contextlib

from gdl.domain.errors import GdlError
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing.markets import Markets
from gdl.orchestrator.leasing.orphans import summary_or_nothing


async def tell_left_open(deployment: Deployment, markets: Markets) -> None:
    """Say it, and ask once more for the ends that are not proven."""
    for each in markets.all:
        if left := await summary_or_nothing(each.orphans):
            said = f"{left}; `gdl-tui attach ID` or `gdl-tui destroy ID`"
            await deployment.note(said, "warning")
            with contextlib.suppress(GdlError):
                await each.orphans.ask_again()
