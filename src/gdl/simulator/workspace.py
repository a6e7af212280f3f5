"""The folder of one simulated market: programs, tools, and a folder for each machine.

It lies beside those of other processes and names its owner, so that what a killed process left
behind is found and ended by the next one. Everything but `sweep` blocks, and is called in threads.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import time
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from gdl.sshd import processes

_OWNER = "owner"
_GRACE_S = 0.3

_TOOLS = (
    *("awk", "basename", "bash", "cat", "chmod", "cmp", "comm", "cp", "cut", "date", "dd", "diff"),
    *("dirname", "du", "echo", "env", "expr", "false", "find", "getconf", "grep", "gzip", "head"),
    *("hostname", "id", "kill", "less", "ln", "ls", "md5sum", "mkdir", "mktemp", "more", "mv"),
    *("nohup", "od", "printenv", "printf", "ps", "pwd", "readlink", "realpath", "rm", "rmdir"),
    *("sed", "seq", "setsid", "sh", "sha256sum", "sleep", "sort", "split", "stat", "stty", "tail"),
    *("tar", "tee", "test", "timeout", "touch", "tput", "tr", "true", "tty", "uniq", "vi", "wc"),
    *("which", "whoami", "xargs"),
)
"""What a machine has of this computer. Nothing else: no Python, compiler or GPU of its owner."""
_ALWAYS = (
    "pip",
    "pip3",
    "python",
    "python3",
    "curl",
    "wget",
    "docker",
    "apt-get",
    "df",
    "sudo",
    "uname",
)
"""The simulated programs on every machine; nvidia-smi and uv are not on all of them."""


class Workspace:
    """path: of this market. Made by `make`, removed by `remove`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / f"market-{os.getpid()}-{secrets.token_hex(4)}"

    @property
    def programs(self) -> Path:
        return self.path / "programs"

    @property
    def tools(self) -> Path:
        return self.path / "tools"

    def make(self) -> None:
        """Programs and tools. Raises OSError."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.mkdir(mode=0o700)
        (self.path / _OWNER).write_text(f"{os.getpid()} {processes.start_ticks(os.getpid())}\n")
        self.programs.mkdir()
        for entry in files(__package__).joinpath("programs").iterdir():
            if not entry.is_file() or entry.name.startswith("__"):
                continue
            # A wheel keeps no modes: whatever is there, these are programs.
            path = self.programs / entry.name
            path.write_bytes(entry.read_bytes())
            path.chmod(0o755)
        self.tools.mkdir()
        for tool in _TOOLS:
            found = shutil.which(tool, path="/usr/bin:/bin:/usr/local/bin:/usr/sbin:/sbin")
            if found:
                (self.tools / tool).symlink_to(found)

    def make_machine(self, ident: str, extra: tuple[str, ...]) -> Path:
        """The folder of a machine, with the programs on its PATH. Raises OSError."""
        folder = self.path / ident
        folder.mkdir(mode=0o700)
        for name in ("work", "tmp", "marks", "faults", "bin"):
            (folder / name).mkdir(mode=0o700)
        for name in (*_ALWAYS, *extra):
            source = "pip" if name == "pip3" else "python" if name.startswith("python") else name
            (folder / "bin" / name).symlink_to(self.programs / source)
        return folder

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def _abandoned(folder: Path) -> bool:
    try:
        pid, ticks = (int(word) for word in (folder / _OWNER).read_text().split())
    except (OSError, ValueError):
        # Perhaps being made at this moment.
        with suppress(OSError):
            return (folder.stat().st_mtime + 60) < time.time()
        return False
    return not processes.started_at(pid, ticks)


async def sweep(root: Path) -> int:
    """End and remove what markets left whose process is gone; how many markets that were."""
    try:
        found = [Path(e.path) for e in os.scandir(root) if e.name.startswith("market-")]
    except OSError:
        return 0
    swept = 0
    for folder in found:
        if folder.is_symlink() or not await asyncio.to_thread(_abandoned, folder):
            continue
        for machine in list(folder.iterdir()):
            if (machine / "work").is_dir():
                await end_processes(machine)
        await asyncio.to_thread(shutil.rmtree, folder, True)
        swept += 1
    return swept


async def end_processes(folder: Path, groups: set[int] | None = None) -> set[int]:
    """End whatever runs on the machine of that folder; pids that survived."""
    return await processes.end(folder.name, folder, groups or set(), _GRACE_S)
