"""releases.toml, read: which SGLang for which machine."""

from __future__ import annotations

from functools import cache

from gdl import shipped
from gdl.domain.errors import DeployError, UsageError
from gdl.domain.host import HostFacts
from gdl.domain.lazy_dataclass import dataclass
from gdl.engines.python import nvidia
from gdl.engines.python.nvidia import capability_of, driver_of, shown_driver
from gdl.engines.python.versions import fitting_python, parse, python_fits
from gdl.settings import Install

_OTHER = "other engines have releases for older drivers and GPUs, and for the CPU: omit --engine"


@dataclass(frozen=True, slots=True)
class Release:
    """One row: see releases.toml. python: least and greatest, both inclusive."""

    version: str
    torch: str
    python: tuple[str, str]
    cuda: str
    glibc: str


@cache
def releases() -> tuple[Release, ...]:
    """Oldest first."""
    rows = shipped.table(__file__, "releases.toml")["release"]
    return tuple(
        Release(
            row["version"],
            row["torch"],
            (row["python"][0], row["python"][1]),
            row["cuda"],
            row["glibc"],
        )
        for row in rows
    )


def least_capability() -> float:
    """Of a GPU: `SGLang only supports sm75 and above` (model_executor of 0.5.23)."""
    return float(shipped.table(__file__, "releases.toml")["min_capability"])


def wanted(install: Install) -> Release:
    """The release asked for, or the newest. Raises UsageError for one that is too old."""
    if not install.version:
        return releases()[-1]
    asked = parse(install.version)
    row = [release for release in releases() if parse(release.version) <= asked]
    if not row:
        raise UsageError(
            f"SGLang {install.version} cannot be watched: it has no path that tells at once whether"
            " it serves",
            f"{releases()[0].version} is the first that has one",
        )
    last = row[-1]
    return Release(install.version, last.torch, last.python, last.cuda, last.glibc)


def choose(host: HostFacts, install: Install) -> Release:
    """The release for this machine. Raises DeployError when none runs there."""
    release = wanted(install)
    if host.os.casefold().startswith(("darwin", "macos", "windows")):
        raise DeployError(
            f"SGLang is installed on Linux only, and this machine has {host.os}",
            "deploy to a Linux machine: --backend ssh or shopper",
        )
    if not host.has_gpu:
        said = " ".join(host.gpu_error.split())[:200]
        raise DeployError(f"SGLang needs a GPU: {said or 'nvidia-smi lists none'}", _OTHER)
    _check_gpu(host, release)
    if host.libc == "musl" or (
        len(parse(host.libc.removeprefix("glibc "))) > 0
        and (parse(host.libc.removeprefix("glibc ")) < parse(release.glibc))
    ):
        raise DeployError(
            f"SGLang's packages do not run with {host.libc} (glibc {release.glibc} is needed)",
            "take a machine with a newer Linux",
        )
    _check_python(host, release, install)
    return release


def _check_gpu(host: HostFacts, release: Release) -> None:
    capability = capability_of(host)
    if capability is not None and capability < least_capability():
        raise DeployError(
            f"the GPU has compute capability {capability}, SGLang needs {least_capability()}",
            _OTHER,
        )
    floor = nvidia.driver_floor(release.cuda)
    if driver_of(host) < parse(floor):
        raise DeployError(
            f"driver {shown_driver(host)} is too old for SGLang {release.version} "
            f"(CUDA {release.cuda} needs {floor})",
            _OTHER,
        )


def _check_python(host: HostFacts, release: Release, install: Install) -> None:
    """uv brings any Python; pip has only what is there; a setting is a decision."""
    chosen = install.python
    if chosen.startswith("/") or (not chosen and install.installer != "pip"):
        return
    if chosen and python_fits(chosen, release.python):
        return
    if not chosen and fitting_python(host, release.python):
        return
    raise DeployError(
        f"SGLang {release.version} needs Python {release.python[0]} to {release.python[1]}, there "
        f"is {chosen or ', '.join(host.pythons) or 'none'}",
        "let uv bring a Python (install.installer = auto), or set install.python",
    )
