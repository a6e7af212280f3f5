"""`gdl-tui benchmarks`: what was measured so far, cheapest tokens first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.options import JsonOption, Target
from gdl.cli.output import say
from gdl.cli.runtime import Cli, Session, execute

if TYPE_CHECKING:
    from gdl.domain.benchmark import Measurement, Percentiles

_HEADINGS = (
    "MODEL", "GPU", "PROVIDER", ">PRICE", ">AT A TIME", ">TOKENS/S", ">TTFT", ">TPOT",
    ">$/1M", ">TOKENS/$", "WORKLOAD", "WHEN",
)  # fmt: skip
_SPARE = ("TOKENS/$", "WORKLOAD", "WHEN", "PROVIDER", "PRICE", "TPOT")


def benchmarks(
    cli: Cli,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="M", help="Only this model, by its served name."),
    ] = None,
    gpu: Annotated[
        str | None, typer.Option("--gpu", metavar="G", help="Only GPUs with this in their name.")
    ] = None,
    as_json: JsonOption = False,
) -> NoReturn:
    """Compare all measurements so far, by model, GPU, provider and price."""

    async def body(session: Session) -> int:
        from gdl.domain.benchmark import ranked
        from gdl.presentation.lines import plain

        found = await session.orchestrator.benchmarks.kept(model, gpu)
        if as_json:
            for one in found:
                session.output.json(_plain(one))
            return exit_codes.OK
        # Machines that cost something by what a million tokens cost, the others by throughput.
        if found:
            session.output.table(_HEADINGS, [_cells(one) for one in ranked(found)], _SPARE)
            if marked := next((one.report.note for one in found if one.report.note), ""):
                say(f"~ the figures may be wrong: {plain(marked, 200)}")
        elif model is not None or gpu is not None:
            say("nothing of that model or GPU has been measured: `gdl-tui benchmarks` lists all")
        else:
            say(
                "nothing has been measured yet: every deployment ends with a benchmark, and "
                "`bench` runs more"
            )
        return exit_codes.OK

    execute(cli, body, target=Target(), as_json=as_json)


def _cells(one: Measurement) -> tuple[str, ...]:
    from gdl.domain.money import dollars, hourly
    from gdl.presentation.lines import plain
    from gdl.presentation.words import workload_words

    cost, per_dollar = one.report.cost_per_million, one.tokens_per_dollar
    return (
        plain(one.model, 40),
        plain(one.hardware, 30),
        plain(one.provider, 20) + (", simulated" if one.simulated else ""),
        hourly(one.price),
        f"{one.report.concurrency or 'by rate'}{'*' if one.best else ''}"
        f"{'~' if one.report.note else ''}",
        f"{one.report.output_throughput:.1f}",
        _median(one.report.ttft_ms),
        _median(one.report.tpot_ms),
        "" if cost is None else dollars(cost),
        "" if per_dollar is None else f"{per_dollar:.0f}",
        workload_words(one.workload),
        one.at.astimezone().strftime("%Y-%m-%d %H:%M"),
    )


def _median(values: Percentiles | None) -> str:
    return "" if values is None else f"{values.median:.1f} ms"


def _plain(one: Measurement) -> dict[str, object]:
    from gdl.domain.serialization import to_plain

    return {
        **to_plain(one),
        "hardware": one.hardware,
        "tokens_per_dollar": one.tokens_per_dollar,
    }
