"""The host keys that the user's own known_hosts files know a machine by, as OpenSSH reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import asyncssh

from gdl.domain.lazy_dataclass import dataclass

_MOST_BYTES = 4 * 1024 * 1024
_USUAL_PORT = 22


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """keys: one of which the machine must show, none where it is not known. likely: it may show one
    of these: they stand beside its name without its port. revoked: none of which it may."""

    keys: tuple[asyncssh.SSHKey, ...] = ()
    likely: tuple[asyncssh.SSHKey, ...] = ()
    revoked: tuple[asyncssh.SSHKey, ...] = ()

    def accepts(self, key: asyncssh.SSHKey) -> bool:
        if _among(key, self.revoked):
            return False
        return not self.keys or _among(key, self.keys)


NOBODY = KnownKeys()


def usual_files() -> tuple[Path, ...]:
    folder = Path.home() / ".ssh"
    return (folder / "known_hosts", folder / "known_hosts2", Path("/etc/ssh/ssh_known_hosts"))


def of_host(host: str, port: int, files: Iterable[Path]) -> KnownKeys:
    """What the files say of a machine, in plain or hashed names. Certificate authorities are passed
    over, as we take no certificates; lines that cannot be read likewise, as OpenSSH does."""
    lines = [line for file in files for line in _lines(file)]
    bare = _matching(lines, host)
    if port in (0, _USUAL_PORT):
        return KnownKeys(bare[0], (), bare[1])
    with_port = _matching(lines, f"[{host}]:{port}")
    return KnownKeys(with_port[0], bare[0], with_port[1])


def _matching(
    lines: Sequence[str], name: str
) -> tuple[tuple[asyncssh.SSHKey, ...], tuple[asyncssh.SSHKey, ...]]:
    keys: list[asyncssh.SSHKey] = []
    revoked: list[asyncssh.SSHKey] = []
    for line in lines:
        try:
            found = asyncssh.import_known_hosts(line).match(name.lower(), "", None)
        except (ValueError, asyncssh.Error):
            continue
        keys += found[0]
        revoked += found[2]
    return tuple(keys), tuple(revoked)


def _lines(file: Path) -> list[str]:
    """Nothing of a file that is not there, cannot be read, or is no such list."""
    try:
        if not file.is_file() or file.stat().st_size > _MOST_BYTES:
            return []
        text = file.read_text("utf-8", "replace")
    except OSError:
        return []
    return [
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]


def _among(key: asyncssh.SSHKey, keys: Iterable[asyncssh.SSHKey]) -> bool:
    return any(key.public_data == each.public_data for each in keys)
