"""Tables that come with the program, as TOML beside the modules that use them.

Python takes 20 ms for the catalogue's TOML, and a tenth of a millisecond a kilobyte for any other.
What was read is therefore kept as JSON in the cache folder, under the digest of the TOML itself,
and read from there the next time. Without a folder that can be written all works, only slower.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import platformdirs

from gdl.whole_file import write_whole


def table(module: str, name: str) -> dict[str, Any]:
    """What the TOML file of that name says; it lies beside the module, whose `__file__` is given.
    Dates are text, as in "2026-11-28"."""
    source = Path(module).with_name(name)
    text = source.read_bytes()
    kept = _folder() / f"{source.stem}-{hashlib.sha256(text).hexdigest()[:32]}.json"
    try:
        told: dict[str, Any] = json.loads(kept.read_bytes())
    except (OSError, ValueError):
        import tomllib

        plain = json.dumps(tomllib.loads(text.decode()), default=str)
        told = json.loads(plain)
        with contextlib.suppress(OSError):
            _keep(kept, plain)
    return told


def _folder() -> Path:
    return platformdirs.user_cache_path("gdl-tui") / "tables"


def _keep(path: Path, text: str) -> None:
    """Put in place whole, as other processes may read it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_whole(path, text)
