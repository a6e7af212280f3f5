"""Which machines the configuration or ~/.ssh/config names."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gdl.backends.ssh import ssh_config
from gdl.domain.backend import BackendSource
from gdl.settings import Settings

_TITLE = "SSH hosts"


async def discover(settings: Settings, config: Path | None = None) -> BackendSource:
    """`config`: another file than ~/.ssh/config."""
    if settings.hosts:
        words = f"{len(settings.hosts)} in your configuration"
        return BackendSource("ssh", True, _TITLE, words)
    path = config or ssh_config.default_path()
    aliases = await asyncio.to_thread(ssh_config.aliases, path)
    if not aliases:
        return BackendSource("ssh", False, _TITLE, f"none in {path}; --host user@host names one")
    some = ", ".join(aliases[:3]) + (", ..." if len(aliases) > 3 else "")
    return BackendSource(
        "ssh", True, _TITLE, f"{len(aliases)} in {path}: {some}", hosts=tuple(aliases)
    )
