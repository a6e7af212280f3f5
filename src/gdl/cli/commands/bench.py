"""`gdl-tui bench`: how fast a session, or any OpenAI endpoint, answers."""

from __future__ import annotations

import sys
from typing import Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.bench_options import (
    BenchOptions,
    EndpointOptions,
    LimitOptions,
    PromptOptions,
    ResultOptions,
    TrafficOptions,
)
from gdl.cli.options import JsonOption, MachineTarget
from gdl.cli.runtime import Cli, Session, execute


def bench(
    cli: Cli,
    endpoint: EndpointOptions,
    traffic: TrafficOptions,
    prompts: PromptOptions,
    limits: LimitOptions,
    results: ResultOptions,
    target: MachineTarget,
    ident: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="Session or deployment id, or its beginning; or use --url.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> NoReturn:
    """Benchmark a session, or any OpenAI endpoint with --url.

    With ID alone, the session is asked the quality prompts and a few longer ones. With options for
    the load, or with --url, the load generator measures it.
    """
    if (ident is None) == (endpoint.url is None):
        raise typer.BadParameter("name a session, or an endpoint with --url (one of them)")
    if sum((traffic.concurrency is not None, traffic.rate is not None, traffic.sweep)) > 1:
        raise typer.BadParameter("--concurrency, --rate and --sweep exclude each other")
    if ident is not None and (endpoint.cacert is not None or endpoint.insecure):
        raise typer.BadParameter("--cacert and --insecure are for --url: a session has a tunnel")
    if endpoint.cacert is not None and endpoint.insecure:
        raise typer.BadParameter("--cacert and --insecure exclude each other")
    if results.publish and ident is None:
        raise typer.BadParameter("--publish is for sessions: name one")
    wanted = BenchOptions(ident or "", endpoint, traffic, prompts, limits, results)
    if not wanted.names_a_load:
        _own_workload(cli, target, wanted.ident, results.publish, as_json)
    from gdl.cli import load_benchmark

    load_benchmark.run(cli, target, wanted, as_json)


def _own_workload(
    cli: Cli, target: MachineTarget, ident: str, publish: bool, as_json: bool
) -> NoReturn:
    """The benchmark of every deployment again; exit 6 when no request of it succeeded."""

    async def body(session: Session) -> int:
        from gdl.cli import publication
        from gdl.cli.output import columns_of
        from gdl.cli.progress import with_progress
        from gdl.cli.tables import benchmark_figures
        from gdl.domain.benchmark import OWN
        from gdl.presentation.lines import plain

        publication.check(session, publish)
        report = await with_progress(
            session.orchestrator.benchmarks.bench(ident), f"benchmarking {plain(ident, 80)}"
        )
        if as_json:
            session.output.json(report)
        else:
            session.output.lines(benchmark_figures(report, columns_of(sys.stdout)))
        if publish and report.completed:
            await publication.publish(session, ident, report, OWN)
        return exit_codes.OK if report.completed else exit_codes.VERIFICATION_FAILED

    execute(cli, body, target=target, as_json=as_json, rented=True, changes="benchmarked")
