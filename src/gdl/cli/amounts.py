"""What amounts of money and time an option may have."""

from __future__ import annotations

import math

import typer


def finite(value: float | None) -> float | None:
    """A limit that limits: no infinity passes for one."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a valid amount")
    return value


def check_bid(interruptible: bool, bid: float | None) -> None:
    """Raises BadParameter for a bid on machines on demand."""
    if bid is not None and not interruptible:
        raise typer.BadParameter("--bid is for --interruptible machines")
