"""The endpoint: tunnel, readiness, proof, benchmark, and holding it open."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from gdl.domain import events as ev
from gdl.domain.benchmark import OWN_LOAD, BenchLoad, BenchReport, QualityAnswer, own_workload
from gdl.domain.decisions import AfterServing
from gdl.domain.engine import NOTHING_MORE, Capabilities, Readiness
from gdl.domain.errors import (
    DeployError,
    ForwardRefused,
    GdlError,
    KeyRefused,
    SshError,
    VerificationError,
)
from gdl.domain.health import Check
from gdl.domain.rental import Rental
from gdl.domain.secret import Secret
from gdl.endpoint.health_checks import run_checks, wait_ready
from gdl.endpoint.ssh_curl import SshCurl
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.endpoint.measurements import Measurements
from gdl.settings import Settings
from gdl.ssh.silence import Silence

if TYPE_CHECKING:
    from gdl.endpoint.client import EndpointClient
    from gdl.ssh.connection import Forward
    from gdl.ssh.reconnecting import Link

_HEALS_S = 20.0


class Endpoint:
    """The served model as seen from this computer: through the tunnel or, when the machine
    refuses port forwarding, by curl over SSH."""

    def __init__(
        self, link: Link, port: int, api_key: Secret, settings: Settings, readiness: Readiness
    ) -> None:
        self._link = link
        self._port = port
        self._api_key = api_key
        self._settings = settings
        self._readiness = readiness
        self._forward: Forward | None = None
        self.client: EndpointClient | None = None
        self.curl: SshCurl | None = None

    def silence(self) -> Silence:
        """What notices a cut while it is entered."""
        return Silence(self._link)

    async def heals(self) -> None:
        """After a cut the tunnel may need a moment more than the connection: until it leads to the
        server again, or 20 s have passed."""
        never = asyncio.Event()
        with contextlib.suppress(VerificationError):
            await self.wait_ready(ended=never, nudge=never, timeout_s=_HEALS_S)

    async def open(self) -> ev.TunnelOpened:
        """Forward a free local port. Never raises ForwardRefused: curl is the way then."""
        try:
            self._forward = await self._link.forward(self._port)
        except ForwardRefused:
            self.curl = SshCurl(self._link, self._port, self._api_key, readiness=self._readiness)
            return ev.TunnelOpened(0, f"http://127.0.0.1:{self._port}/v1", "ssh-curl")
        from gdl.endpoint.client import EndpointClient

        url = f"http://127.0.0.1:{self._forward.local_port}"
        self.client = EndpointClient(
            url,
            self._api_key,
            readiness=self._readiness,
            timeout_s=self._settings.timeouts.inference,
        )
        return ev.TunnelOpened(0, f"{url}/v1", "forward", by=self._forward.by)

    @property
    def runner(self) -> Link:
        """Runs commands on the machine."""
        return self._link

    @property
    def way(self) -> EndpointClient | SshCurl | None:
        """How the model is asked; None before `open`."""
        return self.client or self.curl

    async def healthy(self) -> bool:
        """Whether the server says now that it serves, and is ours: who else may have its port takes
        no key of ours, and is not waited for."""
        way = self.client or self.curl
        assert way is not None
        # At once, as the way may be long.
        health, models = await asyncio.gather(way.health(), way.models(), return_exceptions=True)
        for answer in (health, models):
            if isinstance(answer, BaseException) and not isinstance(answer, GdlError):
                raise answer
        return health in self._readiness.ready and not isinstance(models, KeyRefused)

    async def wait_ready(
        self, *, ended: asyncio.Event, nudge: asyncio.Event, timeout_s: float
    ) -> bool:
        """True once it serves; False as soon as the server has ended."""
        return await wait_ready(self.healthy, ended=ended, nudge=nudge, timeout_s=timeout_s)

    async def check(
        self,
        model: str,
        *,
        pid: int | None,
        has_gpu: bool,
        can: Capabilities = NOTHING_MORE,
        on_check: Callable[[Check], object] | None = None,
    ) -> list[Check]:
        checks = []
        async for check in run_checks(
            self.client,
            model=model,
            runner=self._link,
            pid=pid,
            has_gpu=has_gpu,
            fallback=self.curl,
            can=can,
        ):
            checks.append(check)
            if on_check is not None:
                on_check(check)
        return checks

    async def bench(
        self,
        model: str,
        *,
        price_per_hour: float,
        on_answer: Callable[[QualityAnswer], None],
        on_progress: Callable[[int, int, float], None],
        load: BenchLoad = OWN_LOAD,
    ) -> BenchReport:
        from gdl.loadgen.deployment_benchmark import run_bench

        way = self.client or self.curl
        assert way is not None
        return await run_bench(
            way,
            model,
            key=self._api_key,
            price_per_hour=price_per_hour,
            on_answer=on_answer,
            on_progress=on_progress,
            load=load,
        )

    async def aclose(self) -> None:
        if self.client is not None:
            await self.client.aclose()
        if self._forward is not None:
            with contextlib.suppress(SshError):
                await self._forward.aclose()


class Emitter:
    """Lets callbacks that cannot await put events on the channel, in order."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._queue: asyncio.Queue[ev.Event | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._pump())

    def __call__(self, event: ev.Event) -> None:
        self._queue.put_nowait(event)

    async def _pump(self) -> None:
        while (event := await self._queue.get()) is not None:
            await self._deployment.emit(event)

    async def drain(self) -> None:
        """Until everything put so far is on the channel."""
        self._queue.put_nowait(None)
        await self._task


async def benchmark(
    deployment: Deployment,
    endpoint: Endpoint,
    rental: Rental,
    measurements: Measurements,
    load: BenchLoad = OWN_LOAD,
) -> BenchReport:
    """Run the benchmark as events; the report is the last of them, and kept."""
    emit = Emitter(deployment)
    attempt = deployment.attempt
    try:
        report = await endpoint.bench(
            deployment.model.served_name,
            price_per_hour=rental.price,
            on_answer=lambda answer: emit(ev.QualityAnswered(attempt, answer)),
            on_progress=lambda done, total, rate: emit(
                ev.BenchProgressed(attempt, done, total, rate)
            ),
            load=load,
        )
    finally:
        await emit.drain()
    said = await measurements.keep(rental, [report], workload=own_workload(load))
    report = replace(report, standing=said)
    await deployment.emit(ev.BenchFinished(attempt, report))
    return report


async def hold(deployment: Deployment, ended: asyncio.Event) -> AfterServing:
    """Until the user decides; raises DeployError when the server ends."""
    decisions = deployment.decisions
    deciding = asyncio.create_task(
        decisions.after_serving(lambda: deployment.note("holding the tunnel open"))
    )
    end = asyncio.create_task(ended.wait())
    try:
        await asyncio.wait({deciding, end}, return_when=asyncio.FIRST_COMPLETED)
        if not decisions.holds:
            return await deciding
        raise DeployError("the server ended while serving", "its log says why")
    finally:
        for task in (deciding, end):
            task.cancel()
        await asyncio.gather(deciding, end, return_exceptions=True)
