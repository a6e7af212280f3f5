"""For all tests: byte code may be written. They start Python by the dozen, and where the
environment forbids it, each process would compile everything anew."""

from __future__ import annotations

import compileall
import os
import sys
from pathlib import Path

import pytest

sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the program once, before every worker would do so for itself."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(Path(__file__).parent.parent / "src", quiet=2)
