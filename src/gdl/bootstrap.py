"""The only place that builds the object graph."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from gdl.backends import registry as backends
from gdl.backends.base import Backend, BackendContext
from gdl.engines import registry as engines
from gdl.journal.consumer_id import consumer_id_of
from gdl.journal.store import Journal
from gdl.orchestrator.leasing.open_hub import open_hub
from gdl.orchestrator.service import Orchestrator
from gdl.settings import Settings

# Written to a socket whose other end is gone: told by the warning's line and by nothing else.
logging.getLogger("asyncio").setLevel(logging.ERROR)


@asynccontextmanager
async def open_sandbox(settings: Settings, port: int) -> AsyncIterator[str]:
    """A simulated cloud-gpu-shopper on 127.0.0.1, as `settings.sandbox` describes it; its URL.
    Port 0 takes a free one. Leaving ends all its machines.

    Raises UsageError for an unknown scenario, BackendError when it cannot be started.
    """
    from gdl.simulator.scenario import load
    from gdl.simulator.service import Service

    wanted = settings.sandbox
    service = Service(
        load(wanted.scenario),
        root=settings.data_dir / "sandbox",
        seed=wanted.seed,
        speed=wanted.speed,
        offers=wanted.offers,
    )
    try:
        yield await service.start(port)
    finally:
        await service.aclose()


@asynccontextmanager
async def open_markets(
    settings: Settings, names: Sequence[str], port: int
) -> AsyncIterator[Mapping[str, str]]:
    """Stand-ins for these marketplaces on 127.0.0.1, as `settings.sandbox` describes them: the
    environment variables with which the backends of the same names find them, and their keys. The
    first has that port, each other one the next; 0: free ones. Leaving ends all their machines.

    Raises UsageError for an unknown scenario, BackendError when one cannot be started.
    """
    from gdl.backends.sandbox.stand_in import HOSTS
    from gdl.simulator.markets import KEY_VARIABLES, MarketStandIn
    from gdl.simulator.scenario import load

    wanted = settings.sandbox
    variables: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        for place, name in enumerate(names):
            market = MarketStandIn(
                name,
                load(wanted.scenario),
                root=settings.data_dir / "sandbox",
                seed=wanted.seed,
                speed=wanted.speed,
                offers=wanted.offers or HOSTS,
            )
            stack.push_async_callback(market.aclose)
            variables[f"GDL_{name.upper()}__URL"] = await market.start(port and port + place)
            variables[KEY_VARIABLES[name]] = market.key
        yield variables


async def with_rented(settings: Settings) -> Settings:
    """The same settings with the backends of what the journal has as rented, besides those that
    are chosen. Where none was chosen, the default stands only while nothing is rented elsewhere.

    Raises GdlError.
    """
    path = settings.data_dir / "journal.sqlite"
    if not await asyncio.to_thread(path.exists):
        return settings
    journal = await Journal.open(path)
    try:
        rented = dict.fromkeys(r.backend for r in await journal.rentals() if r.open)
    finally:
        await journal.aclose()
    named = {"backend", "shopper_url"} & settings.model_fields_set
    chosen = settings.backends if named else ()
    known = backends.names()
    added = [name for name in rented if name in known and not backends.entry(name).simulated]
    every = dict.fromkeys((*chosen, *added))
    if not every or any(backends.entry(name).simulated for name in chosen):
        return settings
    return settings.model_copy(update={"backend": ",".join(every)})


@asynccontextmanager
async def open_orchestrator(
    settings: Settings, *, options: Mapping[str, str] | None = None
) -> AsyncIterator[Orchestrator]:
    """An orchestrator on the backends the settings name; closed on the way out, which cancels what
    still runs and releases what was rented. `options`: of the backends, for this run alone.

    Raises UsageError, GdlError.
    """
    entries = [backends.entry(name) for name in settings.backends]
    consumer_id = await asyncio.to_thread(consumer_id_of, settings)
    journal = await Journal.open(settings.data_dir / "journal.sqlite")
    made: list[Backend] = []
    try:
        rentals = await journal.rentals()
        for name, entry in zip(settings.backends, entries, strict=True):
            ours = [r for r in rentals if r.backend == name and r.open]
            made.append(entry.create(BackendContext(settings, consumer_id, options or {}, ours)))
        orchestrator = Orchestrator(
            settings=settings,
            backends=made,
            engines=engines.get,
            journal=journal,
            hub=open_hub(settings),
            consumer_id=consumer_id,
        )
    except BaseException:
        for backend in made:
            await backend.aclose()
        await journal.aclose()
        raise
    try:
        yield orchestrator
    finally:
        await orchestrator.aclose()
