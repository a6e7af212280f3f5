"""A deployment told line by line, for a terminal or a log file. Pure: events in, lines out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from gdl.cli.tables import benchmark_figures, table
from gdl.domain import events as ev
from gdl.domain.clock import day_and_time
from gdl.domain.deployment import DeploymentState
from gdl.domain.events import Recorded
from gdl.domain.health import CheckStatus, degraded
from gdl.domain.money import dollars, hourly
from gdl.domain.phase import Phase
from gdl.domain.session_price import SessionPrice
from gdl.domain.summary import AttemptSummary
from gdl.presentation.durations import clock_time, duration
from gdl.presentation.endings import outcome_words
from gdl.presentation.hardware import host, machine
from gdl.presentation.lines import plain
from gdl.presentation.money import charge
from gdl.presentation.session_price import explained
from gdl.presentation.words import plural

_PROGRESS_EVERY_S = 10.0
_RELEASING_EVERY_S = 3.5
"""While a machine is being released, which costs money."""
_INDENT = 12
"""Columns of the time before each line, and of the blanks behind it."""
_SPARE = ("REACHED", "PROVIDER", "PRICE")
_LEVELS = {"warning": "warning: ", "error": "error: "}


class Narrator:
    """Turns events into lines. Feed it every event with the state after it, in order.

    colour: dim the machine's own output, set headings bold. Without it no escape is written.
    columns: of the terminal, for the table at the end; None: it may be as wide as it is.
    """

    def __init__(self, *, colour: bool = False, columns: int | None = None) -> None:
        self._colour = colour
        self._columns = None if columns is None else columns - _INDENT
        self._progress = ""
        self._progress_at: datetime | None = None

    def lines(self, recorded: Recorded, state: DeploymentState) -> Iterator[str]:
        """The lines for one event; none for those that say nothing new."""
        event, at = recorded.event, recorded.at
        if isinstance(event, ev.LogLines):
            yield from self._log(event)
            return
        if isinstance(event, ev.Progressed | ev.BenchProgressed):
            text = _progress(event)
            if self._repeats(text, at):
                return
            yield self._stamp(at, state) + f"  {text}"
            return
        for text in self._told(recorded, state):
            yield self._stamp(at, state) + text if text else ""

    def still(self, state: DeploymentState, now: datetime) -> str:
        """The line that breaks a long silence."""
        waiting = f": {plain(state.progress.text, 160)}" if state.progress else ""
        spent = state.cost(now)
        cost = f", {dollars(spent)} so far" if spent else ""
        return self._stamp(now, state) + f"  still {state.phase.value}{waiting}{cost}"

    def _stamp(self, at: datetime, state: DeploymentState) -> str:
        since = (at - state.started_at).total_seconds() if state.started_at else 0.0
        return self._dim(f"[{clock_time(since):>7}] ")

    def _dim(self, text: str) -> str:
        return f"\x1b[2m{text}\x1b[0m" if self._colour else text

    def _bold(self, text: str) -> str:
        return f"\x1b[1m{text}\x1b[0m" if self._colour else text

    def _repeats(self, text: str, at: datetime) -> bool:
        """Whether only figures changed since the last such line, and that was just now."""
        often = _RELEASING_EVERY_S if text.startswith("releasing ") else _PROGRESS_EVERY_S
        shape = re.sub(r"\d[\d.,:]*", "#", text)
        if (
            shape == self._progress
            and self._progress_at is not None
            and (at - self._progress_at).total_seconds() < often
        ):
            return True
        self._progress, self._progress_at = shape, at
        return False

    def _log(self, event: ev.LogLines) -> Iterator[str]:
        if event.dropped:
            yield self._dim(f"  {event.source:>7} | … {event.dropped} lines dropped …")
        for line in event.lines:
            yield self._dim(f"  {plain(event.source, 20):>7} | {plain(line, 500)}")

    def _told(self, recorded: Recorded, state: DeploymentState) -> Iterator[str]:
        event = recorded.event
        match event:
            case ev.DeploymentPlanned():
                yield from _planned(event)
            case ev.OffersRanked():
                reasons = f" ({plain(', '.join(event.reasons), 300)})" if event.reasons else ""
                suitable = plural(event.suitable, "suitable offer")
                yield f"{suitable}, {event.excluded} excluded{reasons}"
            case ev.AttemptStarted():
                yield self._bold(f"attempt {event.attempt}: {_offered(event)}")
                if event.expected is not None:
                    yield from _expected(event.expected)
            case ev.PhaseChanged():
                self._progress = ""
                if event.phase is Phase.STOPPING:
                    # What a machine takes to end is no reason to wait for the news.
                    yield from _result(state, recorded.at)
                detail = f"  {plain(event.detail, 200)}" if event.detail else ""
                yield self._bold(event.phase.value) + detail
            case ev.SessionRented():
                ends = f", until {day_and_time(event.expires_at)}" if event.expires_at else ""
                yield f"  session {plain(event.session_id, 80)}{ends}"
            case ev.SessionExtended():
                ends = f" until {day_and_time(event.expires_at)}" if event.expires_at else ""
                yield f"  session {plain(event.session_id, 80)} is reserved for longer{ends}"
            case ev.BillingChanged():
                detail = f" ({plain(event.detail, 200)})" if event.detail else ""
                yield f"  billing: {event.billing.value}{detail}"
            case ev.DeploymentFinished():
                yield from _finished(event, state, recorded.at, self._columns)
            case _:
                yield from _told_on_machine(event)


def _planned(event: ev.DeploymentPlanned) -> Iterator[str]:
    need = f", needs {event.needed_vram_gb:.1f} GB VRAM" if event.needed_vram_gb else ""
    yield (
        f"deploying {plain(event.spec.model, 120)} ({plain(event.model_id, 120)}) "
        f"with backend {event.spec.backend}{need}"
    )


def _offered(event: ev.AttemptStarted) -> str:
    place = f", {plain(event.location, 60)}" if event.location else ""
    return (
        f"{machine(event, event.vram_gb)} "
        f"from {plain(event.provider, 40)}{place}, {hourly(event.price_per_hour)} "
        f"[{plain(event.offer_id, 80)}]"
    )


def _expected(price: SessionPrice) -> Iterator[str]:
    yield f"  the session: about {dollars(price.total)}"
    yield from (f"    {line}" for line in explained(price))


def _progress(event: ev.Progressed | ev.BenchProgressed) -> str:
    if isinstance(event, ev.BenchProgressed):
        return (
            f"benchmark: {event.done}/{event.total} requests, "
            f"{event.output_tokens_per_s:.1f} tokens/s"
        )
    told = event.fraction is None or re.search(r"\d ?%", event.text)
    share = "" if told else f"  {event.fraction:.0%}"
    return plain(event.text, 200) + share


def _told_on_machine(event: ev.Event) -> Iterator[str]:
    match event:
        case ev.SessionCharged():
            charged = charge(event.charged, final=event.final)
            session = f"session {plain(event.session_id, 80)}"
            expected = f"{dollars(event.expected)} expected"
            yield f"  the market charged {charged} for {session}, {expected}"
        case ev.HostInspected():
            yield f"  machine: {host(event.facts)}"
        case ev.StepStarted():
            yield f"  step {event.index}/{event.total}: {plain(event.title, 120)}"
        case ev.StepFinished():
            detail = f" ({plain(event.detail, 200)})" if event.detail else ""
            name = plain(event.name, 40)
            yield f"  step {name}: {plain(event.outcome)} in {duration(event.seconds)}{detail}"
        case ev.ServerPlanned():
            on = plain(event.capabilities.words, 120)
            yield from (f"  the server is started with {on}",) if on else ()
            yield from (f"  {plain(reason, 300)}" for reason in event.omitted)
        case ev.TunnelOpened():
            way = {"forward": "SSH port forwarding", "ssh-curl": "curl over SSH"}
            by = " by this computer's ssh" if event.by == "openssh" else ""
            said = way.get(event.mode, plain(event.mode))
            yield f"  endpoint {plain(event.endpoint)} ({said}{by})"
        case ev.Checked(check=check):
            took = "" if check.latency_ms is None else f" in {check.latency_ms:.0f} ms"
            word = "ok" if check.status is CheckStatus.PASSED else check.status.value
            yield f"  check {plain(check.name, 20)}: {word}{took}  {plain(check.detail, 300)}"
        case ev.HealthChanged():
            why = f": {plain(event.reason, 300)}" if event.reason else " again"
            yield f"  the endpoint is {event.condition.value}{why}"
        case ev.QualityAnswered():
            yield from _answer(event)
        case ev.BenchFinished():
            yield "  benchmark"
            yield from (f"    {line}" for line in benchmark_figures(event.report))
        case ev.Diagnosed():
            yield f"  cause: {plain(event.cause, 400)}"
            yield f"  remedy: {plain(event.remedy, 400)}"
            yield from (f"    > {plain(line, 300)}" for line in event.evidence[:10])
        case ev.RemedyApplied():
            yield f"  applying the fix: {plain(event.text, 300)}"
        case ev.AttemptFailed():
            yield (
                f"attempt {event.attempt} failed while {event.phase.value}: "
                f"{plain(event.message, 400)}"
            )
            if event.hint:
                yield f"  {plain(event.hint, 400)}"
        case ev.ExclusionSet(aside=True):
            yield f"  {plain(event.reason, 200)}; others are tried first"
        case ev.ExclusionSet():
            until = f" until {day_and_time(event.until)}" if event.until else ""
            yield f"  excluded{until}: {event.kind} {plain(event.key, 80)}"
        case ev.ExclusionLifted():
            if not event.reason:
                yield f"  included again: {event.kind} {plain(event.key, 80)}"
        case ev.Noted():
            yield f"  {_LEVELS.get(event.level, '')}{plain(event.text, 600)}"


def _answer(event: ev.QualityAnswered) -> Iterator[str]:
    answer = event.answer
    yield f"  Q: {plain(answer.prompt, 300)}"
    if answer.error:
        yield f"  A: (no answer: {plain(answer.error, 300)})"
        return
    speed = "" if answer.tokens_per_s is None else f", {answer.tokens_per_s:.1f} tokens/s"
    first = "" if answer.ttft_ms is None else f", first token after {answer.ttft_ms:.0f} ms"
    verdict = "right" if answer.passed else f"expected {' or '.join(answer.expected)}"
    yield f"  A: {plain(answer.answer, 600)}"
    yield f"     ({plain(verdict, 120)}{first}{speed})"


def _result(state: DeploymentState, now: datetime) -> Iterator[str]:
    """What came of it, where it has served."""
    checks = list(state.checks.values())
    if not checks:
        return
    passed = sum(check.status is CheckStatus.PASSED for check in checks)
    spent = f", {dollars(cost)} so far" if (cost := state.cost(now)) else ""
    failing = f", degraded: {plain(', '.join(names), 200)}" if (names := degraded(checks)) else ""
    yield f"result: {plain(state.served_name, 120)} served, {passed} checks passed{failing}{spent}"


def _attempt_cells(attempt: AttemptSummary, charged: bool) -> tuple[str | int, ...]:
    """charged: what the market charged is told of some."""
    said = "" if attempt.charged is None else dollars(attempt.charged)
    return (
        attempt.number,
        machine(attempt),
        attempt.provider,
        hourly(attempt.price_per_hour),
        attempt.phase_reached,
        attempt.ended,
        clock_time(attempt.seconds),
        dollars(attempt.cost),
        *((said,) if charged else ()),
        attempt.reason,
    )


def _finished(
    event: ev.DeploymentFinished, state: DeploymentState, now: datetime, columns: int | None
) -> Iterator[str]:
    if event.attempts:
        yield "attempts"
        told = any(a.charged is not None for a in event.attempts)
        rows = [_attempt_cells(a, told) for a in event.attempts]
        headings = (
            ">#",
            "MACHINE",
            "PROVIDER",
            ">PRICE",
            "REACHED",
            "ENDED",
            ">TIME",
            ">COST",
            *((">CHARGED",) if told else ()),
            "REASON",
        )
        yield from (f"  {line}" for line in table(headings, rows, columns, _SPARE))
    spent = sum(a.cost for a in event.attempts) or state.cost(now)
    billing = f"billing {event.billing.value}, {dollars(spent)}"
    ended = outcome_words(event.outcome, event.billing)
    yield f"{ended}: {plain(event.model, 120)}, {billing}"
    if spent:
        yield (
            "  by our own clock, for the time it was rented; a plan's price covers all of its"
            " hours, including the set-up"
        )
