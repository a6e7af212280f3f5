"""A dataclass of options in a command's signature."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from gdl.cli.option_groups import command, may_be_empty

seen: list[object] = []


@dataclass(frozen=True)
class Size:
    wide: Annotated[int, typer.Option("--wide", max=9, help="Its width.")] = 3
    tags: Annotated[list[str] | None, typer.Option("--tag")] = None
    unit: str = "cm"


def show(
    name: Annotated[str, typer.Argument()],
    size: Size,
    quiet: bool = False,
    note: Annotated[str, typer.Option("--note", callback=may_be_empty)] = "",
) -> None:
    """Show one."""
    seen.append((name, size, quiet))


app = typer.Typer(rich_markup_mode=None)
app.command()(command(show))


def called(*arguments: str) -> object:
    seen.clear()
    result = CliRunner().invoke(app, arguments)
    return seen[0] if seen else result.exit_code


def test_the_group_is_filled_from_its_options_and_its_other_fields_keep_their_default() -> None:
    assert called("it") == ("it", Size(), False)
    given = called("it", "--wide", "5", "--tag", "a", "--tag", "b", "--quiet")
    assert given == ("it", Size(5, ["a", "b"]), True)


def test_text_is_empty_only_where_that_means_something() -> None:
    assert called("") == called(" ") == called("it", "--tag", "a", "--tag", "") == 2
    assert called("it", "--note", "") == ("it", Size(), False)


def test_wrong_usage_and_help_are_those_of_the_options() -> None:
    assert called("it", "--wide", "10") == 2
    assert called("it", "--unit", "m") == 2
    text = CliRunner().invoke(app, ["--help"]).output
    assert "Show one." in text and "Its width." in text and "unit" not in text
