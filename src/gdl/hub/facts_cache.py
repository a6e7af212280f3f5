"""The hub's last answers, kept in the data folder: one JSON file for each model.

Needs neither the network nor its libraries, so that what is kept is told at once. Files are put in
place whole, so that any number of processes may read and write them; one that cannot be read counts
as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from gdl.domain.model_facts import ModelFacts
from gdl.hub.kept_facts import FORMAT, restored
from gdl.whole_file import write_whole

_LONGEST = 32 * 1024 * 1024
_UNSAFE = re.compile(r"[^a-z0-9._-]+")


class FactsCache:
    """folder: of all hubs; each has its own inside, as a mirror may tell other things."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self._folder = folder / _safe(f"{parts.netloc.rpartition('@')[2]}{parts.path}")
        self._read: dict[Path, tuple[tuple[int, int], ModelFacts]] = {}

    def path(self, ident: str, quantization: str = "") -> Path:
        """The file of a model, and of one of its GGUF quantizations."""
        name = ident.casefold() + (f":{quantization.casefold()}" if quantization else "")
        return self._folder / f"{_safe(name)}.json"

    def get(self, ident: str, quantization: str = "") -> ModelFacts | None:
        """The last answer, its source CACHED; None when there is none that can be read. The same
        object again for as long as the file is the same."""
        path = self.path(ident, quantization)
        try:
            stat = path.stat()
            seen = self._read.get(path)
            if seen is not None and seen[0] == (stat.st_ino, stat.st_mtime_ns):
                return seen[1]
            if stat.st_size > _LONGEST:
                return None
            facts = restored(json.loads(path.read_bytes()))
            self._read[path] = (stat.st_ino, stat.st_mtime_ns), facts
            return facts
        except (OSError, ValueError, RecursionError):
            return None

    def put(self, facts: ModelFacts, quantization: str = "") -> None:
        """Keep an answer, under the id asked for as well as its own. A folder that cannot be
        written to is no error: the next one asks the hub again."""
        text = json.dumps({"format": FORMAT, "facts": asdict(facts)}, default=_plain)
        for ident in {facts.id, facts.asked or facts.id}:
            with contextlib.suppress(OSError):
                _write(self.path(ident, quantization), text)

    def drop(self, ident: str, quantization: str = "") -> None:
        """Forget a model that is gone."""
        with contextlib.suppress(OSError):
            self.path(ident, quantization).unlink()


def _safe(name: str) -> str:
    """A file name; no two names have the same one, also where case does not count."""
    plain = _UNSAFE.sub("--", name.casefold())[:100]
    return f"{plain}.{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Readable by its owner alone, as a private model's is among them.
    write_whole(path, text)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"cannot be kept: {type(value).__name__}")
