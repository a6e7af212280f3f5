"""Which vLLM for which machine: release, wheel and PyTorch variant that agree (compat.toml)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from gdl.domain.errors import DeployError, UsageError
from gdl.domain.models import HostFacts
from gdl.settings import Install

Version = tuple[int, ...]

_RELEASE_URL = "https://github.com/vllm-project/vllm/releases/download"
_VARIANT_INDEX = "https://wheels.vllm.ai"
_BF16_CAPABILITY = 8.0
PREFERRED_PYTHONS = ("3.12", "3.11", "3.13", "3.10", "3.14", "3.9", "3.8")


@dataclass(frozen=True, slots=True)
class Way:
    """One way to install: a requirement, the PyTorch variant to ask uv for ("": whatever the
    package index has), and further package indexes."""

    requirement: str
    backend: str = ""
    indexes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """What to install. `ways` are tried in order. torch: "" when the table does not know the
    release. cuda: "12.9", or "" on the CPU. python: least and greatest, both inclusive.
    half: the GPU has no bfloat16."""

    distribution: str
    version: str
    torch: str
    cuda: str
    ways: tuple[Way, ...]
    constraints: tuple[str, ...]
    python: tuple[str, str]
    half: bool = False

    @property
    def on_gpu(self) -> bool:
        return bool(self.cuda)


@dataclass(frozen=True, slots=True)
class Release:
    version: str
    torch: str
    python: tuple[str, str]
    cuda: str
    min_capability: float
    backend: str = ""
    constraints: tuple[str, ...] = ()


def parse(version: str) -> Version:
    """Leading numbers of a version: "580.65.06" -> (580, 65, 6); "" -> ()."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files("gdl.engines.vllm").joinpath("compat.toml").read_text("utf-8"))


@cache
def releases() -> tuple[Release, ...]:
    """The table's releases, oldest first."""
    return tuple(
        Release(
            version=row["version"],
            torch=row["torch"],
            python=(row["python"][0], row["python"][1]),
            cuda=row["cuda"],
            min_capability=row["min_capability"],
            backend=row.get("backend", ""),
            constraints=tuple(row.get("constraints", ())),
        )
        for row in _table()["release"]
    )


def driver_floor(cuda: str) -> str:
    """The oldest driver that runs a CUDA toolkit, as NVIDIA writes it."""
    major = cuda.partition(".")[0]
    return next(str(row["floor"]) for row in _table()["driver"] if row["cuda"] == major)


def python_fits(version: str, bounds: tuple[str, str]) -> bool:
    return parse(bounds[0]) <= parse(version)[:2] <= parse(bounds[1])


def fitting_python(host: HostFacts, bounds: tuple[str, str]) -> str:
    """The machine's own Python to use, as "3.11", or "" when none fits."""
    there = {".".join(v.split(".")[:2]) for v in host.pythons if python_fits(v, bounds)}
    return next((v for v in PREFERRED_PYTHONS if v in there), "")


def for_cpu(install: Install) -> Choice:
    """vLLM's CPU build."""
    row = _table()["cpu"]
    version = install.vllm_version or row["version"]
    _check_version(version)
    requirement = f"{row['distribution']}=={version}"
    return Choice(
        distribution=row["distribution"],
        version=version,
        torch=row["torch"] if version == row["version"] else "",
        cuda="",
        # A wheelhouse or mirror may hold the CPU build of torch; else PyTorch's own index does.
        ways=(Way(requirement), Way(requirement, "cpu")),
        constraints=(),
        python=(row["python"][0], row["python"][1]),
    )


def for_gpu(host: HostFacts, install: Install) -> Choice:
    """The release asked for, or the newest that fits. Raises DeployError when none does."""
    wanted = install.vllm_version
    if wanted:
        _check_version(wanted)
        return _choice(_row_of(wanted), wanted, host, install)
    least = min(releases(), key=lambda release: release.min_capability)
    _check_capability(_capability(host), least, "of any release")
    from_assets: Choice | None = None
    error: DeployError | None = None
    for release in reversed(releases()):
        try:
            choice = _choice(release, release.version, host, install)
        except DeployError as reason:
            error = error or reason
            continue
        # What the package index has comes before wheels from elsewhere, even if it is older.
        if choice.ways[0].requirement == f"vllm=={release.version}":
            return choice
        from_assets = from_assets or choice
    if from_assets is not None:
        return from_assets
    raise error or DeployError("no vLLM release is known")


def least_cuda(install: Install) -> float:
    """The oldest CUDA version whose driver runs the release asked for, or any release. A driver
    runs every toolkit of its major version."""
    wanted = parse(install.vllm_version)
    rows = [_row_of(install.vllm_version)] if wanted else list(releases())
    majors = [parse(row.cuda)[0] for row in rows]
    majors += [
        int(wheel["variant"][2:-1])
        for wheel in _table()["wheel"]
        if not wanted or parse(wheel["first"]) <= wanted <= parse(wheel["last"])
    ]
    return float(min(majors))


