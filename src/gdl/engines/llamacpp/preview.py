"""The plan for a driver and a GPU that nobody has looked at: what `doctor --plan` shows."""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.errors import DeployError
from gdl.engines.base import PlanPart, Preview
from gdl.engines.llamacpp import builds
from gdl.engines.python import unseen
from gdl.settings import Settings

_CUDA_OF_DRIVER = (
    (595, "13.2"), (590, "13.1"), (580, "13.0"), (575, "12.9"), (570, "12.8"), (565, "12.7"),
    (560, "12.6"), (555, "12.5"), (550, "12.4"), (545, "12.3"), (535, "12.2"), (530, "12.1"),
    (525, "12.0"), (0, "11.8"),
)  # fmt: skip
"""The CUDA that a driver's branch supports, as its release notes say."""


def preview(driver: str, capability: str, settings: Settings) -> Preview:
    """Raises UsageError for what is no driver's version and no compute capability."""
    host, told = unseen.machine(driver, capability, docker=True)
    if host.has_gpu:
        major = int(told.driver[:3])
        host = replace(host, cuda=next(c for least, c in _CUDA_OF_DRIVER if major >= least))
    try:
        build = builds.choose(host, settings, cpu_allowed=True)
    except DeployError as error:
        return replace(told, parts=_parts(None), refusal=error.message, hint=error.hint)
    way = f"docker: {build.image}" if build.image else f"{builds.PACKAGE}=={build.version}"
    if build.index:
        way += f" from {build.index}"
    return replace(told, parts=_parts(build), ways=(way,))


def _parts(build: builds.Build | None) -> tuple[PlanPart, ...]:
    release = build.release if build is not None else ""
    shown = f"{release} for {build.words}".strip() if build is not None else ""
    version = build.version if build is not None else ""
    return (
        PlanPart("llamacpp", release, "llama.cpp", shown),
        PlanPart(builds.PACKAGE, version, builds.PACKAGE, version),
    )
