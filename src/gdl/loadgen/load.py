"""One load: requests in a closed loop or by a timetable, and the figures that come of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from gdl.domain.errors import VerificationError
from gdl.domain.secret import Secret
from gdl.endpoint.protocol import CHAT, lacks_chat_template
from gdl.loadgen.decode import Sample, decode, refusal_text
from gdl.loadgen.load_driver import LoadDriver, Progress
from gdl.loadgen.metrics import Figures, Slo, figures
from gdl.loadgen.request_template import RequestTemplate
from gdl.loadgen.schedule import Arrivals
from gdl.loadgen.strain import Strain, StrainMonitor
from gdl.loadgen.transport import Transport
from gdl.loadgen.workload import Conversation

_BATCH = 64
_HINT = "`--model` must be what the server serves; its log tells more"
_OF_THE_MODEL = ("http_400", "http_404", "http_422")
_LOG_HINT = "the server's log says more"


@dataclass(frozen=True, slots=True)
class LoadShape:
    """concurrency: so many at a time, each followed by the next (closed loop). arrivals: by a
    timetable, however many run then (open loop). Exactly one of them."""

    concurrency: int | None = None
    arrivals: Arrivals | None = None

    def due(self, count: int, seed: int) -> list[float]:
        """When each of `count` conversations is due, in seconds after the begin; none for a closed
        loop. Always the same for the same seed."""
        if self.arrivals is None:
            return []
        chance = random.Random(f"arrivals {seed}")  # noqa: S311 - no secret
        return self.arrivals.times(count, chance)


@dataclass(frozen=True, slots=True)
class Outcome:
    """transport: how the requests travelled; note: why that is not the exact way, "" when it is."""

    request_template: RequestTemplate
    shape: LoadShape
    samples: tuple[Sample, ...]
    figures: Figures
    strain: Strain
    transport: str
    note: str

    @classmethod
    def of(
        cls,
        measured: Measured,
        request_template: RequestTemplate,
        shape: LoadShape,
        transport: Transport,
        slo: Slo | None,
    ) -> Outcome:
        """With the figures of what was measured."""
        return cls(
            request_template=request_template,
            shape=shape,
            samples=measured.samples,
            figures=figures(measured.samples, measured.duration_s, slo),
            strain=measured.strain,
            transport=transport.name,
            note=transport.note,
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """What one process has measured. began, ended: of the whole, by `perf_counter`."""

    samples: tuple[Sample, ...]
    began: float
    ended: float
    strain: Strain

    @property
    def duration_s(self) -> float:
        return self.ended - self.began


async def warm_up(
    transport: Transport,
    request_template: RequestTemplate,
    conversations: list[Conversation],
    key: Secret,
) -> RequestTemplate:
    """Send each conversation's first turn, all at once, without a figure. Returns how to ask:
    plain completions for a model that has no chat template. Raises VerificationError when no
    request succeeded."""
    while True:
        load = LoadDriver(
            transport, request_template, conversations, key, concurrency=len(conversations), turns=1
        )
        await load.open()
        ended = await load.run()
        samples = [decode(exchange, key) for exchange in ended]
        if any(sample.ok for sample in samples):
            return request_template
        refused = any(lacks_chat_template(e.status, refusal_text(e, key)) for e in ended)
        if request_template.mode != CHAT or not refused:
            first = samples[0]
            hint = first.hint or (_HINT if first.kind in _OF_THE_MODEL else _LOG_HINT)
            raise VerificationError(f"no request succeeded: {first.error}", hint)
        request_template = request_template.plainly()


async def run_load(
    transport: Transport,
    request_template: RequestTemplate,
    conversations: list[Conversation],
    shape: LoadShape,
    key: Secret,
    *,
    slo: Slo | None = None,
    seed: int = 0,
    limit_s: float | None = None,
    on_progress: Progress | None = None,
    on_sample: Callable[[Sample], None] | None = None,
) -> Outcome:
    """Send all turns of all conversations in this shape. limit_s: what is not answered then counts
    as timed out. on_sample: gets each request as it ends; for small loads alone, since it is then
    decoded between others. Raises VerificationError when no connection can be made at all."""
    measured = await measure(
        transport,
        request_template,
        conversations,
        key,
        concurrency=shape.concurrency,
        due=shape.due(len(conversations), seed),
        limit_s=limit_s,
        on_progress=on_progress,
        on_sample=on_sample,
    )
    return Outcome.of(measured, request_template, shape, transport, slo)


async def measure(
    transport: Transport,
    request_template: RequestTemplate,
    conversations: Sequence[Conversation],
    key: Secret,
    *,
    concurrency: int | None,
    due: Sequence[float] = (),
    limit_s: float | None = None,
    on_progress: Progress | None = None,
    on_sample: Callable[[Sample], None] | None = None,
    begin: Callable[[], Awaitable[None]] | None = None,
) -> Measured:
    """See `run_load`, whose figures come of this. begin: awaited once the connections are open,
    before the first request."""
    load = LoadDriver(
        transport,
        request_template,
        conversations,
        key,
        concurrency=concurrency,
        due=due,
        on_progress=on_progress,
        watch=StrainMonitor(),
    )
    load.on_sample = on_sample
    with _no_collections():
        await load.open()
        if begin is not None:
            await begin()
        ended = await load.run(limit_s)
    samples = []
    for number, exchange in enumerate(ended):
        samples.append(load.early.get(exchange) or decode(exchange, key))
        exchange.drop()
        if number % _BATCH == 0:
            await asyncio.sleep(0)
    return Measured(tuple(samples), load.began, load.last_end, load.strain)


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """No garbage collection while the clock runs: one takes milliseconds."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
