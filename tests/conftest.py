"""For all tests: byte code may be written. They start Python by the dozen, and where the
environment forbids it, each process would compile everything anew."""

from __future__ import annotations

import os
import sys

sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
