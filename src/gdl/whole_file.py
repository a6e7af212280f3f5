"""Files that are there whole or not at all, whatever reads them or ends us meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, text: str, *, mode: int = 0o600, sync: bool = False) -> None:
    """Replace what is in a file, whose folder is there, by a text, in UTF-8 and with its line ends.

    mode: of the file, whatever the umask. sync: be sure that the text survives a crash of the
    computer. Blocking. Raises OSError, and UnicodeError for a text that UTF-8 does not have; the
    file is then as it was, and nothing is beside it.
    """
    import tempfile  # Imported late, as it brings a hundred modules.

    number, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    made = Path(name)
    try:
        with os.fdopen(number, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            if sync:
                os.fsync(file.fileno())
        made.replace(path)
    except BaseException:
        made.unlink(missing_ok=True)
        raise
