"""One attempt: from an offer to a serving endpoint on one machine."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from gdl.backends.base import Backend
from gdl.domain.errors import DeployError, GdlError, ReleaseUnconfirmed, SshError
from gdl.domain.events import Phase
from gdl.domain.models import BenchReport, Offer
from gdl.engines.base import Engine
from gdl.journal.store import Journal
from gdl.orchestrator import serving
from gdl.orchestrator.deployment import Deployment
from gdl.orchestrator.machine import Machine
from gdl.orchestrator.renting import Renter, uninterrupted
from gdl.settings import Settings


class Attempt:
    """Runs the phases in order. Whoever runs it also closes it, and releases what it rented."""

    def __init__(
        self,
        deployment: Deployment,
        backend: Backend,
        engine: Engine,
        renter: Renter,
        journal: Journal,
        settings: Settings,
    ) -> None:
        self._deployment = deployment
        self._backend = backend
        self._renter = renter
        self._journal = journal
        self._settings = settings
        self.endpoint: serving.Endpoint | None = None
        self.machine = Machine(
            deployment,
            engine,
            journal,
            settings,
            cpu_allowed=backend.cpu_allowed,
            rents=backend.rents,
        )

    async def run(self, offer: Offer) -> None:
        """To SERVING, benchmark included. Raises a GdlError that says why not."""
        dep = self._deployment
        await dep.enter(Phase.RENTING, f"{offer.gpu_name} at ${offer.price_per_hour:.3f}/h")
        lease = await uninterrupted(self._renter.rent(dep, offer))
        session = await self._renter.wait_running(dep, lease.session)
        await dep.enter(Phase.CONNECTING, str(session.ssh))
        await self.machine.connect(lease, session)
        await dep.enter(Phase.PREFLIGHT)
        await self.machine.inspect()
        await self._serve()
        if dep.spec.bench:
            await self.benchmark()

    async def _serve(self) -> None:
        dep, machine = self._deployment, self.machine
        await machine.make_api_key()
        plan = machine.plan()
        await dep.enter(Phase.INSTALLING, plan.summary)
        await machine.install(plan)
        assert machine.link is not None
        self.endpoint = serving.Endpoint(
            machine.link, plan.server.port, machine.api_key, self._settings
        )
        tunnel = await self.endpoint.open()
        tried: set[str] = set()
        while True:
            await dep.enter(Phase.STARTING, "python imports vLLM, then the model is loaded")
            await machine.start(plan)
            ready = await self.endpoint.wait_ready(
                ended=machine.ended,
                nudge=machine.ready_said,
                timeout_s=self._settings.timeouts.start,
            )
            if ready:
                break
            if not await machine.repair_start(plan, tried):
                await machine.fail_ended("the server ended before it was ready")
        await dep.emit(replace(tunnel, attempt=dep.attempt))
        await dep.enter(Phase.VERIFYING)
        await self.verify()
        await dep.enter(Phase.SERVING, tunnel.endpoint)

    async def verify(self) -> None:
        """Raises VerificationError, or DeployError when the server ended meanwhile."""
        machine = self.machine
        assert self.endpoint is not None
        try:
            await serving.verify(
                self._deployment,
                self.endpoint,
                pid=machine.job.pid if machine.job else None,
                gpu=bool(self._deployment.rental and self._deployment.rental.has_gpu),
            )
        except GdlError:
            if machine.ended.is_set():
                await machine.fail_ended("the server ended at its first request")
            raise

    async def benchmark(self) -> BenchReport:
        assert self.endpoint is not None and self._deployment.rental is not None
        rental = self._deployment.rental
        return await serving.benchmark(self._deployment, self.endpoint, rental.price)

    async def hold(self) -> str:
        """Until the user decides. Raises DeployError when the server ends by itself."""
        try:
            return await serving.hold(self._deployment, self.machine.ended)
        except DeployError:
            await self.machine.fail_ended("the server ended while serving")
            raise

    async def release(self) -> None:
        """Give the machine back and wait for the proof. Raises ReleaseUnconfirmed."""
        dep = self._deployment
        trouble: SshError | None = None
        if not self._backend.rents:
            # Nobody destroys this machine: our server has to be ended by ourselves.
            try:
                await self.machine.stop_engine(tidy=True)
            except SshError as error:
                trouble = error
        await self.close()
        if dep.rental is not None:
            await self._renter.release(dep, dep.rental)
        if trouble is not None and self._backend.name != "local":
            raise ReleaseUnconfirmed(
                f"the server on the machine could not be ended: {trouble.message}",
                "log in and end it by its pid; it is in the engine job's `pid` file",
            )

    async def close(self) -> None:
        """Close the tunnel and the connection; the machine stays as it is."""
        if self.endpoint is not None:
            with contextlib.suppress(GdlError):
                await self.endpoint.aclose()
            self.endpoint = None
        await self.machine.close()
