"""A private key file of the user's."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from gdl.domain.errors import UsageError
from gdl.domain.text import one_line

_MAX_KEY_FILE = 64 * 1024


def check_identity(name: str) -> str:
    """The path of a private key file that OpenSSH would take. Raises UsageError if it is none."""
    path = Path(name).expanduser()
    shown = one_line(path, 200)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"identity {shown} is not a file", "name the private key file")
        with path.open("rb") as file:
            text = file.read(_MAX_KEY_FILE)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a path"
        raise UsageError(
            f"cannot read identity {shown}: {why}", "name a private key file that you can read"
        ) from None
    if re.match(rb"\s*(ssh-|ecdsa-|sk-|---- BEGIN SSH2 PUBLIC|-----BEGIN PUBLIC)", text):
        hint = "name the private key file"
        if path.suffix == ".pub":
            hint += f", probably {one_line(path.with_suffix(''), 200)}"
        raise UsageError(f"identity {shown} is a public key", hint)
    if b"PRIVATE KEY-----" not in text:
        raise UsageError(
            f"identity {shown} holds no private key", "name an OpenSSH or PEM private key file"
        )
    if status.st_mode & 0o077:
        raise UsageError(
            f"identity {shown} can be read by others (mode {status.st_mode & 0o777:04o})",
            f"chmod 600 {shown} - OpenSSH refuses such a key as well",
        )
    return str(path)
