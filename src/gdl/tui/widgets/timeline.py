"""A deployment told line by line, with the time of each."""

from __future__ import annotations

from rich.text import Text

from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState
from gdl.domain.events import Recorded
from gdl.domain.health import Condition
from gdl.domain.money import dollars
from gdl.presentation.durations import clock_time
from gdl.presentation.hardware import machine
from gdl.presentation.lines import plain
from gdl.presentation.money import charge, price
from gdl.presentation.words import sentence
from gdl.tui.store import Followed
from gdl.tui.widgets.phase_rail import phase_words


def timeline(followed: Followed) -> Text:
    """Every event that is worth a line; times since the start."""
    text = Text()
    start = followed.state.started_at
    for recorded in followed.events:
        line, style = event_line(recorded, followed.state)
        if line:
            since = (recorded.at - start).total_seconds() if start else 0.0
            text.append(f"{clock_time(since):>7}  ", "dim")
            text.append(plain(line, 500) + "\n", style)
    return text if text.plain else Text("Nothing has happened yet.")


def event_line(recorded: Recorded, state: DeploymentState) -> tuple[str, str]:
    """(line, style) of an event; an empty line when it is told elsewhere."""
    match recorded.event:
        case ev.DeploymentPlanned() as event:
            return f"Planned {event.model_id}", ""
        case ev.OffersRanked() as event:
            return f"{event.suitable} suitable, {event.excluded} excluded", ""
        case ev.AttemptStarted() as event:
            whole = event.expected
            about = f", about {dollars(whole.total)} in all" if whole is not None else ""
            return f"Attempt {event.attempt}: {machine(event)} from {event.provider}, " + (
                f"{price(event.price_per_hour)}{about}, offer {event.offer_id}"
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
            return f"{event.name}: {event.outcome} in {took} {event.detail}".rstrip(), ""
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
            return f"Cause: {event.cause} Remedy: {event.remedy}", ""
        case ev.RemedyApplied() as event:
            return f"Applying the fix: {event.text}", "bold"
        case ev.AttemptFailed() as event:
            return f"✗ Failed: {event.message} {event.hint}".rstrip(), "red"
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
