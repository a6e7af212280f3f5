"""Puts the commit that a wheel or a source distribution is built from into it.

`gdl-tui --version` tells it. Without git, as when a wheel is built from a source distribution, what
that one brought is kept.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "commit.txt"


class CommitHook(BuildHookInterface):  # type: ignore[misc, unused-ignore]
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """version: "standard", or "editable", which asks the checkout each time."""
        commit = _commit(Path(self.root))
        if version == "editable" or commit is None:
            return
        with tempfile.NamedTemporaryFile("w", suffix=NAME, delete=False) as file:
            file.write(f"{commit}\n")
        self._written = Path(file.name)
        self._written.chmod(0o644)
        inside = "gdl" if self.target_name == "wheel" else "src/gdl"
        build_data["force_include"][str(self._written)] = f"{inside}/{NAME}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if (written := getattr(self, "_written", None)) is not None:
            written.unlink()


def _commit(root: Path) -> str | None:
    """Abbreviated, with a plus where files differ from it; None outside of a repository of ours."""
    if not (root / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (["rev-parse", "--short=9", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+" if changes else "")
