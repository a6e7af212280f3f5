"""Our own history, made into what ranking wants to know."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median

from gdl.domain.attempt_state import NO_MACHINE
from gdl.domain.session_charges import SessionCharges, learnt
from gdl.domain.track_record import TrackRecord
from gdl.journal import history, session_charges
from gdl.journal.history import PastAttempt
from gdl.journal.store import Journal

_FRESH_S = 60.0
_NOT_THEIRS = NO_MACHINE | {
    "spend_limit",
    "guard_ended",
    "usage",
    "cancelled",
    "error",
    "backend",
    "backend_unreachable",
    "backend_refused",
}
"""Failures that say nothing about a machine: it was never had, or the trouble was elsewhere."""


class TrackRecords:
    """Reads the history when asked, and at most once a minute.

    It is on the journal's own thread, so that it can go on while a market is being asked."""

    def __init__(self, journal: Journal, backend: str) -> None:
        self._journal = journal
        self._backend = backend
        self._attempts: list[PastAttempt] = []
        self._charges: list[SessionCharges] = []
        self._read_at: float | None = None
        self._reading = asyncio.Lock()

    async def read(self) -> None:
        """Have what is known at hand. Raises GdlError."""
        async with self._reading:
            if self._read_at is None or time.monotonic() - self._read_at > _FRESH_S:
                self._attempts = await history.attempts(self._journal, self._backend)
                self._charges = await session_charges.latest(self._journal, self._backend)
                self._read_at = time.monotonic()

    async def of(self, served_name: str | None) -> TrackRecord:
        """`served_name`: the model whose speed is asked for; None: no speed is told."""
        await self.read()
        return digest(self._attempts, served_name, self._charges)


def digest(
    attempts: Iterable[PastAttempt],
    served_name: str | None,
    charges: Iterable[SessionCharges] = (),
) -> TrackRecord:
    """Medians and shares. A share of few attempts is drawn towards a half."""
    # With an image that has the engine (True), and installed (False).
    setup: Mapping[bool, dict[str, list[float]]] = {way: defaultdict(list) for way in (False, True)}
    work: Mapping[bool, dict[str, list[float]]] = {way: defaultdict(list) for way in (False, True)}
    by_images: dict[str, list[bool]] = defaultdict(list)
    mbps: dict[str, list[float]] = defaultdict(list)
    speed: dict[tuple[str, int], list[float]] = defaultdict(list)
    served: dict[str, list[bool]] = defaultdict(list)
    for attempt in attempts:
        if attempt.setup_s is not None:
            by_image = bool(attempt.image)
            setup[by_image][attempt.provider].append(attempt.setup_s / 3600)
            if attempt.work_s is not None:
                work[by_image][attempt.provider].append(attempt.work_s / 3600)
        if attempt.mbps and attempt.machine_id:
            mbps[attempt.machine_id].append(attempt.mbps)
        if attempt.tokens_per_s and attempt.model == served_name:
            speed[attempt.gpu_name, attempt.gpu_count].extend(attempt.tokens_per_s)
        if attempt.served or (attempt.failed and attempt.failed not in _NOT_THEIRS):
            for key in filter(None, (attempt.machine_id, attempt.provider)):
                served[key].append(attempt.served)
            if attempt.image:
                by_images[attempt.provider].append(attempt.served)
    return TrackRecord(
        setup_hours=_medians(setup[False]),
        success=_shares(served),
        tokens_per_s={gpu: median(rates) for gpu, rates in speed.items()},
        work_hours=_medians(work[False]),
        image_setup_hours=_medians(setup[True]),
        image_work_hours=_medians(work[True]),
        image_success=_shares(by_images),
        mbps=_medians(mbps),
        charged=learnt(charges),
    )


def _medians(found: Mapping[str, list[float]]) -> dict[str, float]:
    return {key: median(values) for key, values in found.items()}


def _shares(found: Mapping[str, list[bool]]) -> dict[str, float]:
    return {key: (sum(past) + 1) / (len(past) + 2) for key, past in found.items()}
