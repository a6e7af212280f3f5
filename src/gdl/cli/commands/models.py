"""`gdl-tui models`: the models to choose from, and what one of them takes."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from gdl.cli import exit_codes
from gdl.cli.completions import model_names
from gdl.cli.option_groups import command
from gdl.cli.options import (
    ConcurrencyOption,
    ContextOption,
    EngineOption,
    JsonOption,
    QuantizationOption,
    Target,
    engine_flags,
)
from gdl.cli.output import Output, columns_of, say
from gdl.cli.runtime import Cli, guarded, load_settings
from gdl.domain.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from gdl.orchestrator.api.model_views import ModelRow
    from gdl.orchestrator.leasing.model_index import ModelIndex


class _WordsOrCommand(TyperGroup):
    """`models WORDS` is short for `models search WORDS`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = next((each for each in args if not each.startswith("-")), "")
        asks_for_help = any(each in ("-h", "--help") for each in args)
        if first not in self.commands and not (asks_for_help and not first):
            args = ["search", *args]
        return super().parse_args(ctx, args)


def build() -> typer.Typer:
    """The command with its subcommands."""
    app = typer.Typer(
        name="models",
        cls=_WordsOrCommand,
        help="List models and what each needs: `models WORDS` searches the program's list and "
        "the hub, `models show ID` shows everything about one.",
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.command("search")(command(search))
    app.command("show")(command(show))
    return app


def search(
    cli: Cli,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WORDS]...", show_default=False)
    ] = None,
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> NoReturn:
    """List models: the program's own and, with WORDS, also what the hub finds."""

    async def body(index: ModelIndex, output: Output) -> int:
        rows = await _found(index, " ".join(words or ()))
        if not rows:
            say(_nothing(index, " ".join(words or ())))
        if as_json:
            for row in rows:
                output.json(asdict(row))
            return exit_codes.OK
        if rows:
            output.table(_HEADINGS, [_cells(row) for row in rows], _SPARE)
        say("any other hub id (owner/name) or path on the machine works as well")
        return exit_codes.OK

    _execute(cli, body, engine, as_json=as_json)


async def _found(index: ModelIndex, words: str) -> list[ModelRow]:
    """The program's own first; the hub's with what fits where it answers in time."""
    import asyncio
    from contextlib import aclosing, suppress

    from gdl.domain.errors import HubAway
    from gdl.presentation.lines import plain

    rows = {row.location: row for row in index.listed(words)}
    if not words:
        return list(rows.values())
    until = asyncio.get_running_loop().time() + index.hub_limit_s
    try:
        found = await index.search(words)
    except HubAway as away:
        say(f"{plain(away.message, 200)}: these are from the program's own list")
        return list(rows.values())
    rows |= {row.location: row for row in found}
    with suppress(TimeoutError):
        async with asyncio.timeout_at(until), aclosing(index.answered(found)) as answers:
            async for row in answers:
                rows[row.location] = row
    return list(rows.values())


def _nothing(index: ModelIndex, words: str) -> str:
    from gdl.presentation.lines import plain

    close = index.suggestions(words)
    meant = f": did you mean {' or '.join(close)}?" if close else ""
    return f"nothing matches {plain(words, 60)}{meant}"


_HEADINGS = (
    "MODEL", ">PARAMETERS", ">SIZE", ">VRAM", ">DOWNLOADS", "LICENCE", "TOKEN", "ON 24 GB",
    "HUB ID",
)  # fmt: skip
_SPARE = ("DOWNLOADS", "LICENCE", "PARAMETERS", "HUB ID", "SIZE")


def _cells(row: ModelRow) -> tuple[str, ...]:
    from gdl.presentation.hardware import gigabytes
    from gdl.presentation.words import short_count

    return (
        row.alias,
        "" if row.parameters_b is None else f"{row.parameters_b:.2f} B",
        "" if row.size_gb is None else gigabytes(row.size_gb),
        "" if row.vram_gb is None else gigabytes(row.vram_gb),
        "" if row.downloads is None else short_count(row.downloads),
        row.license,
        "needed" if row.gated else "",
        row.fits or "not known",
        row.location,
    )


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """The load that a model is to be sized for."""

    context: ContextOption = None
    concurrency: ConcurrencyOption = None
    gpu: Annotated[
        str | None,
        typer.Option(
            "--gpu",
            metavar="NAME",
            help='A GPU such as H100 or "RTX 4090", or its memory, such as 24GB. Default: the '
            "figures are for an H100, and all common GPUs are listed.",
            show_default=False,
        ),
    ] = None
    tp: Annotated[
        int,
        typer.Option(
            "--tp", metavar="N", min=1, max=64, help="Number of GPUs that it is split over."
        ),
    ] = 1
    kv_cache_dtype: Annotated[
        str,
        typer.Option(
            "--kv-cache-dtype", metavar="T", help="Data type of the KV cache, such as fp8."
        ),
    ] = "auto"
    quantization: QuantizationOption = None


def show(
    cli: Cli,
    model: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="An alias, a hub id, or the address of its page.",
            show_default=False,
            autocompletion=model_names,
        ),
    ],
    load: LoadOptions,
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> NoReturn:
    """Show what a model is, what memory it needs for a load, and which GPUs it fits on."""

    async def body(index: ModelIndex, output: Output) -> int:
        from gdl.orchestrator.leasing.model_details import gpu_for, load_for

        asked = load_for(
            context=load.context,
            sequences=load.concurrency,
            gpus=load.tp,
            kv_dtype=load.kv_cache_dtype,
            quantization=load.quantization or "",
        )
        gpu = None if load.gpu is None else gpu_for(load.gpu)
        found = await index.find(model)
        told = index.details(found, asked, gpu)
        if as_json:
            output.json(asdict(told))
        else:
            from gdl.cli.model_page import page

            output.lines(page(told, asked, gpu, columns_of(sys.stdout)))
        for note in index.notes(found):
            say(f"note: {note}")
        return exit_codes.OK

    _execute(cli, body, engine, as_json=as_json)


def _execute(
    cli: Cli,
    body: Callable[[ModelIndex, Output], Awaitable[int]],
    engine: str | None,
    *,
    as_json: bool,
) -> NoReturn:
    """Run without an orchestrator: no market and no journal is needed, and none is waited for."""
    output = Output(as_json)

    async def main() -> int:
        from gdl.orchestrator.leasing.model_index import opened

        settings = load_settings(cli, Target(), engine_flags(engine), market=False)
        async with opened(settings) as index:
            return await body(index, output)

    def work() -> int:
        import asyncio

        return asyncio.run(main())

    raise typer.Exit(guarded(cli, work, output))
