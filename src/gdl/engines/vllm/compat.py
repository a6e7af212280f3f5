"""Which vLLM for which machine: release, wheel and PyTorch variant that agree (compat.toml)."""

from __future__ import annotations

import re
from dataclasses import replace

from gdl.domain.errors import DeployError, UsageError
from gdl.domain.host import HostFacts
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.requirements.allocation import GpuKind
from gdl.domain.requirements.cards import other_maker
from gdl.engines.python import nvidia
from gdl.engines.python.nvidia import capability_of, driver_of, shown_driver
from gdl.engines.python.versions import fitting_python, parse, python_fits
from gdl.engines.python.ways import Way
from gdl.engines.vllm import compat_table
from gdl.engines.vllm.compat_table import Release
from gdl.engines.vllm.release_limits import ANY, Limits
from gdl.engines.vllm.wheel_choice import check_toolkit, too_old_a_driver, ways
from gdl.settings import Install

_BF16_CAPABILITY = 8.0
_ARCHITECTURES = ("", "x86_64", "amd64", "aarch64", "arm64")


@dataclass(frozen=True, slots=True)
class Choice:
    """What to install. `ways` are tried in order. torch: "" when the table does not know the
    release. cuda: "12.9", or "" on the CPU. python: least and greatest, both inclusive.
    half: the GPU has no bfloat16. image: the container image to run instead of installing
    anything, or "". own: the Python that has this release, as the machine itself is a container of
    such an image; or ""."""

    distribution: str
    version: str
    torch: str
    cuda: str
    ways: tuple[Way, ...]
    constraints: tuple[str, ...]
    python: tuple[str, str]
    half: bool = False
    image: str = ""
    own: str = ""

    @property
    def on_gpu(self) -> bool:
        return bool(self.cuda)


def for_cpu(install: Install, limits: Limits = ANY) -> Choice:
    """vLLM's CPU build. Raises DeployError where it is not within the limits."""
    row = compat_table.raw()["cpu"]
    version = install.version or row["version"]
    if install.version:
        check_asked(version, limits)
    elif not limits.allow(version):
        raise DeployError(
            f"{limits.needed(version)}, for the CPU there is {version}",
            "take a machine with a GPU",
        )
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


def for_gpu(host: HostFacts, install: Install, limits: Limits = ANY) -> Choice:
    """The release asked for, or the newest within the limits that fits. Raises DeployError when
    none does."""
    check_architecture(host)
    wanted = install.version
    if wanted:
        check_asked(wanted, limits)
        return _choice(compat_table.row_of(wanted), wanted, host, install)
    _refuse_hopeless(host)
    from_assets: Choice | None = None
    error: DeployError | None = None
    for version in _candidates(limits):
        try:
            choice = _choice(compat_table.row_of(version), version, host, install)
        except DeployError as reason:
            error = error or reason
            continue
        # What the package index has comes before wheels from elsewhere, even if it is older.
        if choice.ways[0].requirement == f"vllm=={version}":
            return choice
        from_assets = from_assets or choice
    if from_assets is not None:
        return from_assets
    raise limits.explained(error)


def for_image(host: HostFacts, install: Install, limits: Limits = ANY) -> Choice:
    """The release to run from its container image: the one asked for, or the newest within the
    limits that fits. Raises DeployError when none does."""
    check_architecture(host)
    if install.version:
        check_asked(install.version, limits)
        return image_choice(compat_table.row_of(install.version), install.version, host)
    _refuse_hopeless(host)
    error: DeployError | None = None
    for version in _candidates(limits):
        try:
            return image_choice(compat_table.row_of(version), version, host)
        except DeployError as reason:
            error = error or reason
    raise limits.explained(error)


def of_own(choice: Choice, python: str) -> Choice:
    """The image's release, where the machine is a container of it: `python` has it."""
    return replace(choice, image="", own=python)


def least_cuda(install: Install, limits: Limits = ANY) -> float | None:
    """The oldest CUDA version whose driver runs the release asked for, or any release within the
    limits; None when there is no such release. A driver runs every toolkit of its major version."""
    versions = [install.version] if parse(install.version) else _candidates(limits)
    majors = [parse(compat_table.row_of(version).cuda)[0] for version in versions]
    majors += [
        parse(wheel.cuda)[0]
        for wheel in compat_table.wheels()
        if any(wheel.has(version) for version in versions)
    ]
    return float(min(majors)) if majors else None


def gpu_refusal(gpu: GpuKind, install: Install, limits: Limits = ANY) -> str:
    """Why neither the release asked for nor any within the limits runs on such a GPU, in words; ""
    where one does, and where its compute capability is not known."""
    if maker := other_maker(gpu.name):
        return f"a GPU of {maker}; vLLM is installed for NVIDIA's"
    if gpu.capability is None:
        return ""
    versions = [install.version] if parse(install.version) else _candidates(limits)
    needed = [compat_table.row_of(version).min_capability for version in versions]
    major, minor = gpu.capability
    has = major + minor / 10
    if not needed or has >= min(needed):
        return ""
    told = f"compute capability {major}.{minor}"
    least = min(release.min_capability for release in compat_table.releases())
    if has < least:
        return f"{told}; vLLM needs {least}"
    if parse(install.version):
        return f"{told}; vLLM {install.version} needs {min(needed)}"
    return f"{told}; {limits.needed()}, which needs {min(needed)}"


