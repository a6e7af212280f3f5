"""What a deployment waits for its user to decide."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gdl.domain.decisions import AfterFailure, AfterServing, Decision
from gdl.domain.errors import UsageError

Announce = Callable[[], Awaitable[None]]
"""Says that a decision is awaited; called when an answer would be heard."""


class Decisions:
    """Owns both awaits of one deployment: `after_serving` while it holds its endpoint open, and
    `after_failure` while an attempt has failed, or could go on with a remedy.

    early: the decision on an attempt that had not failed yet, for what follows its end.
    """

    def __init__(self, deployment_id: str) -> None:
        self._deployment_id = deployment_id
        self._serving: asyncio.Future[AfterServing] | None = None
        self._failure: asyncio.Future[AfterFailure] | None = None
        self.early: AfterFailure | None = None

    @property
    def holds(self) -> bool:
        """Whether an AfterServing is awaited."""
        return self._serving is not None and not self._serving.done()

    @property
    def asks(self) -> bool:
        """Whether an AfterFailure is awaited."""
        return self._failure is not None and not self._failure.done()

    async def after_serving(self, announce: Announce) -> AfterServing:
        self._serving = asyncio.get_running_loop().create_future()
        try:
            await announce()
            return await self._serving
        finally:
            self._serving = None

    async def after_failure(self, announce: Announce) -> AfterFailure:
        self._failure = asyncio.get_running_loop().create_future()
        try:
            await announce()
            return await self._failure
        finally:
            self._failure = None

    def take_early(self) -> AfterFailure | None:
        early, self.early = self.early, None
        return early

    def answer(self, decision: Decision, phase: str) -> None:
        """phase: what the deployment does, to whoever comes at the wrong time. Raises UsageError
        when it does not wait for such a decision."""
        if isinstance(decision, AfterServing):
            if self._serving is None or self._serving.done():
                raise UsageError(
                    f"deployment {self._deployment_id} is {phase}, not held open",
                    "cancel it instead, which also releases the machine",
                )
            self._serving.set_result(decision)
        else:
            if self._failure is None or self._failure.done():
                raise UsageError(
                    f"deployment {self._deployment_id} is not waiting for a choice",
                    "wait until its attempt has failed",
                )
            self._failure.set_result(decision)
