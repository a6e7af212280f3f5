"""The phases of an attempt with the time each took and usually takes, its steps and progress bars,
its GPUs, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text

from gdl.domain.attempt_state import AttemptState, StepState
from gdl.domain.deployment import DeploymentState
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import dollars
from gdl.domain.phase import Phase
from gdl.presentation.durations import clock_time
from gdl.presentation.endings import ENDED, on_own_machine
from gdl.presentation.lines import plain
from gdl.tui.engine_words import engine_of
from gdl.tui.recent_samples import RecentSamples
from gdl.tui.store import BILLS, Followed
from gdl.tui.widgets.grip import Grip
from gdl.tui.widgets.meters import bar, sparkline
from gdl.tui.widgets.scroll import Scroll

_TITLES: dict[Phase, str] = {
    Phase.RENTING: "Rent",
    Phase.CONNECTING: "Connect",
    Phase.PREFLIGHT: "Inspect",
    Phase.INSTALLING: "Install",
    Phase.STARTING: "Start {engine}",
    Phase.LOADING: "Load model",
    Phase.VERIFYING: "Verify",
    Phase.SERVING: "Serve",
}
_WORDS: dict[Phase, str] = {
    Phase.PLANNED: "planned",
    Phase.RENTING: "renting a machine",
    Phase.CONNECTING: "connecting",
    Phase.PREFLIGHT: "inspecting the machine",
    Phase.INSTALLING: "installing {engine}",
    Phase.STARTING: "starting {engine}",
    Phase.LOADING: "loading the model",
    Phase.VERIFYING: "verifying",
    Phase.SERVING: "serving",
    Phase.STOPPING: "releasing the machine",
    Phase.STOPPED: "stopped",
    Phase.FAILED: "failed",
    Phase.CANCELLED: "cancelled",
}
DONE, NOW, FAILED, TO_COME, SKIPPED = "✓", "▶", "✗", "·", "–"
_STYLES = {DONE: "green", NOW: "bold", FAILED: "bold red", TO_COME: "dim", SKIPPED: "dim"}
_OVER = (Phase.FAILED, Phase.CANCELLED)
_STEP_MARKS = {"": NOW, "done": DONE, "repaired": DONE, "skipped": SKIPPED, "failed": FAILED}


_TIMES_BESIDE = 28
"""Cells from which on what a phase usually takes stands beside what it took."""
_LINES = 3
"""Of one step, at most."""


class Rail(Scroll, Grip):
    """Where the rail is shown; its border can be moved."""

    EDGE = "right"
    ALLOW_SELECT = False  # of the border: what it holds is another widget
    AROUND: ClassVar[int] = 4
    """Cells that the text does not have: padding, scrollbar, border."""


def phase_words(phase: Phase, state: DeploymentState) -> str:
    """What is going on in a phase, such as "loading the model"."""
    if phase in (Phase.STOPPING, Phase.CANCELLED) and state.finished is None:
        if on_own_machine(state):
            return "ending what runs on your machine"
        if state.billing not in ENDED:
            return _WORDS[Phase.STOPPING]
    return _WORDS[phase].format(engine=engine_of(state).display_name)


def spent(attempt: AttemptState, now: datetime) -> dict[Phase, float]:
    """Seconds in each phase entered; a phase entered twice counts both times, and waiting for a
    choice of the user is not its work."""
    seconds: dict[Phase, float] = {}
    ends = (*(at for _phase, at in attempt.phases[1:]), now)
    for (phase, since), until in zip(attempt.phases, ends, strict=False):
        worked = (until - since).total_seconds() - attempt.waited(since, until)
        seconds[phase] = seconds.get(phase, 0.0) + max(worked, 0.0)
    return seconds


@dataclass(frozen=True, slots=True)
class RailSize:
    """width: cells; brief: the steps of the installation only while it runs or where it failed,
    and no headings."""

    width: int
    brief: bool = False


def rail(followed: Followed, now: datetime, size: RailSize) -> Text:
    """The whole rail, of the attempt that is looked at."""
    text = Text(no_wrap=True)
    state, attempt, width = followed.state, followed.shown, size.width
    seconds = spent(attempt, now) if attempt else {}
    beside = bool(followed.usual) and width >= _TIMES_BESIDE
    phase_now, since = attempt.phases[-1] if attempt and attempt.phases else (Phase.PLANNED, now)
    until = since if phase_now in _OVER else now
    ended_in = _ended_in(phase_now, attempt)
    if state.waiting and attempt is state.attempt and ended_in is None:
        ended_in = phase_now  # it failed, and could go on
    usual, engine = followed.usual, engine_of(state).display_name
    if beside and not size.brief:
        _line(text, "Phase", _times("took", "usual"), width, "dim")
    for phase, title in _TITLES.items():
        mark = _mark(phase, phase_now, seconds, ended_in)
        if phase is Phase.SERVING and mark == NOW:
            mark = DONE
        took = clock_time(seconds[phase]) if phase in seconds else ""
        guess = f"~{clock_time(usual[phase])}" if phase in usual else ""
        if phase is Phase.SERVING:
            left = _left(usual, seconds, phase_now) if ended_in is None else None
            guess = "" if left is None else f"~{clock_time(left)}"
            took = took if left is None else "in" if beside else guess
        times = _times(took, guess) if beside else took
        _whole(text, f"{mark} ", title.format(engine=engine), times, width, _STYLES[mark])
        told = not size.brief or phase in (phase_now, ended_in)
        if phase is Phase.INSTALLING and attempt is not None and phase in seconds and told:
            for step in attempt.steps:
                _step(text, step, until, width)
    if attempt is not None and not (size.brief and phase_now is Phase.SERVING):
        _parts(text, attempt, size)
    if attempt is state.attempt:
        _gpu(text, followed.samples, size)
    _money(text, followed, now, size)
    for title, aside in (("Excluded", False), ("Set aside", True)):
        providers = [x for x in state.exclusions if x.kind == "provider" and x.aside is aside]
        if providers:
            _heading(text, title, size)
        for each in providers[-4:]:
            words = title.lower() if size.brief else ""
            _line(text, f"{SKIPPED} {plain(each.key, 40)}", words, width, "dim")
    return text


def _times(took: str, usual: str) -> str:
    return f"{took:>6} {usual:>6}"


def _left(
    usual: Mapping[Phase, float], seconds: dict[Phase, float], phase_now: Phase
) -> float | None:
    """Seconds until it serves, as far as that can be told."""
    order = [phase for phase in _TITLES if phase is not Phase.SERVING]
    if phase_now not in order:
        return None
    to_come = order[order.index(phase_now) :]
    if any(phase not in usual for phase in to_come):
        return None
    first = max(usual[phase_now] - seconds.get(phase_now, 0.0), 0.0)
    return first + sum(usual[phase] for phase in to_come[1:])


def _heading(text: Text, words: str, size: RailSize) -> None:
    if not size.brief:
        text.append(f"\n{words}\n", "bold")


def _parts(text: Text, attempt: AttemptState, size: RailSize) -> None:
    """A bar for each part of the work that was counted."""
    if not attempt.parts:
        return
    _heading(text, "Progress", size)
    for name, share in attempt.parts[-2 if size.brief else -6 :]:
        full, empty = bar(share, size.width - 16)
        text.append(f"{plain(name, 10):10}", "")
        text.append(full, "bold")
        text.append(empty, "dim")
        text.append(f" {share:>4.0%}\n")


def _gpu(text: Text, samples: RecentSamples, size: RailSize) -> None:
    """What the GPUs did in the last minutes, and do now."""
    load = samples.gpu
    if load is None:
        return
    _heading(text, "Machine", size)
    rows = []
    if load.percent is not None:
        rows.append(("GPU", samples.percent, f"{load.percent}%"))
    if load.used_mib is not None and load.total_mib:
        used, total = load.used_mib / 1024, load.total_mib / 1024
        rows.append(("VRAM", samples.memory, f"{used:.1f}/{total:.0f} GiB"))
    for name, series, words in rows:
        width = size.width - 5 - 13
        text.append(f"{name:5}")
        text.append(sparkline(series, width, top=1.0), "cyan")
        text.append(f" {words:>12}\n")


def _money(text: Text, followed: Followed, now: datetime, size: RailSize) -> None:
    """What was spent on the attempt that is looked at, and on all."""
    state, attempt = followed.state, followed.shown
    if attempt is None or attempt.price_per_hour <= 0:
        return
    if not size.brief:
        text.append("\n")
    clock = now if state.billing in BILLS else followed.clock(now)
    cost = dollars(attempt.cost(clock))
    _line(text, f"Cost of attempt {attempt.number}", cost, size.width, "")
    if len(state.attempts) > 1:
        _line(text, "Cost of all", dollars(state.cost(clock)), size.width, "")


def _ended_in(phase_now: Phase, attempt: AttemptState | None) -> Phase | None:
    """The phase in which the attempt failed or was cancelled."""
    if attempt is None or phase_now not in _OVER:
        return None
    if attempt.failure is not None:
        return attempt.failure.phase
    passed = [phase for phase, _at in attempt.phases if phase in _TITLES]
    return passed[-1] if passed else None


def _mark(
    phase: Phase, phase_now: Phase, seconds: dict[Phase, float], ended_in: Phase | None
) -> str:
    if phase is ended_in:
        return FAILED
    if phase is phase_now:
        return NOW
    if phase in seconds:
        return DONE
    order = list(_TITLES)
    reached = [order.index(p) for p in seconds if p in _TITLES]
    return SKIPPED if reached and order.index(phase) < max(reached) else TO_COME


def _line(text: Text, left: str, right: str, width: int, style: str) -> None:
    """left: cut where it is too long."""
    cells = width - len(right) - 1
    name = Text(left)
    name.truncate(cells, overflow="ellipsis", pad=True)
    text.append(f"{name.plain} {right}\n", style)


def _whole(text: Text, mark: str, words: str, right: str, width: int, style: str) -> None:
    """words: on more lines where they are too long for one, `right` beside the first."""
    first, *more = _lines(words, width - cell_len(mark) - len(right) - 1, width - cell_len(mark))
    _line(text, mark + first, right, width, style)
    for each in more:
        line = Text(" " * cell_len(mark) + each)
        line.truncate(width, overflow="ellipsis")
        text.append(f"{line.plain}\n", style)


def _lines(words: str, first: int, rest: int) -> Iterator[str]:
    """Broken at spaces, so that the first line has so many cells at most, and each other one."""
    line, told = "", 1
    for word in words.split(" "):
        joined = f"{line} {word}" if line else word
        if line and told < _LINES and cell_len(joined) > (first if told == 1 else rest):
            yield line
            line, told = word, told + 1
        else:
            line = joined
    yield line


def _step(text: Text, step: StepState, now: datetime, width: int) -> None:
    mark = _STEP_MARKS.get(step.outcome, NOW)
    seconds = step.seconds if step.outcome else (now - step.started_at).total_seconds()
    time = "" if step.outcome == "skipped" else clock_time(seconds)
    _whole(text, f"  {mark} ", plain(step.title, 60), time, width, _STYLES[mark])
