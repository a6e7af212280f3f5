"""What a defect of ours leaves behind for whoever looks into it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gdl.domain.errors import GdlError


async def internal_error(folder: Path, error: Exception, trace: str) -> GdlError:
    """As which it ends what it came up in. Its file is not there where the disk refuses it."""
    path = folder / "internal-error.txt"
    await asyncio.to_thread(_write, path, trace)
    return GdlError(f"internal error: {type(error).__name__}: {error}", f"details: {path}")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.write_text(text, encoding="utf-8")
    except OSError:
        return
