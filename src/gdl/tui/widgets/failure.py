"""Why an attempt failed: what happened, the likely cause, what helps, the keys, the evidence."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.cells import cell_len
from rich.text import Text

from gdl.domain import events as ev
from gdl.domain.attempt_state import AttemptState
from gdl.domain.decisions import AfterFailure
from gdl.domain.deployment import DeploymentState
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.phase import Billing, Phase
from gdl.presentation.endings import ENDED, money_words
from gdl.presentation.hardware import gpus
from gdl.presentation.lines import plain, plain_line
from gdl.tui.engine_words import engine_of
from gdl.tui.store import Followed
from gdl.tui.widgets.phase_rail import phase_words

_ELSEWHERE = frozenset({AfterFailure.RETRY, AfterFailure.NEXT, AfterFailure.EXCLUDE})
"""What is chosen for after this machine's end, and not on it."""
_COPIED_LINES = 200
"""Of the end of each log, in what is copied."""


@dataclass(frozen=True, slots=True)
class PanelSize:
    """What fits into the panel: cells a line, and lines of evidence."""

    width: int
    evidence: int


def failure(followed: Followed, panel: PanelSize) -> Text:
    """Of the latest attempt, with what can be done now."""
    state = followed.state
    text = _why(state, state.attempt)
    text.append(f"\n{_after(followed, panel.width - 1)}", "bold")
    going = state.finished is not None and state.billing not in ENDED
    if going or state.billing is Billing.UNKNOWN:
        money = money_words(state.billing)
        text.append(f"\n! {money[:1].upper()}{money[1:]}: see 4 Sessions.", "bold red")
    _evidence(text, state, state.attempt, panel)
    return text


def past_failure(followed: Followed, attempt: AttemptState, panel: PanelSize) -> Text:
    """Of an earlier attempt, that is only looked at."""
    state = followed.state
    if attempt.failure is None and attempt.diagnosis is None:
        text = Text(f"– Attempt {attempt.number} ended without a failure.", "bold")
    else:
        text = _why(state, attempt)
    latest = state.attempts[-1].number
    earlier = "   , an earlier one" if attempt is not state.attempts[0] else ""
    text.append(f"\nAttempt {attempt.number} of {latest}   . a later one{earlier}", "bold")
    text.append("   y copies all of this", "bold")
    _evidence(text, state, attempt, panel)
    return text


def _why(state: DeploymentState, attempt: AttemptState | None) -> Text:
    latest = attempt is state.attempt
    finished = state.finished if latest else None
    failed = attempt.failure if attempt else None
    diagnosis = attempt.diagnosis if attempt else None
    text = Text()
    if attempt is None and state.stuck:
        text = Text("! Nothing is rented yet: ", "bold yellow")
        text.append(plain(state.stuck, 400))
        return text
    what = failed.message if failed else (finished.error if finished else None) or "it failed"
    phase = failed.phase if failed else state.phase
    where = f" while {phase_words(phase, state)}" if phase is not Phase.FAILED else ""
    if latest and state.held:
        still = "rented" if state.billing is Billing.ACTIVE else "there"
        what = f"the machine is still {still}, and can be used"
    text.append(f"✗ Failed{where}: ", "bold red")
    text.append(plain(what, 300))
    if diagnosis is not None:
        _labelled(text, "Cause", diagnosis.cause)
    remedy = (diagnosis.remedy if diagnosis else "") or (failed.hint if failed else "")
    remedy = remedy or (finished.hint if finished else "") or ""
    if remedy:
        _labelled(text, "Remedy", remedy)
    if latest and state.stuck:
        _labelled(text, "No offer", state.stuck)
    return text


def _evidence(
    text: Text, state: DeploymentState, attempt: AttemptState | None, panel: PanelSize
) -> None:
    """The lines that show it, a row each; the last ones, when not all fit."""
    lines = attempt.diagnosis.evidence if attempt and attempt.diagnosis else ()
    prefix = f"^(?:{engine_of(state).log_prefix})"
    for number, line in enumerate(lines[-panel.evidence :]):
        text.append(f"\n{'Evidence' if number == 0 else '':9}", "bold")
        cells = max(panel.width - 9, 20)
        shown = Text(plain_line(line, 300))
        if shown.cell_len > cells:  # what is said counts more than who says it, and when
            shown = Text(re.sub(prefix, "", shown.plain, count=1))
        shown.truncate(cells, overflow="ellipsis")
        text.append(shown.plain, "dim")


