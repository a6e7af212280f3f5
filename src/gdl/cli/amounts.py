"""What amounts of money and time an option may have, and what else is to be named with one."""

from __future__ import annotations

import math

import typer


def finite(value: float | None) -> float | None:
    """A limit that limits: no infinity passes for one."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a valid amount")
    return value


def check_load(model: str | None, **load: object) -> None:
    """Raises BadParameter for what is asked of a model that is not named. load: such options by
    their names, with values that mean nothing where they were not given."""
    given = next((name for name, value in load.items() if value), None)
    if given is not None and model is None:
        option = given.replace("_", "-")
        raise typer.BadParameter(f"--{option} is about a model: name it with --model")


def check_bid(interruptible: bool, bid: float | None) -> None:
    """Raises BadParameter for a bid on machines on demand."""
    if bid is not None and not interruptible:
        raise typer.BadParameter("--bid is for --interruptible machines")
