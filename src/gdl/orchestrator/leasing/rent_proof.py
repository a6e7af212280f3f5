"""Whether a rent request that was answered with an error has certainly made nothing."""

from __future__ import annotations

import re

from gdl.domain.errors import BackendRefused

_NOT_MADE = re.compile(
    r"stale.inventory|no_such_ask|no available nodes found|offer not found"
    # Our own request for the same offer was faster.
    r"|unique constraint failed"
    # The marketplace has refused it. 408 is a time-out: it may have been made.
    r"|http (?!408)4\d\d\b",
    re.IGNORECASE,
)

_CREATION_FAILED = re.compile(r"create ?(?:instance )?failed|stale.inventory", re.IGNORECASE)


def creation_refused(text: str) -> bool:
    """From a failed session's error text: the marketplace has refused to make its machine. Words
    about anything that came later, such as a refused end, are no such thing."""
    return _CREATION_FAILED.search(text) is not None and made_nothing(text)


def made_nothing(text: str) -> bool:
    """From the words of a refusal, or the error text of the session that it left behind. False: a
    machine may have been made, and the answer about it failed."""
    return _NOT_MADE.search(text) is not None


def surely_not(error: BackendRefused) -> bool:
    """Whether a refusal means that nothing was rented, or made. A redirect, say, or a status
    without a word is nothing of the service's own: it may have acted already."""
    if not error.own_words:
        return False
    if made_nothing(error.message):
        return True
    return error.status is not None and 400 <= error.status < 500 and error.status != 408
