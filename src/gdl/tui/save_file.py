"""Puts what a screen shows into a file of the user's."""

from __future__ import annotations

import asyncio
import os
import re
from datetime import datetime
from pathlib import Path

import platformdirs

from gdl.domain.errors import GdlError


async def save_text(
    name: str, text: str, now: datetime, otherwise: Path, ending: str = ".log"
) -> Path:
    """The text as a new file of mode 0600 in the user's download folder, or in `otherwise` where
    there is none; its path. Never writes over a file. Raises GdlError when it cannot be written."""
    return await asyncio.to_thread(_save, name, text, now, otherwise, ending)


def _save(name: str, text: str, now: datetime, otherwise: Path, ending: str) -> Path:
    folder = platformdirs.user_downloads_path()
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        folder = otherwise
    stem = re.sub(r"[^\w.-]", "_", f"gdl-tui-{name}-{now:%Y%m%d-%H%M%S}")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number in range(1, 100):
            path = folder / f"{stem}{f'-{number}' if number > 1 else ''}{ending}"
            try:
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                continue
            with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
                file.write(text + "\n")
            return path
    except OSError as error:
        why = error.strerror or str(error)
    else:
        why = "a hundred files with that name already exist"
    raise GdlError(f"cannot save to {folder}: {why}", "free some space, or set GDL_DATA_DIR")
