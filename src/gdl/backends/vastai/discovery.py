"""Whether there is a key for Vast.ai on this computer, and whether it opens an account."""

from __future__ import annotations

import asyncio

from gdl.backends.vastai.backend import VastaiBackend
from gdl.backends.vastai.keys import VARIABLE, find_keys
from gdl.domain.backend import BackendSource
from gdl.domain.errors import GdlError
from gdl.domain.money import dollars
from gdl.domain.text import one_line
from gdl.settings import Settings

_ANSWER_S = 5.0
_TITLE = "Vast.ai"


async def discover(settings: Settings) -> BackendSource:
    """Asks nobody without a key, and with one for the account's credit alone."""
    try:
        keys = await asyncio.to_thread(find_keys, settings)
        if not keys:
            words = f"no key: set {VARIABLE}, or run `vastai set api-key`"
            return BackendSource("vastai", False, _TITLE, words)
        backend = VastaiBackend(settings, pauses=())
    except GdlError as error:
        return BackendSource("vastai", False, _TITLE, error.message)
    source = f"key from {keys[0].source}"
    try:
        async with asyncio.timeout(_ANSWER_S):
            balance = await backend.balance()
    except TimeoutError:
        words = f"no answer from {backend.service_url} within {_ANSWER_S:g} s"
        return BackendSource("vastai", False, _TITLE, f"{words} ({source})")
    except GdlError as error:
        return BackendSource("vastai", False, _TITLE, one_line(f"{error.message} ({source})"))
    finally:
        await backend.aclose()
    return BackendSource(
        "vastai", True, _TITLE, one_line(f"{dollars(balance.credit)} of credit, {source}")
    )
