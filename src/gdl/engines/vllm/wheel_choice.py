"""How a release gets onto a machine: the index's wheel, or one for another CUDA."""

from __future__ import annotations

from collections.abc import Iterable

from gdl.domain.errors import DeployError
from gdl.domain.host import HostFacts
from gdl.engines.python import nvidia
from gdl.engines.python.nvidia import driver_of, shown_driver
from gdl.engines.python.versions import Version, parse
from gdl.engines.python.ways import Way
from gdl.engines.vllm import compat_table
from gdl.engines.vllm.compat_table import Release

_RELEASE_URL = "https://github.com/vllm-project/vllm/releases/download"
_VARIANT_INDEX = "https://wheels.vllm.ai"
_BLACKWELL = 10.0


def ways(
    release: Release, version: str, host: HostFacts, capability: float | None
) -> tuple[str, tuple[Way, ...]]:
    """(CUDA, ways to install). First the index's wheel with the torch that agrees with it, then
    the releases' other wheels, newest CUDA first; only what driver and GPU can run."""
    driver = driver_of(host)

    def runs(cuda: str) -> bool:
        return driver >= parse(nvidia.driver_floor(cuda)) and nvidia.knows(cuda, capability)

    others = [w for w in compat_table.wheels() if w.has(version) and runs(w.cuda)]
    others.sort(key=lambda wheel: parse(wheel.cuda), reverse=True)
    made: list[Way] = []
    cuda = release.cuda
    if runs(cuda):
        made += _default_ways(release, version, driver, capability)
    elif others:
        cuda = others[0].cuda
    elif driver < parse(nvidia.driver_floor(cuda)):
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
    if release.backend and driver >= parse(nvidia.driver_floor("13")):
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
    floor = nvidia.driver_floor(release.cuda)
    return DeployError(
        f"driver {shown_driver(host)} is too old for vLLM {version} "
        f"(CUDA {release.cuda} needs {floor})",
        "leave install.version empty, or take a machine with a newer driver",
    )


def check_toolkit(cuda: str, version: str, capability: float | None) -> None:
    if not nvidia.knows(cuda, capability):
        raise DeployError(
            f"the GPU (compute capability {capability}) needs a newer CUDA than the {cuda} of "
            f"vLLM {version}",
            "choose a newer vLLM, or a machine with a newer driver",
        )