def _labelled(text: Text, label: str, words: str) -> None:
    text.append(f"\n{label:9}", "bold")
    text.append(plain(words, 400))


def _after(followed: Followed, width: int) -> str:
    """The keys that help, as many to a line as fit into that many cells; a fix has its own."""
    state = followed.state
    if state.waiting:
        provider = plain(state.attempt.provider, 20) if state.attempt else "the provider"
        here = " here" if state.held else ""
        costs = state.attempt is not None and state.attempt.price_per_hour > 0
        keys = [
            f"m change context, arguments, token or weights, and retry{here}",
            f"r {'rent the same offer again' if costs else 'start over on this machine'}",
            "n next offer",
            f"x next offer, not from {provider}",
        ]
        if out := excluded_providers(state):
            keys.append(f"u includes {', '.join(plain(name, 20) for name in out)}")
        keys.append(f"a automatic failover (now {'on' if state.auto_failover else 'off'})")
        keys.append("y copies all of this")
        fix = f"f {state.offered.words}\n" if state.offered is not None else ""
        return fix + _filled(keys, width)
    if state.finished is None:
        return _what_follows(followed)
    return "r retry   m change and retry   1 choose another offer   y copies all of this"


def _what_follows(followed: Followed) -> str:
    """While the machine of an attempt that has failed is being released."""
    state, spec = followed.state, followed.state.spec
    made = (r.event for r in reversed(followed.events) if isinstance(r.event, ev.ChoiceMade))
    choice = next(made, None)
    number = state.attempt.number if state.attempt is not None else 0
    if choice is not None and choice.attempt == number and choice.choice in _ELSEWHERE:
        return "It goes on as you chose, once this machine is released."
    most = spec.max_attempts if spec is not None else 1
    if state.auto_failover and _tried_since_a_choice(state) < most:
        return "The next offer is tried automatically if one can help; a turns that off."
    asks = spec is None or spec.ask_on_failure
    return f"It {'waits for your choice' if asks else 'ends'}, once this machine is released."


def _tried_since_a_choice(state: DeploymentState) -> int:
    """Machines, as the limit counts them: it begins anew whenever its user has chosen."""
    tried = 0
    for attempt in state.attempts:
        tried += not attempt.had_no_machine
        if attempt.waits and attempt is not state.attempt:
            tried = 0
    return tried


def _filled(words: Sequence[str], width: int) -> str:
    """Lines of whole words, three cells between them; a longer one has a line of its own."""
    lines: list[str] = []
    for each in words:
        if lines and cell_len(lines[-1]) + 3 + cell_len(each) <= width:
            lines[-1] += f"   {each}"
        else:
            lines.append(each)
    return "\n".join(lines)


def excluded_providers(state: DeploymentState) -> tuple[str, ...]:
    """The providers excluded from this deployment, the latest first."""
    return tuple(x.key for x in reversed(state.exclusions) if x.kind == "provider")


def failure_report(followed: Followed) -> str:
    """All that is known of the failure, as text to paste: words, evidence, and the logs' ends."""
    attempt = followed.shown
    if attempt is None:
        return ""
    parts = [_why(followed.state, attempt).plain]
    parts.append(f"Attempt  {attempt.number}: {gpus(attempt)} from {plain(attempt.provider, 200)}")
    if attempt.diagnosis is not None and attempt.diagnosis.evidence:
        shown = (plain_line(line, 2000) for line in attempt.diagnosis.evidence)
        parts.append("\n".join(("Evidence:", *shown)))
    engine_log = engine_of(followed.state).log_title
    for name, ring in (("installation", followed.install), (engine_log, followed.engine)):
        if ring.total:
            lines = ring.since(ring.total - _COPIED_LINES)
            parts.append("\n".join((f"The end of the log ({name}):", *lines)))
    return "\n\n".join(parts)
