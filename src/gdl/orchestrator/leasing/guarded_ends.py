"""Machines that their own guard has ended: found out, proven, and journaled as of that time."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from gdl.domain.errors import GdlError, GuardEnded
from gdl.domain.guard import end_words
from gdl.domain.rental import Rental
from gdl.orchestrator.leasing.releasing import Releaser

_AGAIN = "deploy again; --max-spend, --idle and --unseen say when a guard ends a machine"


async def ended_by_guard(releaser: Releaser, rental: Rental) -> GuardEnded | None:
    """What to say of a machine that is gone by its backend's word, where its guard has ended it; it
    is written off then. None where that is not proven. Never raises a GdlError."""
    with contextlib.suppress(GdlError):
        if rental.open and not await releaser.look_again(rental, None):
            return None
        guard = await releaser.guards.of(rental)
        if guard is not None and guard.ended:
            return GuardEnded(end_words(guard), _AGAIN)
    return None


async def settle_guarded(releaser: Releaser, rentals: Sequence[Rental]) -> None:
    """Look what became of machines that their guards may have ended while no process of ours worked
    on them; and revoke what could not be revoked before. Never raises a GdlError: the next start
    looks again."""
    with contextlib.suppress(GdlError):
        for rental in await releaser.guards.unwatched(rentals):
            await releaser.look_again(rental, None)
        await releaser.guards.revoke_left(rentals)
