"""A machine as a look at it finds it, and a way to run commands on it."""

from __future__ import annotations

from typing import Protocol

from gdl.domain.engine import NOT_INSTALLED, EngineFacts
from gdl.domain.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    memory_mib: int
    compute_capability: str = ""


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that holds memory of a GPU. `pid` as the driver numbers it, which inside a
    container may be nobody's."""

    pid: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a look at the machine found. `gpus` empty: no GPU. `gpu_error`: what nvidia-smi said
    when it failed. `pythons`: versions found on PATH, newest first, as "3.11.7".

    ram_gib: what the machine has, or what its container may use. shm_mib: size of /dev/shm, 0
    where there is none. libc: "glibc 2.35", "musl", or "" when it does not tell. docker: the words
    that docker is called by ("docker", "sudo -n docker"), "" where its daemon does not answer;
    docker_gpus: NVIDIA's toolkit is there to pass GPUs on; images: what it holds, fifty at most.
    dpkg_lock: the lock that a package manager holds, or "". gpu_processes: who holds GPU memory;
    gpu_memory_used_mib: by everybody, on all GPUs. download_mb_s: 10^6 bytes a second from where
    packages and models come from, None when it was not or could not be measured. engine:
    what the engine's own probe found. model_gib: what of the model was downloaded before.
    volume_free_gib: on the volume that was asked for, None where none is mounted.
    """

    os: str
    arch: str
    cpu_count: int
    ram_gib: float
    disk_free_gib: float
    pythons: tuple[str, ...] = ()
    gpus: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: str = ""
    gpu_error: str = ""
    has_uv: bool = False
    home: str = ""
    user: str = ""
    shm_mib: int = 0
    libc: str = ""
    docker: str = ""
    docker_gpus: bool = False
    images: tuple[str, ...] = ()
    dpkg_lock: str = ""
    gpu_processes: tuple[GpuProcess, ...] = ()
    gpu_memory_used_mib: int = 0
    download_mb_s: float | None = None
    engine: EngineFacts = NOT_INSTALLED
    model_gib: float = 0.0
    volume_free_gib: float | None = None

    @property
    def has_gpu(self) -> bool:
        return bool(self.gpus)


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a remote command ended. `exit_status` is -N when signal N ended it."""

    exit_status: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        return self.exit_status == 0


class CommandRunner(Protocol):
    """Runs one command line in a POSIX shell on the machine.

    `timeout` in seconds. A non-zero exit is an answer, not an error; raises SshError when the
    connection is lost and CommandTimeout when the time is over.
    """

    async def run(
        self, command: str, *, timeout: float = 30.0, input: str | None = None
    ) -> CommandResult: ...
