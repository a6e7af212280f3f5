"""A defect of ours, told and kept."""

from __future__ import annotations

import os
from pathlib import Path

from gdl.cli import exit_codes
from gdl.cli.output import say


def written(error: Exception, data_dir: Path | None) -> int:
    """One line for the user, the rest in a file; the exit code. data_dir: None while the settings
    are not read."""
    import time
    import traceback

    from gdl.presentation.lines import plain

    what = f"{type(error).__name__}: {plain(str(error), 300)}"
    try:
        folder = (data_dir or _data_dir()) / "logs"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write("".join(traceback.format_exception(error)))
        say(f"internal error: {what} (details in {path})")
    except OSError as problem:
        say(f"internal error: {what} (no details: {problem.strerror})")
    return exit_codes.INTERNAL


def _data_dir() -> Path:
    """Where the settings would keep data; for the case that they could not be read."""
    if named := os.environ.get("GDL_DATA_DIR"):
        return Path(named)
    import platformdirs

    return platformdirs.user_data_path("gdl-tui")
