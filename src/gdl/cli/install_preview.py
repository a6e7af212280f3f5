"""`doctor --plan`: what would be installed on a machine, without one."""

from __future__ import annotations

from typing import Any, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.options import engine_flags
from gdl.cli.output import Output
from gdl.cli.runtime import Cli, guarded, load_settings
from gdl.domain.errors import DeployError, GdlError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.serialization import to_plain
from gdl.engines import registry
from gdl.engines.base import Preview
from gdl.engines.checks import check_runtime
from gdl.presentation.lines import plain


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """A driver and a GPU's compute capability ("": any), and what of the settings is different."""

    driver: str
    gpu: str
    engine: str | None = None
    version: str | None = None
    runtime: str | None = None


def show(cli: Cli, wanted: PlanOptions, as_json: bool) -> NoReturn:
    """Print the plan. Raises DeployError when there is none, after printing it as JSON."""
    output = Output(as_json)

    def work() -> int:
        install = {"version": wanted.version, "runtime": wanted.runtime}
        given = {name: value for name, value in install.items() if value is not None}
        flags: dict[str, Any] = {"install": given} if given else {}
        settings = load_settings(cli, flags={**flags, **engine_flags(wanted.engine)})
        engine = registry.get(settings.engine.name)
        check_runtime(engine.info, settings)
        told = engine.preview(wanted.driver, wanted.gpu, settings)
        if as_json:
            output.json(_plain(told))
        elif not told.refusal:
            output.lines(_lines(told, engine.info.display_name))
        if told.refusal:
            raise DeployError(told.refusal, told.hint)
        return exit_codes.OK

    def told_already(error: GdlError, output: Output) -> None:
        if not isinstance(error, DeployError):
            output.error(error.kind, error.message, error.hint)

    raise typer.Exit(guarded(cli, work, output, told_already))


def _plain(told: Preview) -> dict[str, Any]:
    """One flat JSON object: what every plan has, and the parts of this engine's by their keys."""
    plain: dict[str, Any] = to_plain(told)
    parts = {part["key"]: part["value"] for part in plain.pop("parts")}
    return {**parts, **plain}


def _lines(told: Preview, engine: str) -> list[str]:
    rows = [
        ("driver", told.driver),
        ("GPU", told.gpu or f"any that {engine} runs on"),
        *((part.label, part.shown) for part in told.parts if part.label),
    ]
    lines = [f"{name:<7} {plain(text, 300)}" for name, text in rows if text]
    ways = [f"{number}. {plain(way, 300)}" for number, way in enumerate(told.ways, 1)]
    heads = ["ways", *[""] * len(ways)]
    return lines + [f"{head:<7} {way}" for head, way in zip(heads, ways, strict=False)]
