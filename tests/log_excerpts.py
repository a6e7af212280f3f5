"""Excerpts of real logs, one for each rule that reads them; the simulated servers print them."""

from pathlib import Path

from gdl import simulator

LOGS = Path(simulator.__file__).parent / "logs"
