"""A measuring session with one endpoint: connect, find out how to ask, then load it or sweep."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from gdl.domain.secret import Secret
from gdl.loadgen.load import LoadShape, Outcome, Progress, run_load, warm_up
from gdl.loadgen.metrics import Slo
from gdl.loadgen.request_template import RequestTemplate
from gdl.loadgen.sweep import Measure, Point, Swept, sweep
from gdl.loadgen.transport import Limits, Transport, transport_for
from gdl.loadgen.workload import Workload

_PER_POINT = 8
_PER_LANE = 2


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """requests: conversations of one load. warmup: requests before it that are not timed. limit_s:
    for one load as a whole; None is without."""

    workload: Workload
    requests: int = 100
    warmup: int = 4
    slo: Slo | None = None
    limit_s: float | None = 3600.0


class Bench:
    """An endpoint that answers. Made by `connected`."""

    def __init__(
        self, carrier: Transport, asking: RequestTemplate, key: Secret, wish: LoadOptions
    ) -> None:
        self.asking = asking
        self._carrier = carrier
        self._key = key
        self._wish = wish
        self._drawn = 0

    async def load(self, pace: LoadShape, on_progress: Progress | None = None) -> Outcome:
        """The whole workload at one pace."""
        return await self._run(pace, self._wish.requests, self._wish.workload, on_progress)

    async def sweep(self, most: int, on_point: Callable[[Point], None] | None = None) -> Swept:
        """Closed loops of rising concurrency. Each window has eight requests, or `requests` when
        that is less, and two at least for each that runs at a time."""

        async def measure(concurrency: int, window: int) -> Outcome:
            count = max(min(self._wish.requests, _PER_POINT), _PER_LANE * concurrency)
            # Other prompts each time: the server may keep what it has seen.
            self._drawn += 1
            workload = replace(self._wish.workload, seed=self._wish.workload.seed + self._drawn)
            return await self._run(LoadShape(concurrency), count, workload, None)

        points: Measure = measure
        return await sweep(points, slo=self._wish.slo, most=most, on_point=on_point)

    async def _run(
        self, pace: LoadShape, count: int, workload: Workload, on_progress: Progress | None
    ) -> Outcome:
        return await run_load(
            self._carrier,
            self.asking,
            workload.conversations(count),
            pace,
            self._key,
            slo=self._wish.slo,
            seed=workload.seed,
            limit_s=self._wish.limit_s,
            on_progress=on_progress,
        )


@asynccontextmanager
async def connected(
    url: str, key: Secret, asking: RequestTemplate, wish: LoadOptions, limits: Limits | None = None
) -> AsyncIterator[Bench]:
    """A Bench whose endpoint has answered the warm-up. An empty model name is filled in from
    /v1/models. Raises UsageError for a bad URL or data set, VerificationError when the endpoint
    does not answer."""
    carrier = transport_for(url, key, limits or Limits())
    try:
        if not asking.model:
            asking = replace(asking, model=await first_model(url, key))
        # Not the prompts that are timed: a prefix cache would answer those.
        first = replace(wish.workload, seed=wish.workload.seed - 1)
        asking = await warm_up(carrier, asking, first.conversations(max(wish.warmup, 1)), key)
        yield Bench(carrier, asking, key, wish)
    finally:
        await carrier.aclose()


async def first_model(url: str, key: Secret) -> str:
    """The first model that the endpoint lists. Raises VerificationError."""
    from gdl.domain.errors import VerificationError
    from gdl.endpoint.client import EndpointClient

    client = EndpointClient(url.rstrip("/").removesuffix("/v1"), key)
    try:
        models = await client.models()
    finally:
        await client.aclose()
    if not models:
        raise VerificationError("the endpoint lists no model", "name one with --model")
    return models[0]
