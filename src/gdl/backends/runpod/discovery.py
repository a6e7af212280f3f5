"""Whether there is a key of RunPod here, and whether it is taken."""

from __future__ import annotations

import asyncio

from gdl.backends.runpod import keys
from gdl.backends.runpod.backend import RunpodBackend
from gdl.domain.backend import BackendSource
from gdl.domain.errors import GdlError
from gdl.settings import Settings

_ANSWER_S = 5.0
_TITLE = "RunPod"


async def discover(settings: Settings, consumer_id: str) -> BackendSource:
    name = RunpodBackend.name
    try:
        found = keys.find(settings)
        if found is None:
            return BackendSource(name, False, _TITLE, f"no API key: set {keys.VARIABLE}")
        backend = RunpodBackend(settings, consumer_id, found)
    except GdlError as error:
        return BackendSource(name, False, _TITLE, error.message)
    try:
        async with asyncio.timeout(_ANSWER_S):
            told = await backend.check_key()
    except TimeoutError:
        words = f"no answer from {backend.service_url} within {_ANSWER_S:g} s"
        return BackendSource(name, False, _TITLE, words)
    finally:
        await backend.aclose()
    return BackendSource(name, told.status == "ok", _TITLE, told.detail)
