"""Where the key for Vast.ai is found: the settings, the environment, the official client's files.

A two-factor session of the official client has a key of its own, which goes before the account's
and ends after some time; the account's is then used in its place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from gdl.backends.accounts import fingerprint
from gdl.domain.errors import UsageError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.secret import Secret
from gdl.settings import Settings

VARIABLE = "VAST_API_KEY"
_SESSION_FILE, _KEY_FILE, _OLD_KEY_FILE = "vast_tfa_key", "vast_api_key", ".vast_api_key"
_LONGEST = 1024
_USABLE = re.compile(r"[!-~]+")
NO_KEY_HINT = (
    f"make one at https://cloud.vast.ai/manage-keys/ and set {VARIABLE}, or run"
    " `vastai set api-key` of Vast.ai's own client"
)


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key and where it was found, in words. passing: it is a two-factor session's."""

    secret: Secret
    source: str
    passing: bool = False

    @property
    def fingerprint(self) -> str:
        """Tells keys apart without telling them."""
        return fingerprint(self.secret)


def find_keys(settings: Settings, environment: Mapping[str, str] | None = None) -> list[FoundKey]:
    """The keys to be used, best first; the second of two takes over when the first is a session's
    that is over. Empty: there is none. Raises UsageError for one that cannot be a key."""
    environ = os.environ if environment is None else environment
    if settings.vastai.key is not None and (text := settings.vastai.key.get_secret_value().strip()):
        return [_checked(text, "the setting vastai.key")]
    if text := environ.get(VARIABLE, "").strip():
        return [_checked(text, VARIABLE)]
    folder, home = _folders(environ)
    found = []
    for path, passing in (
        (folder / _SESSION_FILE, True),
        (folder / _KEY_FILE, False),
        (home / _OLD_KEY_FILE, False),
    ):
        if text := _read(path):
            found.append(_checked(text, str(path), passing=passing))
            if not passing:
                break
    return found


def _folders(environ: Mapping[str, str]) -> tuple[Path, Path]:
    """(where the official client keeps its files, the home folder)."""
    home = Path(environ.get("HOME") or Path.home())
    config = environ.get("XDG_CONFIG_HOME", "")
    base = Path(config) if config and Path(config).is_absolute() else home / ".config"
    return base / "vastai", home


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_LONGEST + 1).strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _checked(text: str, source: str, *, passing: bool = False) -> FoundKey:
    if len(text) > _LONGEST or not _USABLE.fullmatch(text):
        raise UsageError(
            f"the key for Vast.ai in {source} has characters that no key has", "copy it again"
        )
    return FoundKey(Secret(text), source, passing)
