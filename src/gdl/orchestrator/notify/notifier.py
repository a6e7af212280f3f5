"""Tells whoever is away what happens to the deployments of this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState, apply
from gdl.domain.notices import Notice, notice_of
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.notify.desktop import Desktop, program
from gdl.orchestrator.notify.webhook import Webhook
from gdl.settings import Settings

_LAST_S = 5.0
"""What the last notices may take when the program ends."""
_log = logging.getLogger(__name__)


class Way(Protocol):
    """A way to somebody. host: where it leads, for messages."""

    host: str

    async def send(self, notice: Notice) -> str:
        """Send it. Why it was not taken, in a few words; "" when it was."""
        ...


def ways_of(settings: Settings) -> list[Way]:
    """Those that the settings ask for, and that there are."""
    wanted = settings.notify
    ways: list[Way] = []
    if wanted.webhook is not None:
        ways.append(Webhook(wanted.webhook.get_secret_value()))
    if wanted.desktop and (path := program()) is not None:
        ways.append(Desktop(path))
    return ways


class Notifier:
    """Reads events as everybody may, in tasks of its own: no deployment waits for it, or fails
    with it."""

    def __init__(self, ways: Sequence[Way]) -> None:
        self._ways = ways
        self._tasks: set[asyncio.Task[None]] = set()

    def follow(self, deployment: Deployment) -> None:
        """Tell of what happens to it from now on."""
        for way in self._ways:
            task = asyncio.create_task(
                _follow(deployment, deployment.state, way), name=f"notices of {deployment.id}"
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """After the last deployment has ended."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_LAST_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _follow(deployment: Deployment, state: DeploymentState, way: Way) -> None:
    told = False
    async for recorded in deployment.channel.follow(after=state.last_seq):
        state = apply(state, recorded)
        notice = notice_of(state, recorded)
        if notice is None:
            continue
        why = await _sent(way, notice)
        if why and not told:
            told = True
            text = f"{way.host} was not notified: {why}; nothing else depends on it"
            await deployment.tell(ev.Noted("warning", text))


async def _sent(way: Way, notice: Notice) -> str:
    try:
        return await way.send(notice)
    except Exception as error:  # a defect here must not cost more than a notice
        _log.debug("a notice was not sent", exc_info=error)
        return f"internal error: {type(error).__name__}"
