"""A program of the tests: gdl-tui with seconds for the minutes and hours of a real deployment.
Nothing of this is in the product."""

from __future__ import annotations

from gdl.__main__ import main
from gdl.orchestrator.leasing import spending
from gdl.orchestrator.machine import guard as program

if __name__ == "__main__":
    spending.LEAST_MINUTES = 0.01  # type: ignore[assignment]  # a part of a minute will do
    program.TICK_S = 1
    program.LOOK_EVERY_S = 0.5
    main()
