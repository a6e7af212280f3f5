"""Who rents: an id in the data folder, made once per installation; sessions are found by it."""

from __future__ import annotations

import contextlib
import os
import tempfile
import uuid
from pathlib import Path

from gdl.domain.errors import UsageError
from gdl.settings import Settings


def consumer_id_of(settings: Settings) -> str:
    """The consumer id in force: the setting, or one made once and kept in the data folder.

    Raises UsageError when that folder cannot be used.
    """
    if settings.consumer_id:
        return settings.consumer_id
    path = settings.data_dir / "consumer_id"
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        return _kept_id(path) or _made_id(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "consumer_id is not text"
        raise UsageError(
            f"the data folder {settings.data_dir} cannot be used: {reason}",
            "check its permissions and free space, or set GDL_DATA_DIR",
        ) from None


def _kept_id(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def _made_id(path: Path) -> str:
    """A new one, there as a whole or not at all: sessions are found again by it."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="utf-8") as file:
        file.write(f"gdl-tui-{uuid.uuid4().hex[:12]}\n")
        file.flush()
        os.fsync(file.fileno())
        if path.exists() and not _kept_id(path):
            path.unlink(missing_ok=True)
        with contextlib.suppress(FileExistsError):  # another process was quicker
            os.link(file.name, path)
    return _kept_id(path)
