"""What the simulated vLLM server knows of the machine that it runs on.

Standard library only: it runs on the simulated machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

_SHORTEST_S = 0.002
"""A shorter pause is none."""


class Host:
    """facts: as in `machine.json` of the machine's folder. root: that folder, where marks are left
    for whoever watches; None: nobody does."""

    def __init__(self, facts: dict[str, Any], root: Path | None = None) -> None:
        self.facts = facts
        self._root = root

    @classmethod
    def read(cls, root: Path) -> Host:
        return cls(json.loads((root / "machine.json").read_text()), root)

    def seconds(self, name: str) -> float:
        """How long a step takes here."""
        return float(self.facts["times"][name])

    def pause(self, name: str, share: float = 1.0) -> None:
        seconds = self.seconds(name) * share
        if seconds > _SHORTEST_S:
            time.sleep(seconds)

    def mark(self, name: str, text: str = "") -> None:
        if self._root is not None:
            (self._root / "marks" / name).write_text(text)

    def forget(self, name: str) -> None:
        if self._root is not None:
            (self._root / "marks" / name).unlink(missing_ok=True)

    def failed_once(self) -> None:
        """One more start has gone wrong."""
        self.mark("failures", f"{self._failures() + 1}\n")

    def _failures(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            if self._root is not None:
                return int((self._root / "marks" / "failures").read_text())
        return 0

    def fault(self) -> dict[str, Any]:
        """The fault of this start: {} when there is none, or when something cured it."""
        fault: dict[str, Any] = self.facts["server"] or {}
        if fault.get("times") and self._failures() >= fault["times"]:
            return {}
        cure = fault.get("cured_by")
        if not cure:
            return fault
        known = [" ".join(sys.argv), *(f"{name}={value}" for name, value in os.environ.items())]
        if self._root is not None:
            with contextlib.suppress(OSError):
                known.append((self._root / "history").read_text())
        return {} if any(re.search(cure, text) for text in known) else fault

    def owner_lives(self) -> bool:
        """Whether the process that simulates the machine is still there, and not another of its
        pid."""
        owner = self.facts["owner"]
        try:
            fields = Path(f"/proc/{owner}/stat").read_text().rpartition(")")[2].split()
            return fields[0] not in "ZX" and int(fields[19]) == self.facts["owner_born"]
        except (OSError, IndexError, ValueError):
            pass
        if sys.platform == "linux":
            return False
        try:
            os.kill(owner, 0)
        except OSError:
            return False
        return True
