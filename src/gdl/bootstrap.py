"""The only place that builds the object graph."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gdl import settings as settings_module
from gdl.backends import registry as backends
from gdl.domain.models import SshAddress
from gdl.engines import registry as engines
from gdl.journal.store import Journal
from gdl.orchestrator.service import Orchestrator
from gdl.settings import Settings


@asynccontextmanager
async def open_orchestrator(
    settings: Settings, *, host: str | None = None, identity: str | None = None
) -> AsyncIterator[Orchestrator]:
    """An orchestrator on the backend the settings name; closed on the way out, which cancels what
    still runs and gives back what was rented. `host`, `identity`: for the `ssh` backend.

    Raises UsageError, GdlError.
    """
    consumer_id = await asyncio.to_thread(settings_module.consumer_id, settings)
    journal = await Journal.open(settings.data_dir / "journal.sqlite")
    try:
        known = {
            r.session_id: SshAddress(r.host, r.port, r.user)
            for r in await journal.rentals()
            if r.backend == settings.backend and r.session_id and r.host and r.open
        }
        backend = backends.create(
            settings.backend, settings, consumer_id, host=host, identity=identity, known=known
        )
    except BaseException:
        await journal.aclose()
        raise
    orchestrator = Orchestrator(
        settings=settings,
        backend=backend,
        engine=engines.create("vllm"),
        journal=journal,
        consumer_id=consumer_id,
    )
    try:
        yield orchestrator
    finally:
        await orchestrator.aclose()
