"""The load generator behind `gdl-tui bench`: from options to files, a table and an exit code."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.loops import run_fast
from gdl.cli.output import Output, say
from gdl.cli.publishing import publish, refuse_to_publish
from gdl.cli.render import table
from gdl.cli.runtime import Cli, Session, Target, execute, guarded
from gdl.cli.signals import handled
from gdl.domain.benchmark import BenchReport
from gdl.domain.errors import Cancelled, UsageError
from gdl.domain.secret import Secret
from gdl.endpoint.protocol import CHAT, COMPLETIONS
from gdl.loadgen import charts, result_files
from gdl.loadgen.bench_session import Bench, LoadOptions, connected
from gdl.loadgen.load import LoadShape, Outcome
from gdl.loadgen.metrics import Slo
from gdl.loadgen.report import report
from gdl.loadgen.request_template import RequestTemplate
from gdl.loadgen.result_files import Context
from gdl.loadgen.schedule import Arrivals
from gdl.loadgen.sweep import Point, Swept
from gdl.loadgen.transport import Limits, shown
from gdl.loadgen.workload import BUILTIN, RANDOM, Length, Workload
from gdl.presentation.lines import plain


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What was asked for on the command line; see the options of `measuring.bench`."""

    url: str | None
    ident: str | None
    api_key_env: str | None
    model: str
    concurrency: int
    rate: str | None
    burstiness: float
    sweep: bool
    most: int
    slo: str | None
    requests: int
    warmup: int
    dataset: str
    input_len: str | None
    output_len: str | None
    turns: int
    prefix: int
    prefixes: int
    ignore_eos: bool
    completions: bool
    seed: int
    timeout_s: float
    limit_s: float
    price: float | None
    save_result: Path | None
    csv_file: Path | None
    markdown_file: Path | None
    publish: bool
    as_json: bool


@dataclass(frozen=True, slots=True)
class _Job:
    """The same, understood. Making it raises UsageError."""

    options: LoadOptions
    shape: LoadShape
    request_template: RequestTemplate
    limits: Limits


def bench(cli: Cli, target: Target, order: BenchOptions) -> NoReturn:
    """Measure; exit 6 when no request succeeded."""
    if order.ident is not None:

        async def body(session: Session) -> int:
            refuse_to_publish(session, order.publish)
            job = _understood(order)
            async with session.orchestrator.endpoints.reach(order.ident or "") as reached:
                context = _context(
                    order, reached.url, reached.price, reached.provider, reached.hardware
                )
                code, outcomes, best = await _measure(
                    order, job, reached.url, reached.key, reached.model, context, session.output
                )
            reports = [_report(outcome, context) for outcome in outcomes]
            standing = await session.orchestrator.benchmarks.keep(
                order.ident or "",
                reports,
                _workload(order),
                None if best is None else reports[best],
            )
            if standing:
                say(plain(standing, 300))
            if order.publish and code == exit_codes.OK:
                chosen = reports[best or 0]
                await publish(session, order.ident or "", chosen, _workload(order))
            return code

        execute(cli, body, target=target, as_json=order.as_json, changes="benchmarked", fast=True)
    output = Output(order.as_json)
    raise typer.Exit(guarded(cli, lambda: run_fast(_at_url(cli, order, output)), output))


async def _at_url(cli: Cli, order: BenchOptions, output: Output) -> int:
    if cli.read_only:
        raise UsageError("read-only: nothing is benchmarked", "leave --read-only out")
    job, key, url = _understood(order), _key(order.api_key_env), order.url or ""
    task = asyncio.current_task()
    assert task is not None
    try:
        with handled(lambda _signal: task.cancel()):
            context = _context(order, url, None, "")
            return (await _measure(order, job, url, key, order.model, context, output))[0]
    except asyncio.CancelledError:
        task.uncancel()
        raise Cancelled("interrupted", "run it again when you are ready") from None


def _context(
    order: BenchOptions, url: str, price: float | None, provider: str, gpu: str = ""
) -> Context:
    return Context(
        at=datetime.now(UTC),
        url=shown(url),
        dataset=order.dataset,
        price_per_hour=price if order.price is None else order.price,
        gpu=gpu,
        provider=provider,
    )


def _key(name: str | None) -> Secret:
    if name is None:
        return Secret("")
    value = os.environ.get(name, "").strip()
    if not value:
        raise UsageError(f"the environment variable {name} is not set", "export it, with the key")
    if not value.isprintable() or not value.isascii():
        raise UsageError(
            f"what {name} holds cannot be a key", "letters, digits and signs on a line"
        )
    return Secret(value)


def _allow_many_connections() -> None:
    """Up to what the system allows; the usual limit of open files is 1024."""
    try:
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (ImportError, OSError, ValueError):
        pass  # then connecting says that there are too many


def _understood(order: BenchOptions) -> _Job:
    """Raises UsageError for what makes no sense, before anything is sent."""
    for path in (order.save_result, order.csv_file, order.markdown_file):
        if path is not None and not path.parent.is_dir():
            raise UsageError(f"no folder {path.parent}", "make it first, or name another file")
    arrivals = None if order.rate is None else Arrivals.parse(order.rate, order.burstiness)
    workload = Workload(
        dataset=order.dataset,
        input_len=None if order.input_len is None else Length.parse(order.input_len),
        output_len=None if order.output_len is None else Length.parse(order.output_len),
        turns=order.turns,
        prefix=order.prefix,
        prefixes=order.prefixes,
        seed=order.seed,
    )
    if order.input_len is not None and order.dataset == BUILTIN:
        raise UsageError("the built-in prompts have their own length", f"use --dataset {RANDOM}")
    workload.conversations(1)
    slo = None if order.slo is None else Slo.parse(order.slo)
    mode = COMPLETIONS if order.completions else CHAT
    return _Job(
        options=LoadOptions(workload, order.requests, order.warmup, slo, order.limit_s),
        shape=LoadShape(order.concurrency) if arrivals is None else LoadShape(arrivals=arrivals),
        request_template=RequestTemplate(order.model, mode, order.ignore_eos),
        limits=Limits(request_s=order.timeout_s),
    )


