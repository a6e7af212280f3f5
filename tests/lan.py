"""Machines of a LAN: network namespaces of this computer, joined by a bridge, with a real OpenSSH
server in each. Needs root. Everything is ended by its pid, and removed."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from real_sshd import SSHD
from waiting import block_until

PORT = 22


def ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=True)


@dataclass(frozen=True)
class LanMachine:
    """home: of its login, which it has for itself as it has `apart`."""

    name: str
    address: str
    home: Path


@dataclass(frozen=True)
class Lan:
    """desk: the namespace of whoever deploys. apart: a folder that is another one on each
    machine."""

    desk: str
    machines: tuple[LanMachine, ...]
    identity: Path
    apart: Path

    @property
    def hosts(self) -> str:
        return ",".join(f"root@{each.address}:{PORT}" for each in self.machines)

    def at_desk(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.desk, *words]


@contextlib.contextmanager
def lan(folder: Path, count: int, network: str = "10.99.38") -> Iterator[Lan]:
    """So many machines, each with an address of that network."""
    desk, names = "gdldesk", [f"gdlhost{n}" for n in range(count)]
    apart = folder / "apart"
    apart.mkdir(parents=True)
    for name in ("host_key", "id"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    Path("/run/sshd").mkdir(parents=True, exist_ok=True)
    servers: list[subprocess.Popen[bytes]] = []
    try:
        ip("netns", "add", desk)
        ip("-n", desk, "link", "add", "lan0", "type", "bridge")
        ip("-n", desk, "addr", "add", f"{network}.254/24", "dev", "lan0")
        for device in ("lo", "lan0"):
            ip("-n", desk, "link", "set", device, "up")
        machines = []
        for number, name in enumerate(names):
            address = f"{network}.{number + 1}"
            _plug_in(desk, name, number, f"{address}/24")
            machine = LanMachine(name, address, folder / name)
            machines.append(machine)
            servers.append(_sshd(folder, machine, apart))
        yield Lan(desk, tuple(machines), folder / "id", apart)
    finally:
        for server in servers:
            server.terminate()
        for server in servers:
            server.wait(10)
        for name in (*names, desk):
            ip("netns", "del", name, check=False)


def _plug_in(desk: str, name: str, number: int, address: str) -> None:
    ip("netns", "add", name)
    ip(
        "-n",
        desk,
        "link",
        "add",
        f"p{number}",
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        name,
    )
    ip("-n", desk, "link", "set", f"p{number}", "master", "lan0", "up")
    ip("-n", name, "addr", "add", address, "dev", "eth0")
    for device in ("lo", "eth0"):
        ip("-n", name, "link", "set", device, "up")


def _sshd(folder: Path, machine: LanMachine, apart: Path) -> subprocess.Popen[bytes]:
    machine.home.mkdir()
    mine = folder / f"{machine.name}-apart"
    mine.mkdir()
    lines = [
        f"ListenAddress {machine.address}:{PORT}",
        f"HostKey {folder / 'host_key'}",
        f"AuthorizedKeysFile {folder / 'id.pub'}",
        f"PidFile {folder / machine.name}.pid",
        f"SetEnv HOME={machine.home}",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "StrictModes no",
        "PermitRootLogin prohibit-password",
        "MaxStartups 100",
        "Subsystem sftp internal-sftp",
    ]
    config = folder / f"{machine.name}.conf"
    config.write_text("\n".join(lines) + "\n")
    assert shutil.which("unshare")
    script = f"mount --bind {mine} {apart} && exec {SSHD} -D -e -f {config}"
    words = ["ip", "netns", "exec", machine.name, "unshare", "-m", "sh", "-c", script]
    log = folder / f"{machine.name}.log"
    with log.open("wb") as out:
        server = subprocess.Popen(words, stderr=out)

    def listens() -> bool:
        assert server.poll() is None, log.read_text()
        return "Server listening" in log.read_text()

    block_until(listens, f"sshd listens on {machine.address}", limit_s=20)
    return server
