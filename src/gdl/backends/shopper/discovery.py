"""Whether a cloud-gpu-shopper answers, and whether it could have keys for marketplaces."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from gdl.backends.shopper.backend import ShopperBackend
from gdl.domain.backend import BackendSource
from gdl.settings import Settings

_ANSWER_S = 5.0
_TITLE = "cloud-gpu-shopper"
_KEYS = {
    "Vast.ai": ("VASTAI_API_KEY",),
    "TensorDock": ("TENSORDOCK_API_TOKEN", "TENSORDOCK_AUTH_ID"),
    "Blue Lobster": ("BLUELOBSTER_API_KEY",),
}
"""Variables in which this service alone looks for marketplaces' API keys. Only their names are ever
read out."""


async def discover(settings: Settings, consumer_id: str) -> BackendSource:
    backend = ShopperBackend(settings, consumer_id)
    keys = api_keys(os.environ)
    try:
        async with asyncio.timeout(_ANSWER_S):
            found = (await backend.check())[0]
    except TimeoutError:
        words = f"no answer from {settings.shopper_url} within {_ANSWER_S:g} s"
        return BackendSource(backend.name, False, _TITLE, words, also=keys)
    finally:
        await backend.aclose()
    return BackendSource(backend.name, found.status != "fail", _TITLE, found.detail, also=keys)


def api_keys(environment: Mapping[str, str]) -> str:
    """Which marketplaces' API keys are set here for the service that rents from them, or ""."""
    names = [
        f"{name} ({market})"
        for market, all_names in _KEYS.items()
        for name in all_names
        if environment.get(name)
    ]
    return f"API keys for it set here: {', '.join(names)}" if names else ""
