"""A real OpenSSH server on a high port, on loopback, with keys and configuration of its own."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from local_ports import free_port
from waiting import block_until

SSHD = "/usr/sbin/sshd"


@dataclass(frozen=True)
class Sshd:
    """`identity` is a private key file that may log in as `user`."""

    host: str
    port: int
    user: str
    identity: Path
    pid: int

    @property
    def address(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}"


@contextlib.contextmanager
def real_sshd(folder: Path, *options: str, address: str = "127.0.0.1") -> Iterator[Sshd]:
    """Start one; `options` are lines of sshd_config. Ended by its pid."""
    assert shutil.which("ssh-keygen") and Path(SSHD).exists(), "install openssh-server"
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    for name in ("host_key", "id"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    shutil.copy(folder / "id.pub", folder / "authorized_keys")
    lines = [
        f"ListenAddress {f'[{address}]' if ':' in address else address}:{port}",
        f"HostKey {folder / 'host_key'}",
        f"AuthorizedKeysFile {folder / 'authorized_keys'}",
        f"PidFile {folder / 'pid'}",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "StrictModes no",
        "PermitRootLogin prohibit-password",
        "MaxStartups 100",
        "Subsystem sftp internal-sftp",
        *options,
    ]
    (folder / "config").write_text("\n".join(lines) + "\n")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(parents=True, exist_ok=True)
    log = (folder / "log").open("wb")
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "config"], stderr=log)
    try:
        _wait_listening((address, port), process, folder / "log")
        yield Sshd(address, port, getpass.getuser(), folder / "id", process.pid)
    finally:
        _end(process)
        log.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """The server and its sessions: one whose connection was cut would stay for hours."""
    sessions = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.terminate()
    process.wait(10)
    for pid in map(int, sessions):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)


def _wait_listening(address: tuple[str, int], process: subprocess.Popen[bytes], log: Path) -> None:
    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(address, 1):
            return True
        return False

    block_until(listens, f"sshd listens (its log: {log})", limit_s=10)
