"""The plan for a driver and a GPU that nobody has looked at: what `doctor --plan` shows."""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.errors import DeployError
from gdl.engines.base import PlanPart, Preview
from gdl.engines.python import unseen
from gdl.engines.vllm import plan
from gdl.engines.vllm.compat import Choice
from gdl.settings import Settings

_NOTHING = tuple(
    PlanPart(key, () if key == "constraints" else "")
    for key in ("vllm", "torch", "cuda", "python", "constraints", "dtype")
)
"""What a plan decides, while there is none."""


def line(told: Preview) -> str:
    """Everything in one line, for tables."""
    if told.refusal:
        return f"refused: {told.refusal}"
    known = {part.key: part.value for part in told.parts}
    limits = f", {' '.join(known['constraints'])}" if known["constraints"] else ""
    half = f", {known['dtype']}" if known["dtype"] else ""
    head = f"{known['vllm']} cu{known['cuda']} python {known['python']}{limits}{half}"
    return f"{head}: " + " | ".join(told.ways)


def preview(driver: str, capability: str, settings: Settings, *, docker: bool = True) -> Preview:
    """The plan for a machine with that driver ("570.124.06", "none") and GPUs of that compute
    capability ("8.6"; "": not told). docker: a container image may be the last way.

    Raises UsageError for what is neither.
    """
    host, told = unseen.machine(driver, capability, docker=docker)
    try:
        choice = plan.choose(host, settings, cpu_allowed=False)
    except DeployError as error:
        return replace(told, parts=_NOTHING, refusal=error.message, hint=error.hint)
    second = plan.image_instead(host, choice, settings)
    return replace(told, parts=_parts(choice), ways=_ways(choice, second, settings))


def _parts(choice: Choice) -> tuple[PlanPart, ...]:
    torch = choice.torch or "as the release wants it"
    python = "-".join(choice.python)
    half = "half" if choice.half else ""
    return (
        PlanPart("vllm", choice.version, "vLLM", f"{choice.version} for CUDA {choice.cuda}"),
        PlanPart("torch", torch, "torch", torch),
        PlanPart("cuda", choice.cuda),
        PlanPart("python", python, "Python", python),
        PlanPart("constraints", choice.constraints, "limits", " ".join(choice.constraints)),
        PlanPart("dtype", half, "dtype", f"{half} (no bfloat16)" if half else ""),
    )


def _ways(choice: Choice, second: Choice | None, settings: Settings) -> tuple[str, ...]:
    if choice.image:
        return (f"docker: {choice.image}",)
    made = []
    if settings.install.installer != "pip":
        made += [f"uv: {way.words}" for way in choice.ways]
    if settings.install.installer != "uv":
        made += [f"pip: {way.words}" for way in choice.ways]
    if second is not None:
        made.append(f"docker: {second.image}, where docker works")
    return tuple(made)
