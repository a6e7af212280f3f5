"""The phases of the current attempt with marks and times, its steps, and the attempts so far."""

from __future__ import annotations

from datetime import datetime

from rich.text import Text

from gdl.domain.deployment import AttemptState, DeploymentState, StepState
from gdl.domain.events import Phase
from gdl.tui import format as fmt

TITLES: dict[Phase, str] = {
    Phase.RENTING: "Rent",
    Phase.CONNECTING: "Connect",
    Phase.PREFLIGHT: "Inspect",
    Phase.INSTALLING: "Install",
    Phase.STARTING: "Start vLLM",
    Phase.LOADING: "Load model",
    Phase.VERIFYING: "Verify",
    Phase.SERVING: "Serve",
}
WORDS: dict[Phase, str] = {
    Phase.PLANNED: "planned",
    Phase.RENTING: "renting a machine",
    Phase.CONNECTING: "connecting",
    Phase.PREFLIGHT: "inspecting the machine",
    Phase.INSTALLING: "installing vLLM",
    Phase.STARTING: "starting vLLM",
    Phase.LOADING: "loading the model",
    Phase.VERIFYING: "verifying",
    Phase.SERVING: "serving",
    Phase.STOPPING: "giving the machine back",
    Phase.STOPPED: "stopped",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "cancelled",
}
DONE, NOW, FAILED, TO_COME, SKIPPED = "✓", "▶", "✗", "·", "–"
_STYLES = {DONE: "green", NOW: "bold", FAILED: "bold red", TO_COME: "dim", SKIPPED: "dim"}
_STEP_MARKS = {"": NOW, "done": DONE, "repaired": DONE, "skipped": SKIPPED, "failed": FAILED}


def spent(attempt: AttemptState, now: datetime) -> dict[Phase, float]:
    """Seconds in each phase entered; a phase entered twice counts both times."""
    seconds: dict[Phase, float] = {}
    ends = (*(at for _phase, at in attempt.phases[1:]), now)
    for (phase, since), until in zip(attempt.phases, ends, strict=False):
        seconds[phase] = seconds.get(phase, 0.0) + max((until - since).total_seconds(), 0.0)
    return seconds


def rail(state: DeploymentState, now: datetime, width: int, *, brief: bool = False) -> Text:
    """The whole rail, `width` cells wide. brief: the steps of the installation only while it
    runs, or where it failed."""
    text = Text(no_wrap=True)
    attempt = state.attempt
    seconds = spent(attempt, now) if attempt else {}
    ended_in = _ended_in(state, attempt)
    for phase, title in TITLES.items():
        mark = _mark(phase, state, seconds, ended_in)
        if phase is Phase.SERVING and mark == NOW:
            mark = DONE
        time = fmt.clock_time(seconds[phase]) if phase in seconds else ""
        _line(text, f"{mark} {title}", time, width, _STYLES[mark])
        told = not brief or phase in (state.phase, ended_in)
        if phase is Phase.INSTALLING and attempt is not None and phase in seconds and told:
            for step in attempt.steps:
                _step(text, step, now, width)
    if state.attempts:
        text.append("\nAttempts\n", "bold")
        for each in state.attempts[-6:]:
            _attempt(text, each, state, width)
    if out := [x.key for x in state.exclusions if x.kind == "provider"]:
        text.append("\nLeft out\n", "bold")
        for provider in out[-4:]:
            _line(text, f"{SKIPPED} {fmt.plain(provider, 40)}", "", width, "dim")
    return text


def _ended_in(state: DeploymentState, attempt: AttemptState | None) -> Phase | None:
    """The phase in which the attempt failed or was cancelled."""
    if attempt is None or state.phase not in (Phase.FAILED, Phase.CANCELLED):
        return None
    if attempt.failure is not None:
        return attempt.failure.phase
    passed = [phase for phase, _at in attempt.phases if phase in TITLES]
    return passed[-1] if passed else None


def _mark(
    phase: Phase, state: DeploymentState, seconds: dict[Phase, float], ended_in: Phase | None
) -> str:
    if phase is ended_in:
        return FAILED
    if phase is state.phase:
        return NOW
    if phase in seconds:
        return DONE
    order = list(TITLES)
    reached = [order.index(p) for p in seconds if p in TITLES]
    return SKIPPED if reached and order.index(phase) < max(reached) else TO_COME


def _line(text: Text, left: str, right: str, width: int, style: str) -> None:
    room = width - len(right) - 1
    name = Text(left)
    name.truncate(room, overflow="ellipsis", pad=True)
    text.append(f"{name.plain} {right}\n", style)


def _step(text: Text, step: StepState, now: datetime, width: int) -> None:
    mark = _STEP_MARKS.get(step.outcome, NOW)
    seconds = step.seconds if step.outcome else (now - step.started_at).total_seconds()
    time = "" if step.outcome == "skipped" else fmt.clock_time(seconds)
    _line(text, f"  {mark} {fmt.plain(step.title, 60)}", time, width, _STYLES[mark])


def _attempt(text: Text, attempt: AttemptState, state: DeploymentState, width: int) -> None:
    last = attempt is state.attempts[-1]
    failed = attempt.failure is not None or (last and state.phase is Phase.FAILED)
    stopped = last and state.phase in (Phase.CANCELLED, Phase.STOPPED)
    mark = FAILED if failed else SKIPPED if stopped else NOW if last else SKIPPED
    if last and state.phase is Phase.SERVING:
        mark = DONE
    name = f"{mark} {attempt.number} {fmt.gpu(attempt)}"
    _line(text, name, fmt.plain(attempt.provider, 12), width, _STYLES[mark])
