"""A measuring session with one endpoint: connect, find out how to ask, then load it or sweep."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from gdl.domain.errors import VerificationError
from gdl.domain.secret import Secret
from gdl.endpoint.client import EndpointClient
from gdl.endpoint.tls import USUAL_TLS, TlsOptions, speaks_tls, tls_context, wants_tls
from gdl.loadgen.load import LoadShape, Outcome, run_load, warm_up
from gdl.loadgen.load_driver import Progress
from gdl.loadgen.metrics import Slo
from gdl.loadgen.open_files import most_connections
from gdl.loadgen.request_template import RequestTemplate
from gdl.loadgen.sweep import Point, Swept, sweep
from gdl.loadgen.transport import Limits, Transport
from gdl.loadgen.transport_factory import parsed, proxy_for, transport_for
from gdl.loadgen.worker_messages import Share
from gdl.loadgen.workers import cores_here, measure_split, processes_for
from gdl.loadgen.workload import Conversation, Workload

_PER_POINT = 8
_PER_STREAM = 2


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """requests: conversations of one load. warmup: requests before it that are not timed. limit_s:
    for one load as a whole; None is without. processes: that send them; None: as many as it
    takes."""

    workload: Workload
    requests: int = 100
    warmup: int = 4
    slo: Slo | None = None
    limit_s: float | None = 3600.0
    processes: int | None = None


@dataclass(frozen=True, slots=True)
class Server:
    """Where the requests go, and how."""

    url: str
    key: Secret
    limits: Limits
    tls: TlsOptions


class Bench:
    """An endpoint that answers. Made by `connected`."""

    def __init__(
        self,
        transport: Transport,
        request_template: RequestTemplate,
        server: Server,
        options: LoadOptions,
    ) -> None:
        self.request_template = request_template
        self._transport = transport
        self._server = server
        self._options = options
        self._drawn = 0

    async def load(self, shape: LoadShape, on_progress: Progress | None = None) -> Outcome:
        """The whole workload in one shape."""
        return await self._run(shape, self._options.requests, self._options.workload, on_progress)

    async def sweep(self, most: int, on_point: Callable[[Point], None] | None = None) -> Swept:
        """Closed loops of rising concurrency. Each window has eight requests, or `requests` when
        that is less, and two at least for each that runs at a time."""

        async def measure(concurrency: int, window: int) -> Outcome:
            count = max(min(self._options.requests, _PER_POINT), _PER_STREAM * concurrency)
            # Other prompts each time: the server may keep what it has seen.
            self._drawn += 1
            workload = replace(
                self._options.workload, seed=self._options.workload.seed + self._drawn
            )
            return await self._run(LoadShape(concurrency), count, workload, None)

        return await sweep(measure, slo=self._options.slo, most=most, on_point=on_point)

    async def _run(
        self, shape: LoadShape, count: int, workload: Workload, on_progress: Progress | None
    ) -> Outcome:
        conversations = workload.conversations(count)
        processes = self._options.processes or processes_for(
            shape, conversations, cores_here(), most_connections()
        )
        processes = min(processes, len(conversations), shape.concurrency or processes)
        if processes > 1:
            return await self._run_split(processes, shape, conversations, workload, on_progress)
        return await run_load(
            self._transport,
            self.request_template,
            conversations,
            shape,
            self._server.key,
            slo=self._options.slo,
            seed=workload.seed,
            limit_s=self._options.limit_s,
            on_progress=on_progress,
        )

    async def _run_split(
        self,
        processes: int,
        shape: LoadShape,
        conversations: list[Conversation],
        workload: Workload,
        on_progress: Progress | None,
    ) -> Outcome:
        share = Share(
            url=self._server.url,
            limits=self._server.limits,
            tls=self._server.tls,
            request_template=self.request_template,
            conversations=tuple(conversations),
            concurrency=shape.concurrency,
            due=tuple(shape.due(len(conversations), workload.seed)),
            limit_s=self._options.limit_s,
        )
        measured = await measure_split(share, processes, self._server.key, on_progress)
        return Outcome.of(
            measured, self.request_template, shape, self._transport, self._options.slo
        )


@asynccontextmanager
async def connected(
    url: str,
    key: Secret,
    request_template: RequestTemplate,
    options: LoadOptions,
    limits: Limits | None = None,
    tls: TlsOptions = USUAL_TLS,
) -> AsyncIterator[Bench]:
    """A Bench whose endpoint has answered the warm-up. An empty model name is filled in from
    /v1/models. Raises UsageError for a bad URL, data set or file of certificates,
    VerificationError when the endpoint does not answer."""
    server = Server(url, key, limits or Limits(), tls)
    transport = transport_for(url, key, server.limits, tls)
    try:
        try:
            if not request_template.model:
                name = await first_model(url, key, tls)
                request_template = replace(request_template, model=name)
            # Not the prompts that are timed: a prefix cache would answer those.
            first = replace(options.workload, seed=options.workload.seed - 1)
            request_template = await warm_up(
                transport, request_template, first.conversations(max(options.warmup, 1)), key
            )
        except VerificationError:
            await _refuse_plain_http_for_tls(url)
            raise
        yield Bench(transport, request_template, server, options)
    finally:
        await transport.aclose()


async def _refuse_plain_http_for_tls(url: str) -> None:
    """What a server of TLS says to plain HTTP, if anything, seldom tells what is wrong."""
    parts = parsed(url)
    if parts.scheme == "http" and proxy_for(parts) is None:
        host, port = parts.hostname or "", parts.port or 80
        if await speaks_tls(host, port):
            raise wants_tls(parts.netloc.rpartition("@")[2]).as_error() from None


async def first_model(url: str, key: Secret, tls: TlsOptions = USUAL_TLS) -> str:
    """The first model that the endpoint lists. Raises VerificationError."""
    parts = parsed(url)
    client = EndpointClient(
        url.rstrip("/").removesuffix("/v1"),
        key,
        context=tls_context(tls) if parts.scheme == "https" else None,
        proxy=proxy_for(parts),
    )
    try:
        models = await client.models()
    finally:
        await client.aclose()
    if not models:
        raise VerificationError("the endpoint lists no model", "name one with --model")
    return next(iter(models))
