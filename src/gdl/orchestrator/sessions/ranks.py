"""The machines of a session, where several serve one model together."""

from __future__ import annotations

from gdl.domain.errors import UsageError
from gdl.domain.rental import Rental


def rank_of(rental: Rental, number: int) -> Rental:
    """The rental as that of one of its machines. Raises UsageError for a rank that there is not."""
    if number == 0:
        return rental
    count = len(rental.joined)
    if number > count:
        has = f"ranks 0 to {count}" if count else "one machine, which has rank 0"
        raise UsageError(
            f"session {rental.session_id} has no rank {number}: it has {has}",
            "`gdl-tui sessions` shows them" if count else "omit --rank",
        )
    return rental.rank(number)
