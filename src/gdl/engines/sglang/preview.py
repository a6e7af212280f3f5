"""The plan for a driver and a GPU that nobody has looked at: what `doctor --plan` shows."""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.errors import DeployError
from gdl.engines.base import PlanPart, Preview
from gdl.engines.python import environment, unseen
from gdl.engines.sglang import plan, releases
from gdl.settings import Settings

_KEYS = ("sglang", "torch", "cuda", "python")


def preview(driver: str, capability: str, settings: Settings) -> Preview:
    """The plan for a machine with that driver and GPUs of that compute capability. Raises
    UsageError for what is neither."""
    host, told = unseen.machine(driver, capability, docker=False)
    environment.check_python_setting(settings.install.python)
    try:
        release = releases.choose(host, settings.install)
    except DeployError as error:
        nothing = tuple(PlanPart(key, "") for key in _KEYS)
        return replace(told, parts=nothing, refusal=error.message, hint=error.hint)
    python = "-".join(release.python)
    parts = (
        PlanPart("sglang", release.version, "SGLang", f"{release.version} for CUDA {release.cuda}"),
        PlanPart("torch", release.torch, "torch", release.torch),
        PlanPart("cuda", release.cuda),
        PlanPart("python", python, "Python", python),
    )
    tools = {"auto": ("uv", "pip")}.get(settings.install.installer, (settings.install.installer,))
    ways = tuple(f"{tool}: {plan.way(release).words}" for tool in tools)
    return replace(told, parts=parts, ways=ways)