def _candidates(limits: Limits) -> list[str]:
    """The table's releases within the limits, newest first, and the last one that is allowed."""
    found = [row.version for row in compat_table.releases() if limits.allow(row.version)]
    if limits.last and limits.last not in found and limits.allow(limits.last):
        found.append(limits.last)
    return sorted(found, key=parse, reverse=True)


def check_asked(version: str, limits: Limits) -> None:
    """Raises UsageError for what is no version, DeployError for one that will not do."""
    _check_version(version)
    if not limits.allow(version):
        raise DeployError(
            f"{limits.needed(version)}, install.version asks for {version}",
            "omit it: the newest release that a machine can run is taken",
        )


def check_architecture(host: HostFacts) -> None:
    """Raises DeployError for processors that vLLM is not built for."""
    if host.arch not in _ARCHITECTURES:
        raise DeployError(
            f"there is no vLLM for {host.arch[:20]} processors",
            "take a machine with an x86-64 or ARM64 processor",
        )


def _check_version(version: str) -> None:
    if not re.fullmatch(r"\d+(\.\d+)+((a|b|rc|\.post|\.dev)\d+)?", version):
        raise UsageError(
            f"install.version is not a version: {ascii(version)[:60]}",
            'write a release such as "0.32.0"',
        )


def _refuse_hopeless(host: HostFacts) -> None:
    """Raises DeployError for what no release can run on, with the reason for all of them."""
    capability = capability_of(host)
    least = min(release.min_capability for release in compat_table.releases())
    if capability is not None and capability < least:
        raise DeployError(
            f"the GPU has compute capability {capability}, any vLLM needs {least} or more",
            "take a machine with a newer GPU",
        )
    cudas = {release.cuda for release in compat_table.releases()} | {
        w.cuda for w in compat_table.wheels()
    }
    floors = {nvidia.driver_floor(cuda) for cuda in cudas if nvidia.knows(cuda, capability)}
    floor = min(floors, key=parse)
    if driver_of(host) < parse(floor):
        raise DeployError(
            f"driver {shown_driver(host)} is too old for any vLLM that runs on this GPU "
            f"({floor} is needed)",
            "take a machine with a newer driver",
        )


def _choice(release: Release, version: str, host: HostFacts, install: Install) -> Choice:
    """How to install `version` there. Raises DeployError with the reason why it cannot be."""
    capability = capability_of(host)
    _check_capability(capability, release.min_capability, version)
    _check_libc(release, version, host)
    _check_python(release, version, host, install)
    cuda, tried = ways(release, version, host, capability)
    return Choice(
        distribution="vllm",
        version=version,
        torch=release.torch if version == release.version else "",
        cuda=cuda,
        ways=tried,
        constraints=release.constraints,
        python=release.python,
        half=capability is not None and capability < _BF16_CAPABILITY,
    )


def image_choice(release: Release, version: str, host: HostFacts) -> Choice:
    """The image of that release. Raises DeployError where it does not run there."""
    capability, image = capability_of(host), compat_table.image()
    _check_capability(capability, max(release.min_capability, image.min_capability), version)
    if parse(version) < parse(image.first):
        raise DeployError(
            f"there is no container image of vLLM {version}", f"{image.first} has the first one"
        )
    check_toolkit(release.cuda, version, capability)
    if driver_of(host) < parse(nvidia.driver_floor(release.cuda)):
        raise too_old_a_driver(release, version, host)
    return Choice(
        distribution="vllm",
        version=version,
        torch=release.torch if version == release.version else "",
        cuda=release.cuda,
        ways=(),
        constraints=(),
        python=release.python,
        half=capability is not None and capability < _BF16_CAPABILITY,
        image=f"{image.name}:v{version}",
    )


def _check_capability(capability: float | None, least: float, version: str) -> None:
    if capability is not None and capability < least:
        raise DeployError(
            f"the GPU has compute capability {capability}, vLLM {version} needs {least} or more",
            "take a machine with a newer GPU",
        )


def _check_libc(release: Release, version: str, host: HostFacts) -> None:
    """Wheels are built for glibc, and need at least the one they were built with."""
    if host.libc == "musl":
        raise DeployError(
            "vLLM's packages do not run with musl libc (Alpine Linux)",
            "take an image with glibc, such as Ubuntu's, or one with docker",
        )
    have = parse(host.libc.removeprefix("glibc "))
    if have and have < parse(release.glibc):
        raise DeployError(
            f"{host.libc} is too old for vLLM {version} ({release.glibc} is needed)",
            "take a machine with a newer Linux, or one with docker",
        )


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
