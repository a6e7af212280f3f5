"""The port that the server gets on the machine."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gdl.domain.errors import DeployError, SshError
from gdl.settings.sections import Engine

if TYPE_CHECKING:
    from gdl.ssh.reconnecting import Link

_TRIED = 20


async def occupied(link: Link, port: int) -> bool:
    """Whether something listens there; False as well where that cannot be found out."""
    with contextlib.suppress(SshError):
        return await link.port_open(port)
    return False


async def choose(link: Link, engine: Engine, taken: bool | None) -> int:
    """The port asked for or, where nobody asked for one, the next that is free: the tunnel leads to
    any. taken: whether the port asked for is, if that is known. Raises DeployError."""
    wanted = engine.port
    if taken is None:
        taken = await occupied(link, wanted)
    if not taken:
        return wanted
    tried = 1 if "port" in engine.model_fields_set else _TRIED
    others = range(wanted + 1, min(wanted + tried, 65536))
    answers = await asyncio.gather(*(occupied(link, port) for port in others))
    for port, busy in zip(others, answers, strict=True):
        if not busy:
            return port
    raise DeployError(
        f"port {wanted} on the machine is already in use",
        f"end what listens there, or choose another: GDL_ENGINE__PORT={wanted + tried}",
    )
