"""Events of one deployment, from the one who emits them to everybody who follows."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import datetime

from gdl.domain.deployment import DeploymentState, apply, replayed
from gdl.domain.errors import GdlError
from gdl.domain.events import DeploymentFinished, Event, LogLines, Noted, Recorded
from gdl.journal.store import Journal

LOG_BATCHES_KEPT = 4000
"""Batches of log lines kept for readers that come late or are slow. The full log is a file."""


class EventChannel:
    """Numbers, journals, applies and publishes the events of one deployment.

    Readers see every state event. Batches of log lines beyond the last `LOG_BATCHES_KEPT` are
    dropped, and the next batch of the same source says how many lines that were.
    """

    def __init__(self, deployment_id: str, journal: Journal, clock: Callable[[], datetime]) -> None:
        self.state = DeploymentState(deployment_id)
        self._journal = journal
        self.clock = clock
        self._history: list[Recorded] = []
        self._log_batches = 0
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()
        self._told_trouble = False
        self._extra: Noted | None = None

    @classmethod
    def replay(
        cls,
        deployment_id: str,
        history: Sequence[Recorded],
        journal: Journal,
        clock: Callable[[], datetime],
    ) -> EventChannel:
        """A channel that begins with what the journal holds."""
        channel = cls(deployment_id, journal, clock)
        channel.state = replayed(deployment_id, history)
        channel._history = list(history)
        return channel

    @property
    def finished(self) -> DeploymentFinished | None:
        return self.state.finished

    async def emit(self, event: Event) -> None:
        """Journal, apply, publish; in that order, and all or nothing even when cancelled.

        A journal that cannot be written is told once, and stops nothing: what is rented has to be
        released all the same. (Renting writes to the journal by itself, and does stop.)
        Raises IllegalTransition, before anything is written, on an illegal phase change.
        """
        await asyncio.shield(self._emit(event))

    async def emit_unless_over(self, *events: Event) -> None:
        """The same for whoever works beside the deployment: nothing comes after its last word."""

        async def emit() -> None:
            for event in events:
                async with self._lock:
                    if self.state.finished is None:
                        await self._take(event)

        await asyncio.shield(emit())

    async def settled(self) -> None:
        """Until every event emitted so far is applied, also those whose emitter was cancelled."""
        async with self._lock:
            pass

    async def _emit(self, event: Event) -> None:
        async with self._lock:
            await self._take(event)

    async def _take(self, event: Event) -> None:
        """With the lock held."""
        recorded = Recorded(self.state.deployment_id, self.state.last_seq + 1, self.clock(), event)
        state = apply(self.state, recorded)
        if isinstance(event, LogLines):
            self._bound_logs()
        else:
            await self._write(recorded)
        self._publish(recorded, state)

    async def _write(self, recorded: Recorded) -> None:
        try:
            await self._journal.append(recorded)
        except GdlError as error:
            if not self._told_trouble:
                self._told_trouble = True
                self._extra = Noted("error", f"{error.message}; {error.hint}")

    def _publish(self, recorded: Recorded, state: DeploymentState) -> None:
        if self._extra is not None:
            # Before the event it stands for, whose number it takes: the end stays the last.
            first = replace(recorded, event=self._extra)
            self._extra = None
            self._publish(first, apply(self.state, first))
            recorded = replace(recorded, seq=recorded.seq + 1)
            state = apply(self.state, recorded)
        self.state = state
        self._history.append(recorded)
        self._changed.set()
        self._changed = asyncio.Event()

    def _bound_logs(self) -> None:
        self._log_batches += 1
        if self._log_batches <= LOG_BATCHES_KEPT:
            return
        for index, recorded in enumerate(self._history):
            if isinstance(recorded.event, LogLines):
                del self._history[index]
                self._log_batches -= 1
                self._tell_dropped(index, recorded.event)
                return

    def _tell_dropped(self, start: int, gone: LogLines) -> None:
        for index in range(start, len(self._history)):
            recorded = self._history[index]
            event = recorded.event
            if isinstance(event, LogLines) and event.source == gone.source:
                dropped = event.dropped + gone.dropped + len(gone.lines)
                self._history[index] = replace(recorded, event=replace(event, dropped=dropped))
                return

    async def follow(self, after: int = 0) -> AsyncIterator[Recorded]:
        """History after `after`, then live; ends with DeploymentFinished."""
        seq = after
        while True:
            changed = self._changed
            start = bisect_right(self._history, seq, key=lambda r: r.seq)
            for recorded in self._history[start:]:
                seq = recorded.seq
                yield recorded
                # An attached deployment goes on after an earlier end: only the last one counts.
                if isinstance(recorded.event, DeploymentFinished) and self.state.last_seq == seq:
                    return
            if self.state.last_seq <= seq:
                await changed.wait()
