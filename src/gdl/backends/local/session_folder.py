"""The folder of a session on this machine, and the environment of its commands.

Everything here blocks, and is called in threads.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from gdl.domain import clock
from gdl.domain.errors import BackendError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.text import one_line
from gdl.sshd import processes
from gdl.whole_file import write_whole

if TYPE_CHECKING:
    import asyncssh

SESSION_ID = re.compile(r"local-[0-9a-f]{8}")
_NOT_PASSED_ON = frozenset(
    {
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPATH",
        "PYTHONHOME",
        "VIRTUAL_ENV",
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "SSH_AUTH_SOCK",
    }
)
"""Of the environment of this program: what bends Python, and what only we may know."""
_LONGEST_TMPDIR = 60
"""Sockets in a temporary folder have 107 bytes for their whole path, and long names."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the parts of a session lie."""

    path: Path

    @property
    def work(self) -> Path:
        return self.path / "work"

    @property
    def notes(self) -> Path:
        return self.path / "session.json"

    @property
    def host_key(self) -> Path:
        return self.path / "host_key"

    @property
    def client_key(self) -> Path:
        return self.path / "client_key"

    def cache(self, name: str) -> Path:
        return self.path / "cache" / name


def make(folder: Folder, created: datetime) -> None:
    """The folder with its keys. Raises OSError."""
    import asyncssh

    folder.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.path.mkdir(mode=0o700)
    folder.work.mkdir(mode=0o700)
    for path in (folder.host_key, folder.client_key):
        key = asyncssh.generate_private_key("ssh-ed25519", comment="gdl-tui")
        write_whole(path, key.export_private_key("openssh").decode())
    write_notes(folder, created, 0)


def write_notes(folder: Folder, created: datetime, port: int) -> None:
    """`port` and `pid` tell of the server opened last; it may be gone."""
    notes = {"created": created.isoformat(), "port": port, "pid": os.getpid()}
    write_whole(folder.notes, json.dumps(notes) + "\n")


def is_ours(folder: Folder) -> bool:
    return folder.path.is_dir() and not folder.path.is_symlink()


def read_created(folder: Folder) -> datetime:
    """When it was made: by its notes, or by the folder's own time where they are unreadable."""
    try:
        created = datetime.fromisoformat(json.loads(folder.notes.read_text())["created"])
        if created.tzinfo is not None:
            return created
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        return datetime.fromtimestamp(folder.path.stat().st_mtime, UTC)
    except OSError:
        return clock.now()


def read_keys(folder: Folder) -> tuple[asyncssh.SSHKey, asyncssh.SSHKey]:
    import asyncssh

    return (
        asyncssh.read_private_key(str(folder.host_key)),
        asyncssh.read_private_key(str(folder.client_key)),
    )


def list_all(root: Path) -> list[tuple[str, datetime]]:
    try:
        names = [entry.name for entry in os.scandir(root) if SESSION_ID.fullmatch(entry.name)]
    except OSError:
        return []
    folders = {name: Folder(root / name) for name in names}
    return [(name, read_created(f)) for name, f in folders.items() if is_ours(f)]


def environment(ident: str, folder: Folder) -> dict[str, str]:
    """What commands get: this process's environment without what is ours, HOME as it is (so that
    download caches serve again), and inside the folder what torch would leave behind. Engines find
    there where their own may go: into a folder that goes with the session, or one that stays."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_PASSED_ON
        and not name.startswith(("GDL_", "SSH_"))
        and not name.endswith("_API_KEY")
    }
    inside = {
        "TORCHINDUCTOR_CACHE_DIR": folder.cache("inductor"),
        "TRITON_CACHE_DIR": folder.cache("triton"),
        "XDG_RUNTIME_DIR": folder.cache("run"),
    }
    for path in inside.values():
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    environment |= {name: str(path) for name, path in inside.items()}
    environment["GDL_SESSION_CACHE"] = str(folder.path / "cache")
    environment["GDL_USER_CACHE"] = str(platformdirs.user_cache_path("gdl-tui"))
    environment["TMPDIR"] = _temporary(folder)
    environment[processes.MARK] = ident
    return environment


def _temporary(folder: Folder) -> str:
    """The session's temporary folder, by a short name: a link where its own is too long."""
    real = folder.path / "tmp"
    real.mkdir(exist_ok=True, mode=0o700)
    if len(os.fsencode(real)) <= _LONGEST_TMPDIR:
        return str(real)
    link = _short_link(folder)
    if not (link.is_symlink() and link.readlink() == real):
        # A name taken by somebody else raises FileExistsError: nothing is written through it.
        link.symlink_to(real)
    return str(link)


def _short_link(folder: Folder) -> Path:
    return Path(tempfile.gettempdir()) / f"gdl-{folder.path.name}"


def remove(folder: Folder) -> None:
    """Nothing of it is left in its place: an environment of some 50 000 files is moved aside, and
    deleted by a process that nobody waits for. Raises BackendError when something stays."""
    link = _short_link(folder)
    with contextlib.suppress(OSError):
        if link.is_symlink() and link.readlink() == folder.path / "tmp":
            link.unlink()
    for key in (folder.host_key, folder.client_key):
        with contextlib.suppress(OSError):
            key.unlink()
    aside = _aside(folder.path.parent)
    try:
        aside.mkdir(mode=0o700, exist_ok=True)
        folder.path.rename(aside / f"{folder.path.name}-{secrets.token_hex(4)}")
        delete_aside(folder.path.parent)
    except OSError:
        _remove_in_place(folder)


def _aside(root: Path) -> Path:
    return root.parent / "removed"


def delete_aside(root: Path) -> None:
    """Delete what was moved aside, now or by a process that was ended before it was done. Returns
    at once, and never raises: the next one tries again."""
    aside = _aside(root)
    if not aside.is_dir() or aside.is_symlink():
        return
    # The shell ends at once, so that its child is nobody's to wait for.
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        subprocess.run(
            ["/bin/sh", "-c", _DELETE],
            cwd=aside,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
            timeout=10,
        )


_DELETE = """
{ rm -rf ./* || { chmod -R u+rwx ./* && rm -rf ./*; }; rmdir ../removed; } &
"""


def _remove_in_place(folder: Folder) -> None:
    shutil.rmtree(folder.path, ignore_errors=True)
    if folder.path.exists():
        # Folders without write permission keep their contents; allow it and try once more.
        for path, _, _ in os.walk(folder.path):
            with contextlib.suppress(OSError):
                Path(path).chmod(0o700)
        shutil.rmtree(folder.path, ignore_errors=True)
    if folder.path.exists():
        raise BackendError(
            f"{one_line(folder.path)} cannot be removed completely",
            "remove it yourself; nothing runs there",
        )
