"""A deployment told line by line, with the time of each."""

from __future__ import annotations

import textwrap

from rich.cells import cell_len
from rich.text import Text

from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState
from gdl.domain.events import Recorded
from gdl.domain.health import Condition
from gdl.domain.money import dollars, hourly
from gdl.presentation.durations import clock_time
from gdl.presentation.hardware import gpus
from gdl.presentation.lines import plain
from gdl.presentation.money import charge
from gdl.presentation.words import plural, sentence
from gdl.tui.store import Followed
from gdl.tui.widgets.live_text import LiveText
from gdl.tui.widgets.phase_rail import phase_words

_BEFORE = 9
"""Cells of the time and the blanks after it."""


class Timeline(LiveText):
    """Of a deployment; told again where the width is another."""

    _shown: Followed | None = None

    def show(self, followed: Followed) -> None:
        self._shown = followed
        self.say(timeline(followed, self.size.width))

    def on_resize(self) -> None:
        if self._shown is not None:
            self.show(self._shown)


def timeline(followed: Followed, width: int) -> Text:
    """Every event that is worth a line; times since the start. width: cells; what goes on in the
    next line stands below what it goes on from. 0 where it is not known yet."""
    text = Text()
    start = followed.state.started_at
    wide = width - _BEFORE if width > 2 * _BEFORE else 0
    for recorded in followed.events:
        line, style = event_line(recorded, followed.state)
        if line:
            since = (recorded.at - start).total_seconds() if start else 0.0
            text.append(f"{clock_time(since):>{_BEFORE - 2}}  ", "dim")
            text.append(_below(plain(line, 500), wide) + "\n", style)
    return text if text.plain else Text("Nothing has happened yet.")


def _below(line: str, wide: int) -> str:
    if not wide or cell_len(line) <= wide:
        return line
    return f"\n{' ' * _BEFORE}".join(textwrap.wrap(line, wide, break_on_hyphens=False))


def _step_title(event: ev.StepFinished, state: DeploymentState) -> str:
    """As it is told while it goes on."""
    steps = (s for a in state.attempts if a.number == event.attempt for s in a.steps)
    return next((step.title for step in steps if step.name == event.name), event.name)


def event_line(recorded: Recorded, state: DeploymentState) -> tuple[str, str]:
    """(line, style) of an event; an empty line when it is told elsewhere."""
    match recorded.event:
        case ev.DeploymentPlanned() as event:
            return f"Planned {event.model_id}", ""
        case ev.OffersRanked() as event:
            return f"{plural(event.suitable, 'offer')} suitable, {event.excluded} excluded", ""
        case ev.AttemptStarted() as event:
            whole = event.expected
            about = f", about {dollars(whole.total)} in all" if whole is not None else ""
            return f"Attempt {event.attempt}: {gpus(event)} from {event.provider}, " + (
                f"{hourly(event.price_per_hour)}{about}, offer {event.offer_id}"
            ), "bold"
        case ev.PhaseChanged() as event:
            words = phase_words(event.phase, state) + (f": {event.detail}" if event.detail else "")
            return sentence(words), ""
        case ev.SessionRented() as event:
            return f"Rented: session {event.session_id}", ""
        case ev.SessionCharged() as event:
            charged = charge(event.charged, final=event.final)
            return f"Charged {charged}, {dollars(event.expected)} expected", ""
        case ev.SessionExtended() as event:
            return f"Reservation extended: session {event.session_id}", ""
        case ev.BillingChanged() as event:
            return f"Billing: {event.billing.value}", ""
        case ev.StepFinished() as event:
            took = clock_time(event.seconds)
            said = f"{sentence(_step_title(event, state))}: {event.outcome} in {took}"
            return said + (f": {event.detail}" if event.detail else ""), ""
        case ev.ServerPlanned() as event:
            on = (f"The server is started with {event.capabilities.words}",)
            told = (*(on if event.capabilities.words else ()), *event.omitted)
            return "; ".join(told), "yellow" if event.omitted else ""
        case ev.TunnelOpened() as event:
            by = f", {event.by}" if event.by else ""
            return f"Endpoint {event.endpoint} ({event.mode}{by})", ""
        case ev.HealthChanged(condition=condition, reason=reason):
            well = condition is Condition.HEALTHY
            words = "healthy again" if well else f"{condition.value}: {reason}"
            return f"The endpoint is {words}", "" if well else "yellow"
        case ev.Diagnosed() as event:
            remedy = f" Remedy: {event.remedy}" if event.remedy else ""
            return f"Cause: {event.cause}{remedy}", ""
        case ev.RemedyApplied() as event:
            return f"Applying the fix: {event.text}", "bold"
        case ev.AttemptFailed() as event:
            hint = f" · {sentence(event.hint)}" if event.hint else ""
            return f"✗ Failed: {event.message}{hint}", "red"
        case ev.ExclusionSet(aside=True) as event:
            return f"{event.reason}; others are tried first", ""
        case ev.ExclusionSet() as event:
            return f"Excluded: {event.kind} {event.key}", ""
        case ev.ExclusionLifted(reason="") as event:
            return f"Included again: {event.kind} {event.key}", ""
        case ev.Noted() as event:
            return event.text, {"warning": "yellow", "error": "red"}.get(event.level, "")
        case ev.DeploymentFinished() as event:
            return f"Finished: {event.outcome}", "bold"
        case _:
            return "", ""
