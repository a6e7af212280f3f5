"""What this computer would serve with."""

from __future__ import annotations

from gdl.backends.local.this_machine import look_for_gpus
from gdl.domain.backend import BackendSource


async def discover() -> BackendSource:
    name, count, vram_gb = await look_for_gpus()
    words = f"{count}x {name}, {vram_gb:g} GB each" if count else f"{name}: small models, slowly"
    return BackendSource("local", True, "This computer", words)
