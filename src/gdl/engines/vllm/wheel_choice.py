"""How a release gets onto a machine: the index's wheel, or one for another CUDA."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gdl.domain.errors import DeployError
from gdl.domain.host import HostFacts
from gdl.domain.lazy_dataclass import dataclass
from gdl.engines.vllm import compat_table
from gdl.engines.vllm.compat_table import Release, Version, parse

_RELEASE_URL = "https://github.com/vllm-project/vllm/releases/download"
_VARIANT_INDEX = "https://wheels.vllm.ai"
_BLACKWELL = 10.0


@dataclass(frozen=True, slots=True)
class Way:
    """One way to install: a requirement, the PyTorch variant to ask uv for ("": whatever the
    package index has), and further package indexes."""

    requirement: str
    backend: str = ""
    indexes: tuple[str, ...] = ()

    @property
    def build(self) -> str:
        """What is built the same has the same: "vllm+cu129", wherever its wheel comes from."""
        variant = re.search(r"\+(cu\d+)", self.requirement)
        if variant:
            return f"vllm+{variant[1]}"
        return f"{self.requirement} {self.backend}".rstrip()

    @property
    def words(self) -> str:
        """Short: "vllm==0.19.1 with PyTorch for cu129", a wheel by its file's name."""
        what = self.requirement.rpartition("/")[2] if "://" in self.requirement else ""
        build = f" with PyTorch for {self.backend}" if self.backend else ""
        return f"{what or self.requirement}{build}{' from its own index' * bool(self.indexes)}"


def ways(
    release: Release, version: str, host: HostFacts, capability: float | None
) -> tuple[str, tuple[Way, ...]]:
    """(CUDA, ways to install). First the index's wheel with the torch that agrees with it, then
    the releases' other wheels, newest CUDA first; only what driver and GPU can run."""
    driver = driver_of(host)

    def runs(cuda: str) -> bool:
        return driver >= parse(compat_table.driver_floor(cuda)) and compat_table.knows(
            cuda, capability
        )

    others = [w for w in compat_table.wheels() if w.has(version) and runs(w.cuda)]
    others.sort(key=lambda wheel: parse(wheel.cuda), reverse=True)
    made: list[Way] = []
    cuda = release.cuda
    if runs(cuda):
        made += _default_ways(release, version, driver, capability)
    elif others:
        cuda = others[0].cuda
    elif driver < parse(compat_table.driver_floor(cuda)):
        raise too_old_a_driver(release, version, host)
    else:
        check_toolkit(cuda, version, capability)
    for wheel in others:
        made += _wheel_ways(wheel.variant, wheel.tags, version, host.arch)
    return cuda, tuple(made)


def _default_ways(
    release: Release, version: str, driver: Version, capability: float | None
) -> Iterable[Way]:
    """The index's own torch always agrees with the index's vLLM, and may not know a new GPU."""
    default = f"vllm=={version}"
    if release.blackwell and capability is not None and capability >= _BLACKWELL:
        return (Way(default, release.blackwell),)
    if release.backend and driver >= parse(compat_table.driver_floor("13")):
        return (Way(default, release.backend), Way(default))
    return (Way(default),)


def _wheel_ways(variant: str, tags: Iterable[str], version: str, arch: str) -> Iterable[Way]:
    machine = "aarch64" if arch in ("aarch64", "arm64") else "x86_64"
    for tag in tags:
        name = f"vllm-{version}+{variant}-cp38-abi3-{tag}_{machine}.whl"
        yield Way(f"vllm @ {_RELEASE_URL}/v{version}/{name}", variant)
    index = f"{_VARIANT_INDEX}/{version}/{variant}"
    yield Way(f"vllm=={version}+{variant}", variant, (index,))


def too_old_a_driver(release: Release, version: str, host: HostFacts) -> DeployError:
    floor = compat_table.driver_floor(release.cuda)
    return DeployError(
        f"driver {shown_driver(host)} is too old for vLLM {version} "
        f"(CUDA {release.cuda} needs {floor})",
        "leave install.version empty, or take a machine with a newer driver",
    )


def check_toolkit(cuda: str, version: str, capability: float | None) -> None:
    if not compat_table.knows(cuda, capability):
        raise DeployError(
            f"the GPU (compute capability {capability}) needs a newer CUDA than the {cuda} of "
            f"vLLM {version}",
            "choose a newer vLLM, or a machine with a newer driver",
        )


def capability_of(host: HostFacts) -> float | None:
    """The least compute capability of the machine's GPUs, None when none tells it."""
    known = [parse(gpu.compute_capability) for gpu in host.gpus]
    least = min((c for c in known if c), default=None)
    return None if least is None else float(".".join(str(part) for part in (*least, 0)[:2]))


def driver_of(host: HostFacts) -> Version:
    """The driver's version; where it is not known, the floor of the CUDA it reports."""
    if parse(host.driver):
        return parse(host.driver)
    reported = host.cuda.partition(".")[0]
    return parse(compat_table.driver_floor(reported if reported in ("11", "12", "13") else "12"))


def shown_driver(host: HostFacts) -> str:
    """The driver's version as the driver writes it."""
    found = re.match(r"[\d.]{1,20}", host.driver)
    return found.group() if found else ".".join(str(part) for part in driver_of(host))
