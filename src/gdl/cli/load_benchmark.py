"""The load generator behind `gdl-tui bench`: from options to figures and an exit code."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import typer

from gdl.cli import exit_codes, load_results, publication
from gdl.cli.bench_options import BenchOptions, PromptOptions, ResultOptions
from gdl.cli.event_loop import run_fast
from gdl.cli.options import Target
from gdl.cli.output import Output, say
from gdl.cli.runtime import Cli, Session, execute, guarded
from gdl.cli.signals import handled
from gdl.domain import clock
from gdl.domain.benchmark import BenchReport
from gdl.domain.errors import Cancelled, UsageError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.secret import Secret
from gdl.endpoint.protocol import CHAT, COMPLETIONS
from gdl.endpoint.tls import TlsOptions
from gdl.loadgen.bench_session import LoadOptions, connected
from gdl.loadgen.load import LoadShape, Outcome
from gdl.loadgen.metrics import Slo
from gdl.loadgen.report import report
from gdl.loadgen.request_template import RequestTemplate
from gdl.loadgen.result_files import Context
from gdl.loadgen.schedule import Arrivals
from gdl.loadgen.sweep import Point
from gdl.loadgen.transport import Limits, shown
from gdl.loadgen.workload import BUILTIN, RANDOM, Length, Workload
from gdl.presentation.lines import plain

_CONCURRENCY = 16
_REQUESTS = 100


@dataclass(frozen=True, slots=True)
class _Job:
    """The options, understood. sweep: the most at a time that is tried, None without a sweep."""

    options: LoadOptions
    shape: LoadShape
    request_template: RequestTemplate
    limits: Limits
    sweep: int | None
    results: ResultOptions
    tls: TlsOptions


@dataclass(frozen=True, slots=True)
class _Measured:
    """best: the place of a sweep's best point among the outcomes."""

    code: int
    outcomes: list[Outcome]
    best: int | None = None


def run(cli: Cli, target: Target, wanted: BenchOptions, as_json: bool) -> NoReturn:
    """Measure; exit 6 when no request succeeded."""
    if wanted.ident:

        async def body(session: Session) -> int:
            return await _of_session(session, wanted)

        execute(
            cli, body, target=target, as_json=as_json, changes="benchmarked", fast=True, rented=True
        )
    output = Output(as_json)
    raise typer.Exit(guarded(cli, lambda: run_fast(_at_url(cli, wanted, output)), output))


async def _of_session(session: Session, wanted: BenchOptions) -> int:
    publish, workload = wanted.results.publish, _name(wanted)
    publication.check(session, publish)
    job = _understood(wanted)
    async with session.orchestrator.endpoints.reach(wanted.ident) as reached:
        context = Context(
            at=clock.now(),
            url=shown(reached.url),
            dataset=_dataset(wanted.prompts),
            price_per_hour=reached.price if wanted.results.price is None else wanted.results.price,
            gpu=reached.hardware,
            provider=reached.provider,
        )
        job = replace(job, request_template=replace(job.request_template, model=reached.model))
        measured = await _measure(job, reached.url, reached.key, context, session.output)
    reports = [_report(outcome, context) for outcome in measured.outcomes]
    best = None if measured.best is None else reports[measured.best]
    standing = await session.orchestrator.benchmarks.keep(wanted.ident, reports, workload, best)
    if standing:
        say(plain(standing, 300))
    if publish and measured.code == exit_codes.OK:
        await publication.publish(session, wanted.ident, best or reports[0], workload)
    return measured.code


async def _at_url(cli: Cli, wanted: BenchOptions, output: Output) -> int:
    if cli.read_only:
        raise UsageError("read-only: nothing is benchmarked", "omit --read-only")
    job, key = _understood(wanted), _key(wanted.endpoint.api_key_env)
    url = wanted.endpoint.url or ""
    context = Context(
        at=clock.now(),
        url=shown(url),
        dataset=_dataset(wanted.prompts),
        price_per_hour=wanted.results.price,
        gpu="",
        provider="",
    )
    task = asyncio.current_task()
    assert task is not None
    try:
        with handled(lambda _signal: task.cancel()):
            return (await _measure(job, url, key, context, output)).code
    except asyncio.CancelledError:
        task.uncancel()
        raise Cancelled("interrupted", "run it again when you are ready") from None


def _key(name: str | None) -> Secret:
    if name is None:
        return Secret("")
    value = os.environ.get(name, "").strip()
    if not value:
        raise UsageError(f"the environment variable {name} is not set", "export it with the key")
    if not value.isprintable() or not value.isascii():
        raise UsageError(
            f"what {name} holds cannot be a key", "one line of letters, digits and signs"
        )
    return Secret(value)


