"""What a deployment waits for its user to decide."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from gdl.domain.decisions import AfterFailure, AfterServing, Decision
from gdl.domain.errors import UsageError
from gdl.domain.phase import Phase

Announce = Callable[[], Awaitable[None]]
"""Says that a decision is awaited; called when an answer would be heard."""


class Decisions:
    """Owns both awaits of one deployment: `after_serving` while it holds its endpoint open, and
    `after_failure` while an attempt has failed, or could go on with a remedy.

    end: what was decided of what serves. early: the decision on an attempt that had not failed yet,
    for what follows its end.
    """

    def __init__(self, deployment_id: str, *, serves_already: bool = False) -> None:
        """An AfterServing is heard as soon as it serves: while it is still measured, too.
        serves_already: from the beginning."""
        self._deployment_id = deployment_id
        self._serves_already = serves_already
        self._was_held = self._settled = False
        self._decided = asyncio.Event()
        self.end: AfterServing | None = None
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

    async def unless_ended(self, work: Coroutine[Any, Any, object]) -> None:
        """What is done while it serves. An AfterServing ends it, and nobody asks what that work has
        come to. One that came before lets it take its first step, no more."""
        doing = asyncio.ensure_future(work)
        deciding = asyncio.create_task(self._decided.wait())
        try:
            await asyncio.wait({doing, deciding}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (doing, deciding):
                task.cancel()
            await asyncio.gather(doing, deciding, return_exceptions=True)
        if self.end is None:
            doing.result()

    async def after_serving(self, announce: Announce) -> AfterServing:
        """At once where that was decided before."""
        if self.end is not None:
            return self.end
        self._was_held = True
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

    def begin_attempt(self) -> None:
        """What was chosen for its beginning is done, and it will be held open like the one before
        it: that one, once its server had ended, no longer was."""
        self.early, self._was_held, self._settled = None, False, False

    def settle(self) -> AfterServing | None:
        """What was decided of what serves, if anything was: what comes of it is being done from
        now on, and no AfterServing is heard any more."""
        self._settled = True
        return self.end

    def take_early(self) -> AfterFailure | None:
        early, self.early = self.early, None
        return early

    def answer(self, decision: Decision, phase: str) -> None:
        """phase: what the deployment does, to whoever comes at the wrong time. Raises UsageError
        when it does not wait for such a decision."""
        if isinstance(decision, AfterServing):
            if self.end is not None or not self._hears(decision, phase):
                cancel = "cancel it instead, which also releases the machine"
                raise UsageError(
                    f"deployment {self._deployment_id} is {phase}, not held open",
                    "destroy its session instead" if self._serves_already else cancel,
                )
            self.end = decision
            self._decided.set()
            if self._serving is not None:
                self._serving.set_result(decision)
        else:
            if self._failure is None or not self.asks:
                raise UsageError(
                    f"deployment {self._deployment_id} is not waiting for a choice",
                    "wait until its attempt has failed",
                )
            self._failure.set_result(decision)

    def _hears(self, decision: AfterServing, phase: str) -> bool:
        if self._settled:
            return False
        if self._serves_already and decision is AfterServing.RELEASE:
            return True  # nothing but this order releases it
        serves = phase == Phase.SERVING or self._serves_already
        return self.holds or (serves and not self._was_held)
