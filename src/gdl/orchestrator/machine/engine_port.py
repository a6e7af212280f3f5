"""The port that the server gets on the machine."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gdl.domain.errors import DeployError, SshError
from gdl.settings.sections import Engine

if TYPE_CHECKING:
    from gdl.orchestrator.deployment.context import Deployment
    from gdl.ssh.reconnecting import Link

_TRIED = 20


async def occupied(link: Link, port: int) -> bool:
    """Whether something listens there; False as well where that cannot be found out."""
    with contextlib.suppress(SshError):
        return await link.port_open(port)
    return False


async def settled(
    deployment: Deployment, link: Link, engine: Engine, taken: bool | None, host: str
) -> int:
    """As `choose`; of the replicas of a fleet that share a machine (host), each gets another."""
    siblings = deployment.siblings
    if siblings is None:
        return await choose(link, engine, taken)
    async with siblings.choosing:
        promised = siblings.ports(deployment.id, host)
        port = await choose(link, engine, taken, promised)
        siblings.promise(deployment.id, host, port)
        return port


async def choose(
    link: Link, engine: Engine, taken: bool | None, promised: frozenset[int] = frozenset()
) -> int:
    """The port asked for or, where nobody asked for one, the next that is free: the tunnel leads to
    any. taken: whether the port asked for is, if that is known. promised: to servers of ours that
    may not listen yet. Raises DeployError."""
    wanted = engine.port
    if taken is None:
        taken = await occupied(link, wanted)
    if not taken and wanted not in promised:
        return wanted
    tried = 1 if "port" in engine.model_fields_set and not promised else _TRIED
    others = range(wanted + 1, min(wanted + tried, 65536))
    answers = await asyncio.gather(*(occupied(link, port) for port in others))
    for port, busy in zip(others, answers, strict=True):
        if not busy and port not in promised:
            return port
    raise DeployError(
        f"port {wanted} on the machine is already in use",
        f"end what listens there, or choose another: GDL_ENGINE__PORT={wanted + tried}",
    )
