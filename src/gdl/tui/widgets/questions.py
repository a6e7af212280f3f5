"""What the model is being asked, while it is verified and measured."""

from __future__ import annotations

from gdl.domain.benchmark import QUALITY_QUESTIONS
from gdl.domain.deployment import DeploymentState
from gdl.presentation.words import plural

_CHECKS = {
    "gpu": "looking at the GPU",
    "process": "looking for the server's process",
    "health": "asking the server whether it is healthy",
    "models": "asking which model it serves",
    "inference": "asking the model a question",
    "tool_forced": "asking the model to call a tool",
    "tool_auto": "asking the model something that needs a tool",
    "reasoning": "asking the model to reason",
}
"""By the name of the check, in the order in which their outcomes come."""


def verifying(state: DeploymentState) -> str:
    """Which check is waited for, such as "verifying: asking the model a question (5 of 7)"."""
    planned = state.attempt.server if state.attempt is not None else None
    can = planned.capabilities if planned is not None else None
    skipped = set()
    if can is None or not can.tools:
        skipped |= {"tool_forced", "tool_auto"}
    if can is None or not can.reasoning:
        skipped.add("reasoning")
    names = [name for name in _CHECKS if name not in skipped]
    for number, name in enumerate(names, 1):
        if name not in state.checks:
            return f"verifying: {_CHECKS[name]} ({number} of {len(names)})"
    return "verifying: reading what the server says of its memory"


def measuring(state: DeploymentState) -> str:
    """What the benchmark of a deployment that serves does now; "" when there is none, or it is
    done."""
    wanted = state.spec is not None and state.spec.bench
    progress = state.bench_progress
    if state.finished is not None or (progress is None and not wanted):
        return ""
    if progress is not None:
        rate = progress.output_tokens_per_s
        words = f"measuring: {progress.done} of {plural(progress.total, 'request')} answered"
        return f"{words}, {rate:.1f} tokens/s" if rate else words
    if state.benchmark is not None:
        return ""
    number = min(len(state.quality) + 1, QUALITY_QUESTIONS)
    return f"asking the model question {number} of {QUALITY_QUESTIONS}"