def _dataset(prompts: PromptOptions) -> str:
    return prompts.dataset or BUILTIN


def _understood(wanted: BenchOptions) -> _Job:
    """Raises UsageError for what makes no sense, before anything is sent."""
    load_results.check(wanted.results)
    traffic, prompts = wanted.traffic, wanted.prompts
    if traffic.rate is None:
        shape = LoadShape(traffic.concurrency or _CONCURRENCY)
    else:
        shape = LoadShape(arrivals=Arrivals.parse(traffic.rate, traffic.burstiness))
    workload = _workload(prompts)
    workload.conversations(1)
    slo = None if traffic.slo is None else Slo.parse(traffic.slo)
    requests = traffic.requests or _REQUESTS
    mode = COMPLETIONS if prompts.completions else CHAT
    return _Job(
        options=LoadOptions(
            workload, requests, traffic.warmup, slo, wanted.limits.time_limit, traffic.processes
        ),
        shape=shape,
        request_template=RequestTemplate(wanted.endpoint.model or "", mode, prompts.ignore_eos),
        limits=Limits(request_s=wanted.limits.timeout),
        sweep=traffic.max_concurrency if traffic.sweep else None,
        results=wanted.results,
        tls=TlsOptions(wanted.endpoint.cacert, wanted.endpoint.insecure),
    )


def _workload(prompts: PromptOptions) -> Workload:
    dataset = _dataset(prompts)
    if prompts.input_len is not None and dataset == BUILTIN:
        raise UsageError("the built-in prompts have their own length", f"use --dataset {RANDOM}")
    return Workload(
        dataset=dataset,
        input_len=None if prompts.input_len is None else Length.parse(prompts.input_len),
        output_len=None if prompts.output_len is None else Length.parse(prompts.output_len),
        turns=prompts.turns,
        prefix=prompts.prefix_len,
        prefixes=prompts.prefixes,
        seed=prompts.seed,
    )


async def _measure(job: _Job, url: str, key: Secret, context: Context, output: Output) -> _Measured:
    say(f"warming up {plain(shown(url), 200)} ...")
    async with connected(url, key, job.request_template, job.options, job.limits, job.tls) as bench:
        if job.sweep is not None:
            swept = await bench.sweep(job.sweep, _say_point)
            load_results.swept(swept, job.results, context, output)
            outcomes = [point.middle for point in swept.points]
            if swept.best is None:
                return _Measured(exit_codes.VERIFICATION_FAILED, outcomes)
            return _Measured(exit_codes.OK, outcomes, swept.points.index(swept.best))
        outcome = await bench.load(job.shape, _progress())
    load_results.load(outcome, job.results, context, output)
    code = exit_codes.OK if outcome.figures.completed else exit_codes.VERIFICATION_FAILED
    return _Measured(code, [outcome])


def _report(outcome: Outcome, context: Context) -> BenchReport:
    return report(
        outcome.request_template.model,
        outcome.figures,
        price_per_hour=context.price_per_hour or 0.0,
        concurrency=outcome.shape.concurrency or 0,
        note=outcome.strain.limited or outcome.note,
    )


def _name(wanted: BenchOptions) -> str:
    """What was asked, so that only the like is compared with it."""
    prompts, rate = wanted.prompts, wanted.traffic.rate
    words = [Path(_dataset(prompts)).name]
    lengths = (("in", prompts.input_len), ("out", prompts.output_len))
    words += [f"{name} {length}" for name, length in lengths if length is not None]
    if prompts.turns > 1:
        words.append(f"{prompts.turns} turns")
    if prompts.prefix_len:
        words.append(f"prefix {prompts.prefix_len}")
    if rate is not None:
        words.append(f"{rate}/s")
    return ", ".join(words)


def _say_point(point: Point) -> None:
    kept = "" if point.kept is None else f", {point.kept:.0%} kept the limits"
    doubt = f" ({point.limited})" if point.limited else ""
    say(f"{point.concurrency} at a time: {point.throughput:.1f} tokens/s{kept}{doubt}")


def _progress() -> Callable[[int, int], None]:
    """Says how far it is: every second to a terminal, every ten to anything else."""
    every_s = 1.0 if sys.stderr is not None and sys.stderr.isatty() else 10.0
    last = time.monotonic()

    def told(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every_s:
            last = now
            say(f"{done}/{total} requests")

    return told
