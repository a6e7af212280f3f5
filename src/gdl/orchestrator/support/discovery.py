"""Where machines could come from, as seen from this computer: for somebody who has set nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from gdl.backends import registry
from gdl.backends.local.this_machine import look_for_gpus
from gdl.backends.ssh import ssh_config
from gdl.domain.errors import GdlError
from gdl.orchestrator.api.ports import BackendSource
from gdl.settings import Settings

_ANSWER_S = 5.0
_KEYS = {
    "Vast.ai": ("VASTAI_API_KEY", "VAST_API_KEY"),
    "TensorDock": ("TENSORDOCK_API_TOKEN", "TENSORDOCK_AUTH_ID"),
    "Blue Lobster": ("BLUELOBSTER_API_KEY",),
    "RunPod": ("RUNPOD_API_KEY",),
}
"""Variables that hold the marketplaces' API keys. Only their names are ever read out."""


async def look(
    settings: Settings, consumer_id: str, ssh_file: Path | None = None
) -> list[BackendSource]:
    """All that there could be, whether it works or not. Never raises for what is out there."""
    shopper, local = await asyncio.gather(_shopper(settings, consumer_id), _local())
    hosts = await asyncio.to_thread(_ssh_hosts, settings, ssh_file)
    market = "a simulated market: nothing is rented, nothing costs"
    return [shopper, hosts, local, BackendSource("sandbox", True, "Sandbox", market)]


async def _shopper(settings: Settings, consumer_id: str) -> BackendSource:
    backend = registry.create("shopper", settings, consumer_id)
    try:
        async with asyncio.timeout(_ANSWER_S):
            found = (await backend.check())[0]
    except TimeoutError:
        words = f"no answer from {settings.shopper_url} within {_ANSWER_S:g} s"
        return BackendSource(
            "shopper", False, "cloud-gpu-shopper", words, also=api_keys(os.environ)
        )
    finally:
        await backend.aclose()
    usable = found.status != "fail"
    keys = api_keys(os.environ)
    return BackendSource("shopper", usable, "cloud-gpu-shopper", found.detail, also=keys)


def api_keys(environment: Mapping[str, str]) -> str:
    """Which marketplaces' API keys are set here, for the service that rents from them."""
    names = [
        f"{name} ({market})"
        for market, all_names in _KEYS.items()
        for name in all_names
        if environment.get(name)
    ]
    return (
        f"API keys set here: {', '.join(names)}" if names else "no marketplace's API key set here"
    )


async def _local() -> BackendSource:
    try:
        name, count, vram_gb = await look_for_gpus()
    except GdlError as error:
        return BackendSource("local", False, "This computer", error.message)
    words = f"{count}x {name}, {vram_gb:g} GB each" if count else f"{name}: small models, slowly"
    return BackendSource("local", True, "This computer", words)


def _ssh_hosts(settings: Settings, ssh_file: Path | None) -> BackendSource:
    listed = [host.host for host in settings.hosts]
    path = ssh_file or ssh_config.default_path()
    aliases = ssh_config.aliases(path)
    if listed:
        return BackendSource("ssh", True, "SSH hosts", f"{len(listed)} in your configuration")
    if not aliases:
        return BackendSource(
            "ssh", False, "SSH hosts", f"none in {path}; --host user@host names one"
        )
    some = ", ".join(aliases[:3]) + (", ..." if len(aliases) > 3 else "")
    return BackendSource(
        "ssh", True, "SSH hosts", f"{len(aliases)} in {path}: {some}", tuple(aliases)
    )
