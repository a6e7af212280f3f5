"""Key files: written 0600 from the first byte, synced, and never overwritten."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from gdl.domain.errors import GdlError
from gdl.domain.secret import Secret


def write_key(path: Path, secret: Secret) -> Path:
    """Put a secret on disk and make sure that it survives a crash. Blocking; takes about a
    millisecond. Raises GdlError when the disk does not take it."""
    text = secret.reveal()
    made = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        made = True
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text if text.endswith("\n") else text + "\n")
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if made:
            # Half a key would pass for a whole one later.
            with contextlib.suppress(OSError):
                path.unlink()
        raise GdlError(
            f"cannot write the key file {path}: {error.strerror}",
            "check free space and permissions of the data folder",
        ) from None
    return path


def new_key() -> Secret:
    """A key for an endpoint."""
    return Secret(f"gdl-{secrets.token_urlsafe(24)}")


def read_key(path: Path) -> Secret:
    """Raises GdlError when the file is not there or not readable."""
    try:
        return Secret(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise GdlError(
            f"cannot read the key file {path}: {error}",
            "the machine can still be destroyed, but not connected to",
        ) from None
