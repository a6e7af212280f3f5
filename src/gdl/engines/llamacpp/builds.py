"""Which build of llama.cpp a machine can run: the package's wheels, or the project's images.

https://github.com/xorbitsai/xllamacpp#installation lists the wheels and the GPUs they are compiled
for; those of other GPUs are compiled by the driver at the first start, which has to be as new as
the wheel's toolkit. https://github.com/ggml-org/llama.cpp/blob/master/docs/docker.md: the images.
"""

from __future__ import annotations

import re

from gdl.domain.errors import DeployError, UsageError
from gdl.domain.host import HostFacts
from gdl.domain.lazy_dataclass import dataclass
from gdl.settings import Settings

PACKAGE = "xllamacpp"
VERSION = "2026.10.11549"
"""Its last part is the build of llama.cpp that it holds."""
FIRST_PYTHON = (3, 10)
_INDEX = "https://xorbitsai.github.io/xllamacpp/whl"
_IMAGE = "ghcr.io/ggml-org/llama.cpp"
_GLIBC_OF_CUDA_WHEELS = (2, 35)
_MACS = ("darwin", "macos")


@dataclass(frozen=True, slots=True)
class Cuda:
    """Wheels for GPUs. tag: in the index' address. toolkit: its CUDA. least: the compute capability
    from which its kernels run. native: those that need no compilation by the driver."""

    tag: str
    toolkit: float
    least: float
    native: frozenset[float]


CUDAS = (
    Cuda("cu132", 13.2, 7.5, frozenset({7.5, 8.6, 8.9, 12.0, 12.1})),
    Cuda("cu128", 12.8, 5.0, frozenset({8.6, 8.9, 12.0})),
)
LEAST_CUDA = 12.8
LEAST_CAPABILITY = 5.0


@dataclass(frozen=True, slots=True)
class Build:
    """What is installed. words: what it is for, such as "CUDA 12.8". index: the package index that
    has it, "" for the usual one. image: the container image instead, or ""."""

    version: str
    words: str
    on_gpu: bool = False
    index: str = ""
    image: str = ""

    @property
    def release(self) -> str:
        """Of llama.cpp, such as "b11549"; the package's own version where that tells none, and ""
        of an image."""
        last = self.version.rpartition(".")[2]
        return f"b{last}" if len(last) > 3 else self.version


def version_of(settings: Settings) -> str:
    """Raises UsageError for what is no version of the package."""
    wanted = settings.install.version or VERSION
    if not re.fullmatch(r"\d+(\.\d+){1,3}", wanted):
        raise UsageError(
            f"{ascii(wanted)[:40]} is not a version of {PACKAGE}",
            f"write one such as {VERSION}, or omit install.version",
        )
    return wanted


def choose(host: HostFacts, settings: Settings, *, cpu_allowed: bool) -> Build:
    """The build for this machine. Raises DeployError when nothing can run there."""
    version, system = version_of(settings), host.os.casefold()
    if settings.install.runtime == "container":
        return in_container(host)
    if system.startswith(_MACS):
        chip = "Metal" if host.arch in ("arm64", "aarch64") else "the processor"
        return Build(version, chip, on_gpu=chip == "Metal")
    if system.startswith("windows"):
        raise DeployError("Windows is not supported", "deploy to Linux, or inside WSL")
    if host.has_gpu:
        return _for_gpu(host, version)
    if cpu_allowed:
        if host.libc == "musl":
            raise DeployError(
                f"{PACKAGE} has no build for musl (Alpine)", "use a machine with glibc"
            )
        return Build(version, "the processor")
    said = " ".join(host.gpu_error.split())[:300]
    raise DeployError(
        f"no usable GPU: {said or 'nvidia-smi lists none'}",
        "take the next offer; a broken driver rarely repairs itself",
    )


def _for_gpu(host: HostFacts, version: str) -> Build:
    known = _capabilities(host)
    driver = _number(host.cuda)
    libc = _libc(host.libc)
    if libc is not None and libc < _GLIBC_OF_CUDA_WHEELS:
        raise DeployError(
            f"{host.libc} is too old, {PACKAGE}'s builds for GPUs need glibc 2.35",
            "take a machine with Ubuntu 22.04 or newer, or --runtime container",
        )
    for cuda in CUDAS:
        runs = all(each >= cuda.least for each in known)
        native = bool(known) and all(each in cuda.native for each in known)
        if runs and _drives(driver, cuda, native=native):
            words = f"CUDA {cuda.toolkit}"
            return Build(version, words, on_gpu=True, index=f"{_INDEX}/{cuda.tag}")
    raise DeployError(
        f"the driver supports CUDA {host.cuda}, llama.cpp's builds need {LEAST_CUDA}",
        "take a machine with a newer driver (570 or later)",
    )


def _capabilities(host: HostFacts) -> list[float]:
    """Of the GPUs that tell it. Raises DeployError for one that no build runs on."""
    told = [_number(gpu.compute_capability) for gpu in host.gpus]
    known = [each for each in told if each is not None]
    if known and min(known) < LEAST_CAPABILITY:
        raise DeployError(
            f"compute capability {min(known)} is too old, llama.cpp's builds need"
            f" {LEAST_CAPABILITY}",
            "take a newer GPU",
        )
    return known


def _drives(driver: float | None, cuda: Cuda, *, native: bool) -> bool:
    """A driver runs what is compiled for the GPU by any toolkit of its CUDA's major version. One
    that does not tell its own gets the older build."""
    if driver is None:
        return cuda is CUDAS[-1]
    return driver >= cuda.toolkit or (native and int(driver) == int(cuda.toolkit))


def in_container(host: HostFacts) -> Build:
    """The project's own image: the newest, as not every release has one. Raises DeployError where
    none can be run."""
    if not host.docker:
        raise DeployError(
            "docker does not work on this machine (no program, no daemon or no permission)",
            "omit --runtime: llama.cpp is then installed into an environment of its own",
        )
    if not host.has_gpu:
        return Build("", "the processor", image=f"{_IMAGE}:server")
    if not host.docker_gpus:
        raise DeployError(
            "docker cannot pass GPUs on here: NVIDIA's container toolkit is missing",
            "omit --runtime: llama.cpp is then installed into an environment of its own",
        )
    driver, least = _number(host.cuda), min(_capabilities(host), default=99.0)
    newest = CUDAS[0]
    major = 13 if driver is not None and driver >= newest.toolkit and least >= newest.least else 12
    image = f"{_IMAGE}:server-cuda{'13' if major == 13 else ''}"
    return Build("", f"CUDA {major}", on_gpu=True, image=image)


def image_like(build: Build) -> str:
    """The image for the machines that a build of the package is for; a container on a Mac has
    its processor alone."""
    cuda = build.words.startswith("CUDA")
    major = "13" if build.words.startswith("CUDA 13") else ""
    return f"{_IMAGE}:server{f'-cuda{major}' if cuda else ''}"


def gpu_refusal(capability: tuple[int, int] | None) -> str:
    """Why no build runs on such a GPU, or ""."""
    if capability is None or capability[0] + capability[1] / 10 >= LEAST_CAPABILITY:
        return ""
    return f"compute capability {capability[0]}.{capability[1]}; llama.cpp needs {LEAST_CAPABILITY}"


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,3}\.\d{1,3}", text) else None


def _libc(told: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"glibc (\d+)\.(\d+)(?:\.\d+)*", told)
    return (int(found[1]), int(found[2])) if found else None
