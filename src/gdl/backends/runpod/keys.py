"""Where the API key of RunPod comes from."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gdl.domain.errors import UsageError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.secret import Secret
from gdl.settings import Settings

VARIABLE = "RUNPOD_API_KEY"
_CONFIG = Path(".runpod/config.toml")
"""In the home folder: a file of RunPod's own clients."""
_LONGEST = 64 * 1024
"""Bytes; a longer file is none of theirs."""
HOW = (
    f"make a key at https://console.runpod.io/user/settings, then set {VARIABLE} or GDL_RUNPOD__KEY"
)


@dataclass(frozen=True, slots=True)
class FoundKey:
    """source: where it was found, in words."""

    key: Secret
    source: str


def find(
    settings: Settings, environment: Mapping[str, str] | None = None, home: Path | None = None
) -> FoundKey | None:
    """The key: of the settings, the environment, or a file of RunPod's own clients; None without
    any. Raises UsageError for one that no key can look like."""
    if settings.runpod.key is not None and settings.runpod.key.get_secret_value():
        return _checked(settings.runpod.key.get_secret_value(), "the settings")
    text = (os.environ if environment is None else environment).get(VARIABLE, "").strip()
    if text:
        return _checked(text, VARIABLE)
    path = (home or Path.home()) / _CONFIG
    text = _of_file(path)
    return _checked(text, f"~/{_CONFIG}") if text else None


def required(settings: Settings) -> FoundKey:
    """Raises UsageError when there is none."""
    found = find(settings)
    if found is None:
        raise UsageError("no API key of RunPod is set", HOW)
    return found


def _checked(text: str, source: str) -> FoundKey:
    text = text.strip()
    # What else there is cannot be sent in a header.
    if not re.fullmatch(r"[!-~]{8,512}", text):
        raise UsageError(f"the API key of RunPod in {source} is not a valid key", HOW)
    return FoundKey(Secret(text), source)


def _of_file(path: Path) -> str:
    """The key in such a file, "" without one. The Python client keeps a table for each profile,
    the one written in Go a single name."""
    try:
        with path.open("rb") as file:
            told = tomllib.loads(file.read(_LONGEST).decode())
    except (OSError, ValueError):
        return ""
    profile = told.get("default")
    return _named(profile, "api_key") or _named(told, "apikey")


def _named(table: Any, name: str) -> str:
    if not isinstance(table, dict):
        return ""
    found = next((value for key, value in table.items() if key.lower() == name), "")
    return found if isinstance(found, str) else ""