async def _measure(
    order: BenchOptions,
    job: _Job,
    url: str,
    key: Secret,
    model: str,
    context: Context,
    output: Output,
) -> tuple[int, list[Outcome], int | None]:
    """(exit code, what was measured, the place of the best point of a sweep in it)."""
    request_template = RequestTemplate(
        model, job.request_template.mode, job.request_template.ignore_eos
    )
    _allow_many_connections()
    say(f"warming up {plain(shown(url), 200)} ...")
    async with connected(url, key, request_template, job.options, job.limits) as bench:
        if order.sweep:
            return await _sweep(order, bench, context, output)
        outcome = await bench.load(job.shape, _progress())
    _write(order, [outcome], context, result_files.vllm_json(outcome, context))
    if order.as_json:
        output.json(result_files.vllm_json(outcome, context, details=False))
    else:
        _print_rows(outcome, context, output)
    code = exit_codes.OK if outcome.figures.completed else exit_codes.VERIFICATION_FAILED
    return code, [outcome], None


def _report(outcome: Outcome, context: Context) -> BenchReport:
    return report(
        outcome.request_template.model,
        outcome.figures,
        price_per_hour=context.price_per_hour or 0.0,
        concurrency=outcome.shape.concurrency or 0,
        note=outcome.strain.limited or outcome.note,
    )


def _workload(order: BenchOptions) -> str:
    """What was asked, so that only the like is compared with it."""
    words = [Path(order.dataset).name]
    lengths = (("in", order.input_len), ("out", order.output_len))
    words += [f"{name} {length}" for name, length in lengths if length is not None]
    if order.turns > 1:
        words.append(f"{order.turns} turns")
    if order.prefix:
        words.append(f"prefix {order.prefix}")
    if order.rate is not None:
        words.append(f"{order.rate}/s")
    return ", ".join(words)


def _print_rows(outcome: Outcome, context: Context, output: Output) -> None:
    rows = result_files.rows(outcome, context)
    wide = max(len(name) for name, _ in rows)
    for name, text in rows:
        output.line(f"{name:<{wide}}  {plain(text, 300)}")
    for line in charts.distributions(outcome):
        output.line(line)


async def _sweep(
    order: BenchOptions, bench: Bench, context: Context, output: Output
) -> tuple[int, list[Outcome], int | None]:
    swept = await bench.sweep(order.most, _say_point)
    outcomes = [point.middle for point in swept.points]
    _write(order, outcomes, context, _swept_json(swept, context, details=True))
    if order.as_json:
        output.json(_swept_json(swept, context, details=False))
    else:
        heads, lines = result_files.sweep_table(outcomes, context)
        for line in table(tuple(f">{head}" for head in heads), lines):
            output.line(line)
        output.line("")
        for line in charts.throughputs(outcomes):
            output.line(line)
        output.line(f"ended: {plain(swept.ended, 300)}")
        if swept.best is not None:
            best = swept.best
            sure = "sure" if swept.sure else f"not sure: {plain(swept.doubt, 300)}"
            output.line(
                f"best: {best.concurrency} at a time, {best.throughput:.1f} output tokens per "
                f"second (windows differ by {best.spread:.1%}; {sure})"
            )
            _print_rows(best.middle, context, output)
    if swept.best is None:
        return exit_codes.VERIFICATION_FAILED, outcomes, None
    return exit_codes.OK, outcomes, swept.points.index(swept.best)


def _say_point(point: Point) -> None:
    kept = "" if point.kept is None else f", {point.kept:.0%} kept the limits"
    say(f"{point.concurrency} at a time: {point.throughput:.1f} tokens/s{kept}")


def _swept_json(swept: Swept, context: Context, *, details: bool) -> dict[str, Any]:
    return {
        "best_concurrency": swept.best.concurrency if swept.best else None,
        "sure": swept.sure,
        "doubt": swept.doubt or None,
        "ended": swept.ended,
        "points": [
            {
                "concurrency": point.concurrency,
                "output_throughput": point.throughput,
                "spread": point.spread,
                "kept_limits": point.kept,
                "result": result_files.vllm_json(point.middle, context, details=details),
            }
            for point in swept.points
        ],
    }


def _write(order: BenchOptions, outcomes: Sequence[Outcome], context: Context, whole: Any) -> None:
    """The files that were asked for. Raises UsageError when one cannot be written."""
    import json

    texts: tuple[tuple[Path | None, Callable[[], str]], ...] = (
        (order.save_result, lambda: json.dumps(whole)),
        (order.csv_file, lambda: result_files.csv_text(outcomes, context)),
        (order.markdown_file, lambda: result_files.markdown(outcomes, context)),
    )
    for path, text in texts:
        if path is None:
            continue
        try:
            path.write_text(text(), encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"cannot write {path}: {error.strerror}", "name another file"
            ) from None


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
