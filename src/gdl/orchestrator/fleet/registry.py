"""The fleets of this process: see `api.fleets.Fleets`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from gdl.domain import fleet_events as fe
from gdl.domain.benchmark import BenchReport
from gdl.domain.errors import GdlError, UsageError
from gdl.domain.events import Recorded
from gdl.domain.fleet import FleetState
from gdl.domain.fleet_orders import End, FleetOrder, Scale
from gdl.domain.fleet_spec import FleetSpec, check_replicas
from gdl.domain.fleet_view import FleetView
from gdl.domain.phase import Billing
from gdl.journal import fleets
from gdl.journal.fleets import FleetRow
from gdl.journal.store import Journal
from gdl.keyring.key_files import new_key, read_key, write_key
from gdl.orchestrator.api.read_only import changing
from gdl.orchestrator.fleet.admission import Models
from gdl.orchestrator.fleet.benchmarks import FleetBenchmarks
from gdl.orchestrator.fleet.channel import FleetChannel
from gdl.orchestrator.fleet.fleet_task import FleetTask
from gdl.orchestrator.fleet.lookup import FleetLookup
from gdl.orchestrator.fleet.replicas import Destroy, Replicas
from gdl.orchestrator.fleet.resuming import Resuming
from gdl.orchestrator.fleet.router import MakeRouter, Router
from gdl.orchestrator.leasing import process_liveness
from gdl.orchestrator.leasing.uninterrupted import uninterrupted
from gdl.orchestrator.run.internal_error import internal_error
from gdl.orchestrator.run.planned import new_id
from gdl.orchestrator.run.registry import DeploymentRegistry
from gdl.settings import Settings

_LOOK_S = 0.5


class FleetRegistry:
    """Owns every fleet's task. destroy: releases a session. models: asks a server for its models;
    make_router: seams for those who test without either."""

    def __init__(
        self,
        registry: DeploymentRegistry,
        lookup: FleetLookup,
        journal: Journal,
        settings: Settings,
        clock: Callable[[], datetime],
        *,
        backend_name: str,
        destroy: Destroy,
        benchmarks: FleetBenchmarks,
        models: Models,
        make_router: MakeRouter,
    ) -> None:
        self.read_only = settings.read_only
        self._registry = registry
        self._lookup = lookup
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._backend_name = backend_name
        self._destroy = destroy
        self._benchmarks = benchmarks
        self._models = models
        self._make_router = make_router
        self._tasks: dict[str, asyncio.Task[None]] = {}

    # -- starting --------------------------------------------------------------------------------

    @changing("deploy")
    async def deploy(self, spec: FleetSpec) -> str:
        check_replicas(spec.replicas)
        if spec.replica.query.pinned and spec.replicas > len(spec.replica.query.pinned):
            raise UsageError("--offer names one machine", "leave it to the fleet to choose")
        now = self._clock()
        ident = f"fleet-{new_id(now)}"
        channel = FleetChannel(ident, self._journal, self._clock)
        key_file = self._settings.keys_dir / f"{ident}.api"
        router = self._make_router(spec, key_file, self._settings.logs_dir / ident)
        mark = process_liveness.mark(os.getpid())
        model, backend = spec.replica.model, self._backend_name
        await fleets.add(self._journal, FleetRow(ident, now, model, backend, "", os.getpid(), mark))
        self._lookup.here[ident] = channel
        try:
            await asyncio.to_thread(write_key, key_file, new_key())
            # Before any money: without a router there is no fleet.
            await router.prepare(channel.note)
            await channel.emit(fe.FleetPlanned(spec, str(key_file)))
            replicas, task = await self._task_of(channel, router)
            await replicas.start_one()
        except GdlError as error:
            await self._never_began(channel, key_file, error)
            raise
        self._start(channel, task)
        return ident

    async def _never_began(self, channel: FleetChannel, key_file: Path, error: GdlError) -> None:
        del self._lookup.here[channel.id]
        with contextlib.suppress(GdlError, OSError):
            await asyncio.to_thread(key_file.unlink, missing_ok=True)
            await fleets.set_outcome(self._journal, channel.id, "failed")

    @changing("resume")
    async def resume(self, ident: str) -> str:
        row = await self._lookup.find(ident)
        if self._lookup.runs(row):
            raise UsageError(
                f"fleet {row.id} is being run (pid {row.owner_pid})",
                "`gdl-tui scale ID N` reaches it",
            )
        view = await self._lookup.view(row)
        history = await self._journal.events(row.id)
        channel = FleetChannel(row.id, self._journal, self._clock, history)
        if not view.resumable or channel.state.spec is None:
            raise UsageError(
                f"fleet {row.id} has ended ({view.outcome or 'before it began'})", "deploy again"
            )
        key_file = Path(channel.state.api_key_file)
        router = self._make_router(channel.state.spec, key_file, self._settings.logs_dir / row.id)
        await router.prepare(channel.note)
        mark = process_liveness.claim_mark(os.getpid(), self._clock())
        if not await fleets.claim(self._journal, row, os.getpid(), mark):
            raise UsageError(f"another gdl-tui has just taken over {row.id}", "wait for that one")
        self._lookup.here[row.id] = channel
        await channel.emit(fe.FleetResumed())
        _, task = await self._task_of(channel, router)
        resuming = Resuming(channel, self._registry, self._journal, self._destroy)
        await resuming.begin()
        self._start(channel, task, resuming)
        return row.id

    async def _task_of(self, channel: FleetChannel, router: Router) -> tuple[Replicas, FleetTask]:
        key = await asyncio.to_thread(read_key, Path(channel.state.api_key_file))
        siblings = self._registry.siblings(channel.id)
        task: FleetTask | None = None

        def wake() -> None:
            if task is not None:
                task.wake()

        replicas = Replicas(channel, self._registry, router, self._destroy, self._models, key, wake)

        async def bench() -> BenchReport:
            return await self._benchmarks.measure(await self._lookup.find(channel.id))

        log_dir = self._settings.logs_dir / channel.id
        task = FleetTask(channel, replicas, router, siblings, self._journal, bench, log_dir)
        return replicas, task

    def _start(
        self, channel: FleetChannel, task: FleetTask, resuming: Resuming | None = None
    ) -> None:
        self._tasks[channel.id] = asyncio.create_task(
            self._to_the_end(channel, task, resuming), name=f"fleet {channel.id}"
        )

    async def _to_the_end(
        self, channel: FleetChannel, task: FleetTask, resuming: Resuming | None
    ) -> None:
        port = urlsplit(channel.state.endpoint).port or self._settings.fleet.port
        try:
            await uninterrupted(task.run(port))
        except Exception as error:
            # A defect of ours: whoever waits is told, and the deployments end with the program.
            folder, trace = self._settings.logs_dir / channel.id, traceback.format_exc()
            told = await internal_error(folder, error, trace)
            cost, why = channel.state.ended_cost, (told.message, told.hint, "error")
            await channel.emit(fe.FleetFinished("failed", Billing.UNKNOWN, cost, *why))
        if resuming is not None:
            await resuming.aclose()
        finished = channel.state.finished
        outcome = "interrupted" if finished is None else finished.outcome
        if outcome != "serving":
            with contextlib.suppress(OSError):
                await asyncio.to_thread(Path(channel.state.api_key_file).unlink, missing_ok=True)
        with contextlib.suppress(GdlError):
            await fleets.set_outcome(self._journal, channel.id, outcome)

    # -- looking ---------------------------------------------------------------------------------

    async def events(self, fleet_id: str) -> AsyncIterator[Recorded]:
        channel = self._lookup.here.get(fleet_id)
        if channel is None:
            for recorded in await self._journal.events(fleet_id):
                yield recorded
            return
        async for recorded in channel.follow():
            yield recorded

    def state(self, fleet_id: str) -> FleetState:
        if fleet_id not in self._lookup.here:
            raise UsageError(f"fleet {fleet_id} does not run here", "`gdl-tui scale` lists them")
        return self._lookup.here[fleet_id].state

    @property
    def active(self) -> Sequence[str]:
        return [name for name, c in self._lookup.here.items() if c.state.finished is None]

    async def rows(self, *, past: bool = False) -> Sequence[FleetView]:
        return await self._lookup.rows(past=past)

    async def view(self, ident: str) -> FleetView:
        return await self._lookup.view(await self._lookup.find(ident))

    # -- changing --------------------------------------------------------------------------------

    @changing("changing a fleet")
    async def order(self, ident: str, what: FleetOrder) -> str:
        row = await self._lookup.find(ident)
        if isinstance(what, Scale):
            check_replicas(what.replicas)
        if not self._lookup.runs(row):
            if not isinstance(what, End):
                raise UsageError(
                    f"no gdl-tui is running {row.id}", f"`gdl-tui resume {row.id}` continues it"
                )
            await self.resume(row.id)
        elif not isinstance(what, End) and (await self._lookup.state(row.id)).ending is not None:
            raise UsageError(f"fleet {row.id} is ending", "deploy another one")
        await fleets.order(self._journal, row.id, what, self._clock())
        return row.id

    async def ended(self, ident: str) -> FleetView:
        """Once it has, wherever it runs."""
        row = await self._lookup.find(ident)
        if (task := self._tasks.get(row.id)) is not None:
            await asyncio.shield(task)
        while self._lookup.runs(row):
            await asyncio.sleep(_LOOK_S)
            row = await self._lookup.find(row.id)
        return await self._lookup.view(row)

    async def released(self, ident: str) -> FleetView:
        await self.order(ident, End())
        view = await self.ended(ident)
        if view.resumable:  # it was just being left, and did not hear of that any more
            await self.order(view.id, End())
            view = await self.ended(view.id)
        return view

    async def aclose(self) -> None:
        """Release what they have rented, and wait for that."""
        for fleet_id in self.active:
            channel = self._lookup.here[fleet_id]
            if channel.state.ending is None:
                await channel.emit(fe.FleetEnding(False, "the program ends"))
        if self._tasks:
            await asyncio.wait(self._tasks.values())