def _check_version(version: str) -> None:
    if not re.fullmatch(r"\d+(\.\d+)+((a|b|rc|\.post|\.dev)\d+)?", version):
        raise UsageError(
            f"install.vllm_version is no version: {ascii(version)[:60]}",
            'write a release such as "0.32.0"',
        )


def _row_of(version: str) -> Release:
    older = [r for r in releases() if parse(r.version) <= parse(version)]
    return older[-1] if older else releases()[0]


def _choice(release: Release, version: str, host: HostFacts, install: Install) -> Choice:
    """How to install `version` there. Raises DeployError with the reason why it cannot be."""
    capability = _capability(host)
    _check_capability(capability, release, version)
    _check_python(release, version, host, install)
    driver = _driver(host)
    cuda, ways = _ways(release, version, driver, host.arch)
    if capability is not None and _too_old_for(capability, cuda):
        raise DeployError(
            f"the GPU (compute capability {capability}) needs a newer CUDA than the {cuda} of "
            f"vLLM {version}",
            "choose a newer vLLM, or a machine with a newer driver",
        )
    return Choice(
        distribution="vllm",
        version=version,
        torch=release.torch if version == release.version else "",
        cuda=cuda,
        ways=ways,
        constraints=release.constraints,
        python=release.python,
        half=capability is not None and capability < _BF16_CAPABILITY,
    )


def _check_capability(capability: float | None, release: Release, version: str) -> None:
    if capability is not None and capability < release.min_capability:
        raise DeployError(
            f"the GPU has compute capability {capability}, vLLM {version} needs "
            f"{release.min_capability} or more",
            "take a machine with a newer GPU",
        )


def _ways(
    release: Release, version: str, driver: Version, arch: str
) -> tuple[str, tuple[Way, ...]]:
    """(CUDA, ways to install). The default wheel and the default torch always agree."""
    default = f"vllm=={version}"
    if driver >= parse(driver_floor(release.cuda)):
        if driver >= parse(driver_floor("13")) and release.backend:
            return release.cuda, (Way(default, release.backend), Way(default))
        return release.cuda, (Way(default),)
    for wheel in _table()["wheel"]:
        cuda = f"{wheel['variant'][2:-1]}.{wheel['variant'][-1]}"
        inside = parse(wheel["first"]) <= parse(version) <= parse(wheel["last"])
        if inside and driver >= parse(driver_floor(cuda)):
            return cuda, tuple(_wheel_ways(wheel["variant"], wheel["tags"], version, arch))
    floor = driver_floor(release.cuda)
    shown = ".".join(str(part) for part in driver)
    raise DeployError(
        f"driver {shown} is too old for vLLM {version} (CUDA {release.cuda} needs {floor})",
        "leave install.vllm_version empty, or take a machine with a newer driver",
    )


def _wheel_ways(variant: str, tags: Iterable[str], version: str, arch: str) -> Iterable[Way]:
    machine = "aarch64" if arch in ("aarch64", "arm64") else "x86_64"
    for tag in tags:
        name = f"vllm-{version}+{variant}-cp38-abi3-{tag}_{machine}.whl"
        yield Way(f"vllm @ {_RELEASE_URL}/v{version}/{name}", variant)
    index = f"{_VARIANT_INDEX}/{version}/{variant}"
    yield Way(f"vllm=={version}+{variant}", variant, (index,))


def _capability(host: HostFacts) -> float | None:
    """The least compute capability of the machine's GPUs, None when none tells it."""
    known = [parse(gpu.compute_capability) for gpu in host.gpus]
    least = min((c for c in known if c), default=None)
    return None if least is None else float(".".join(str(part) for part in (*least, 0)[:2]))


def _too_old_for(capability: float, cuda: str) -> bool:
    return any(
        capability >= row["least"] and parse(cuda) < parse(row["cuda"])
        for row in _table()["capability"]
    )


def _driver(host: HostFacts) -> Version:
    """The driver's version; where it is not known, the floor of the CUDA it reports."""
    if parse(host.driver):
        return parse(host.driver)
    reported = host.cuda.partition(".")[0]
    return parse(driver_floor(reported if reported in ("11", "12", "13") else "12"))


def _check_python(release: Release, version: str, host: HostFacts, install: Install) -> None:
    """uv brings any Python; pip has only what is there; a setting is a decision."""
    if install.python.startswith("/"):
        return
    chosen = install.python
    if not chosen and install.installer != "pip":
        return
    if chosen and python_fits(chosen, release.python):
        return
    if not chosen and fitting_python(host, release.python):
        return
    raise DeployError(
        f"vLLM {version} needs Python {release.python[0]} to {release.python[1]}, there is "
        f"{chosen or ', '.join(host.pythons) or 'none'}",
        "let uv bring a Python (install.installer = auto), or set install.python",
    )
