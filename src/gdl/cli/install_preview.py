"""`doctor --plan`: what would be installed on a machine, without one."""

from __future__ import annotations

from typing import Any, NoReturn

import typer

from gdl.cli import exit_codes
from gdl.cli.output import Output
from gdl.cli.runtime import Cli, guarded, load_settings
from gdl.domain.errors import DeployError, GdlError
from gdl.engines.vllm.preview import Preview, preview
from gdl.presentation.lines import plain


def show(
    cli: Cli, driver: str, gpu: str, vllm: str | None, runtime: str | None, as_json: bool
) -> NoReturn:
    """Print the plan. Raises DeployError when there is none, after printing it as JSON."""
    output = Output(as_json)

    def work() -> int:
        install = {"vllm_version": vllm, "runtime": runtime}
        given = {name: value for name, value in install.items() if value is not None}
        flags: dict[str, Any] = {"install": given} if given else {}
        told = preview(driver, gpu, load_settings(cli, flags=flags))
        if as_json:
            output.json(told)
        elif not told.refusal:
            output.lines(_lines(told))
        if told.refusal:
            raise DeployError(told.refusal, told.hint)
        return exit_codes.OK

    def told_already(error: GdlError, output: Output) -> None:
        if not isinstance(error, DeployError):
            output.json(
                {"type": "error", "kind": error.kind, "message": error.message, "hint": error.hint}
            )

    raise typer.Exit(guarded(cli, work, output, told_already))


def _lines(told: Preview) -> list[str]:
    rows = [
        ("driver", told.driver),
        ("GPU", told.gpu or "any that vLLM runs on"),
        ("vLLM", f"{told.vllm} for CUDA {told.cuda}"),
        ("torch", told.torch),
        ("Python", told.python),
        ("limits", " ".join(told.constraints)),
        ("dtype", f"{told.dtype} (no bfloat16)" if told.dtype else ""),
    ]
    lines = [f"{name:<7} {plain(text, 300)}" for name, text in rows if text]
    ways = [f"{number}. {plain(way, 300)}" for number, way in enumerate(told.ways, 1)]
    heads = ["ways", *[""] * len(ways)]
    return lines + [f"{head:<7} {way}" for head, way in zip(heads, ways, strict=False)]
