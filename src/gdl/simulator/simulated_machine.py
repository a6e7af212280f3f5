"""One rented machine: a real SSH server on an address of its own, and simulated programs."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import shlex
import shutil
import socket
import sys
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncssh

from gdl.simulator import fault_models
from gdl.simulator.fault_draws import OfferFaults
from gdl.simulator.listings import Listing
from gdl.simulator.machine_server import MachineServer
from gdl.simulator.scenario import read_log
from gdl.simulator.timing import Timing
from gdl.simulator.workspace import Workspace, end_processes
from gdl.sshd import processes
from gdl.sshd.server import LOOPBACK

_USUAL_DISK_GB = 200
ONSTART = "onstart.sh"


class Machine:
    """Made by `start`, gone after `aclose`: processes, folder and all.

    variables: what the marketplace sets in its environment. onstart: the script that it leaves
    there, which runs whenever the machine starts again.
    address, port, user: how its SSH server is reached. Its programs find the loopback of the
    machine at `address`, so that many machines can serve on the same port.
    """

    def __init__(
        self,
        workspace: Workspace,
        offer: Listing,
        faults: OfferFaults,
        timing: Timing,
        *,
        speed: float,
        disk_gb: int | None,
        rng: random.Random,
        variables: Mapping[str, str] | None = None,
        onstart: str = "",
    ) -> None:
        self._workspace = workspace
        self._offer = offer
        self._faults = faults
        self._timing = timing
        self._speed = speed
        self._disk_gb = disk_gb or _USUAL_DISK_GB
        self._rng = rng
        self._variables = dict(variables or {})
        self._onstart = onstart
        self._environment: dict[str, str] = {}
        self._name = f"machine-{secrets.token_hex(6)}"
        self._server: MachineServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.address = LOOPBACK
        self.user = offer.user
        self.folder = workspace.path / self._name

    @property
    def port(self) -> int:
        return self._server.port if self._server else 0

    async def start(self, key: asyncssh.SSHKey) -> None:
        """Folder, programs and SSH server, which takes `key`. Raises OSError."""
        self.address = await asyncio.to_thread(_free_address)
        environment = self._environment = await asyncio.to_thread(self._make)
        host_key = asyncssh.generate_private_key("ssh-ed25519")
        late = self._faults.first(fault_models.KeyLate)
        # A key that nobody has, until the right one has arrived.
        first = asyncssh.generate_private_key("ssh-ed25519") if late else key
        work = self.folder / "work"
        self._server = MachineServer(work, environment, host_key, first, address=self.address)
        await self._server.start()
        if late and late.after:
            self._spawn(self._key_arrives(key, late.after))
        rebuilding = self._faults.first(fault_models.Rebuilding)
        if rebuilding and rebuilding.after:
            self._spawn(self._driver_is_built(rebuilding.after))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def let_in(self, key: asyncssh.SSHKey) -> None:
        """Take a public key, too, once it has arrived."""
        late = self._faults.first(fault_models.KeyLate)
        if late is None or late.after:
            self._spawn(self._spreads(key, self._timing.spreads + (late.after if late else 0)))

    async def _spreads(self, key: asyncssh.SSHKey, after: float) -> None:
        await asyncio.sleep(after / self._speed)
        if self._server is not None:
            self._server.further_keys.append(key)

    async def reboot(self) -> None:
        """End what runs and cut who is connected; then what was left to run at the start runs."""
        assert self._server is not None, "not started"
        groups = set(self._server.groups)
        for connection in list(self._server.connections):
            connection.abort()
        await end_processes(self.folder, groups)
        await asyncio.create_subprocess_exec(
            *("/bin/sh", ONSTART),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=self.folder / "work",
            env=self._environment,
            start_new_session=True,
        )

    async def _key_arrives(self, key: asyncssh.SSHKey, after: float) -> None:
        await asyncio.sleep(after / self._speed)
        if self._server is not None:
            self._server.client_key = key

    async def _driver_is_built(self, after: float) -> None:
        await asyncio.sleep(after / self._speed)
        await asyncio.to_thread((self.folder / "faults" / "nvidia-smi").unlink, missing_ok=True)

    async def reached(self, mark: str) -> None:
        """Until a program on the machine says so. mark: installing, loading or serving."""
        path = self.folder / "marks" / mark
        while not await asyncio.to_thread(path.exists):  # noqa: ASYNC110 - another process says it
            await asyncio.sleep(0.02)

    async def aclose(self) -> None:
        """End everything. Idempotent."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        server, self._server = self._server, None
        groups = set(server.groups) if server is not None else set()
        if server is not None:
            server.closing = True
        if await asyncio.to_thread(self.folder.exists):
            await end_processes(self.folder, groups)
        if server is not None:
            await server.aclose()
        await asyncio.to_thread(_remove, self.folder)

    # -- what it is made of, in a thread

    def _make(self) -> dict[str, str]:
        offer, faults = self._offer, self._faults
        extra = [] if faults.first(fault_models.NoDriver) else ["nvidia-smi"]
        if self._rng.random() < 0.5:
            extra.append("uv")
        folder = self._workspace.make_machine(self._name, tuple(extra))
        driver = faults.first(fault_models.Driver)
        facts: dict[str, Any] = {
            "gpu": offer.gpu.smi,
            "gpu_count": offer.count,
            "memory_mib": offer.gpu.memory_mib,
            "capability": offer.gpu.capability,
            "bandwidth": offer.gpu.bandwidth,
            "driver": driver.version if driver else offer.driver,
            "cuda": driver.cuda if driver else f"{offer.driver_cuda:.1f}",
            "address": self.address,
            "speed": self._speed,
            "owner": os.getpid(),
            "owner_born": processes.start_ticks(os.getpid()),
            "times": {
                name: value / self._speed for name, value in self._timing.model_dump().items()
            },
            "server": self._server_fault(),
        }
        (folder / "machine.json").write_text(json.dumps(facts))
        (folder / "machine.sh").write_text(self._shell_facts(facts))
        self._write_faults(folder / "faults")
        if self._variables:
            (folder / "work" / ONSTART).write_text(f"#!/bin/sh\n{self._onstart}\n")
        return {
            "PATH": f"{folder / 'bin'}:{self._workspace.tools}",
            "HOME": str(folder / "work"),
            "TMPDIR": str(folder / "tmp"),
            "USER": offer.user,
            "LOGNAME": offer.user,
            "SHELL": "/bin/sh",
            "LANG": "C.UTF-8",
            "PS1": f"{offer.user}@simulated-{offer.provider}:$ ",
            "SIM_ROOT": str(folder),
            processes.MARK: self._name,
            **self._variables,
        }

    def _shell_facts(self, facts: dict[str, Any]) -> str:
        times = facts["times"]
        values = {
            "SIM_GPU": facts["gpu"],
            "SIM_GPU_COUNT": facts["gpu_count"],
            "SIM_MEMORY_MIB": facts["memory_mib"],
            "SIM_CAPABILITY": facts["capability"],
            "SIM_DRIVER": facts["driver"],
            "SIM_CUDA": facts["cuda"],
            "SIM_ADDRESS": self.address,
            "SIM_SYSTEM_PYTHON": self._rng.choice(("3.10.12", "3.10.12", "3.12.3")),
            "SIM_DISK_KIB": self._disk_gb * 10**6,
            "SIM_T_VENV": f"{times['venv']:.3f}",
            "SIM_T_PACKAGE": f"{times['package']:.3f}",
            "SIM_PYTHON": sys.executable,
            "SIM_PROGRAMS": self._workspace.programs,
            "SIM_CURL": _real_curl(),
        }
        lines = [f"{name}={shlex.quote(str(value))}\n" for name, value in values.items()]
        return "# What this simulated machine is made of.\n" + "".join(lines)

    def _server_fault(self) -> dict[str, Any] | None:
        fault = self._faults.first(fault_models.Server)
        if fault is None:
            return None
        text = fault.text
        if fault.logs:
            text = read_log(self._rng.choice(fault.logs))
        return {
            "at": fault.at,
            "text": text,
            "status": fault.status,
            "cured_by": fault.cured_by,
            "after": fault.after / self._speed,
            "phase": fault.phase,
            "times": fault.times,
        }

    def _write_faults(self, folder: Path) -> None:
        """`faults/PROGRAM`: exit status, then what it says; `.1`, `.2`, ...: once each."""
        rebuilding = self._faults.first(fault_models.Rebuilding)
        if rebuilding is not None:
            text = "Failed to initialize NVML: Driver/library version mismatch\n"
            (folder / "nvidia-smi").write_text(f"18\n{text}NVML library version: 580.65\n")
        for fault in self._faults:
            if not isinstance(fault, fault_models.Program):
                continue
            text = fault.text or (read_log(fault.log) if fault.log else "failed\n")
            both = ("uv-install", "pip-install")
            for program in both if fault.program == "install" else (fault.program,):
                names = [f"{program}.{n}" for n in range(1, fault.times + 1)] or [program]
                for name in names:
                    (folder / name).write_text(f"{fault.status}\n{text}")


def _real_curl() -> str:
    return shutil.which("curl", path="/usr/bin:/bin:/usr/local/bin") or ""


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _free_address() -> str:
    """An address of 127.0.0.0/8 for one machine; 127.0.0.1 where there is no other (macOS)."""
    for _ in range(8):
        parts = (64 + secrets.randbelow(64), secrets.randbelow(256), 1 + secrets.randbelow(254))
        address = ".".join(str(part) for part in (127, *parts))
        with suppress(OSError), socket.socket() as probe:
            probe.bind((address, 0))
            return address
    return LOOPBACK
