"""What a deployment is doing now, in a few lines: progress, endpoint, or why it failed."""

from __future__ import annotations

from datetime import datetime

from rich.cells import cell_len
from rich.text import Text

from gdl.domain.agent_settings import Served
from gdl.domain.client_snippets import Call
from gdl.domain.deployment import DeploymentState
from gdl.domain.health import Condition, degraded
from gdl.domain.money import hourly
from gdl.domain.phase import Billing, Phase
from gdl.presentation.durations import clock_time
from gdl.presentation.endings import money_words
from gdl.presentation.hardware import gpus
from gdl.presentation.lines import plain
from gdl.presentation.words import sentence
from gdl.tui.store import Followed
from gdl.tui.widgets.failure import PanelSize, failure, past_failure
from gdl.tui.widgets.meters import bar
from gdl.tui.widgets.phase_rail import phase_words
from gdl.tui.widgets.questions import measuring, verifying

_LEAST_NAMES = 24
"""Cells for the names of model and machine together, however narrow it is."""
_BAR, _LEAST_BAR = 20, 4
"""Cells of a progress bar; with fewer it says nothing."""
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


def headline(state: DeploymentState, now: datetime, width: int) -> Text:
    """Model, machine, attempt and time, in one line. width: cells; names are cut so that price and
    time have their place."""
    spec, attempt = state.spec, state.attempt
    where = of = ""
    if attempt is not None:
        where = f" ({plain(attempt.provider, 16)}, {hourly(attempt.price_per_hour)})"
        if spec is not None and spec.max_attempts > 1:
            stays = "" if state.auto_failover else ", manual"
            # Counted as the plan counts them: an offer that was gone is no machine.
            of = f" · machine {max(state.tried, 1)} of {spec.max_attempts}{stays}"
    if state.started_at is not None:
        of += f" · {clock_time((now - state.started_at).total_seconds())}"
    name = Text(plain(state.served_name or (spec.model if spec else "…"), 60), "bold")
    machine = Text(f" on {gpus(attempt)}" if attempt is not None else "")
    cells = max(width - cell_len(where + of), _LEAST_NAMES)
    machine.truncate(max(cells - name.cell_len, cells // 2), overflow="ellipsis")
    name.truncate(cells - machine.cell_len, overflow="ellipsis")
    parts = (name, machine, where, (of, "dim"))
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def status(
    followed: Followed, now: datetime, panel: PanelSize, *, moving: bool
) -> tuple[Text, str]:
    """(text, kind); kind: active | serving | failed | ended."""
    state, shown = followed.state, followed.shown
    if shown is not None and shown is not state.attempt:
        return past_failure(followed, shown, panel), "failed" if shown.failure else "ended"
    if followed.trouble:
        return _trouble(followed), "failed"
    if state.finished is not None and state.finished.outcome == "failed":
        return failure(followed, panel), "failed"
    if (state.phase is Phase.FAILED or state.waiting) and state.finished is None:
        return failure(followed, panel), "failed"
    if state.finished is not None:
        return _ended(followed), "ended"
    if state.phase is Phase.SERVING:
        return _serving(state), "serving"
    return _active(state, now, panel.width, moving=moving), "active"


def _active(state: DeploymentState, now: datetime, width: int, *, moving: bool) -> Text:
    """width: cells of a line, which the bar leaves to the words and the share."""
    frame = _FRAMES[int(now.timestamp() * 4) % len(_FRAMES)] if moving else "…"
    text = Text(f"{frame} ")
    progress = state.progress
    words = verifying(state) if state.phase is Phase.VERIFYING else phase_words(state.phase, state)
    text.append(plain(progress.text, 300) if progress else words)
    if progress is not None and progress.fraction is not None:
        share = min(max(progress.fraction, 0.0), 1.0)
        told = "" if "%" in progress.text else f" {share:.0%}"
        cells = min(width - text.cell_len - len("  ") - (len(" 100%") if told else 0), _BAR)
        if cells >= _LEAST_BAR:
            full, empty = bar(share, cells)
            text.append(f"  {full}", "bold")
            text.append(empty, "dim")
        text.append(told)
    return text


def _serving(state: DeploymentState) -> Text:
    text = Text()
    health = state.health
    if health is None or health.condition is Condition.HEALTHY:
        text.append("✓ Serving ", "bold green")
    else:
        why = f": {plain(health.reason, 200)}" if health.reason else ""
        text.append(f"! The endpoint is {health.condition.value}{why}\n", "bold yellow")
        text.append("  Serving ")
    text.append(plain(state.served_name, 60), "bold")
    text.append(" at ")
    text.append(base_url(state) or "an endpoint that is not known yet", "bold")
    if asks := measuring(state):
        text.append(f"\n… {asks}")
    if names := degraded(state.checks.values()):
        text.append(f"\n! Degraded: {', '.join(names)}; 3 shows what came back", "yellow")
    memory = state.attempt.memory if state.attempt is not None else None
    if memory is not None and memory.words:
        text.append(f"\n{sentence(plain(memory.words, 300))}", "dim")
    mode = state.tunnel.mode if state.tunnel else ""
    if mode == "ssh-curl":
        text.append(
            "\nThe machine allows no port forwarding: requests are run on it over SSH.", "dim"
        )
    if state.tunnel and state.tunnel.api_key_file:
        text.append("\nIts key is in ", "dim")
        text.append(plain(state.tunnel.api_key_file, 300), "dim")
    text.append("\nt chat   y copy the exports for your shell   c copy a curl command", "dim")
    return text


def base_url(state: DeploymentState) -> str | None:
    """The endpoint as OpenAI clients want it: ending in /v1."""
    if state.endpoint is None:
        return None
    url = plain(state.endpoint, 200).rstrip("/")
    return url if url.endswith("/v1") else f"{url}/v1"


def client_call(state: DeploymentState) -> Call | None:
    """How the endpoint is used from elsewhere; None while there is none."""
    url = base_url(state)
    if url is None:
        return None
    return Call(url, state.served_name, state.tunnel.api_key_file if state.tunnel else "")


def served_of(state: DeploymentState) -> Served:
    """What the server is known to do."""
    attempt = state.attempt
    if attempt is None:
        return Served()
    context = attempt.memory.context if attempt.memory is not None else 0
    return Served(context or None, attempt.server.capabilities if attempt.server else None)


def _trouble(followed: Followed) -> Text:
    text = Text()
    text.append("✗ This deployment can no longer be followed: ", "bold red")
    text.append(plain(followed.trouble, 300))
    text.append("\nr retry", "bold")
    return text


def _ended(followed: Followed) -> Text:
    state, finished = followed.state, followed.state.finished
    assert finished is not None
    text = Text()
    money = money_words(state.billing)
    money = f"{money[:1].upper()}{money[1:]}."
    if state.billing in (Billing.UNKNOWN, Billing.NONE):
        money = ""
    if finished.outcome == "serving" and state.billing is not Billing.RELEASED:
        if finished.reached:
            text.append("✓ Left serving. ", "bold green")
        else:
            text.append("– Left as it was, and not reached: it may not serve. ", "bold")
        text.append(f"{money} 4 Sessions to attach or destroy it.".strip())
    elif finished.outcome == "cancelled":
        text.append("– Cancelled. ", "bold")
        text.append("Nothing was rented." if state.billing is Billing.NONE else money)
    else:
        text.append("✓ Done. ", "bold green")
        text.append(money)
    if state.billing is Billing.UNKNOWN:
        text.append("\n! The machine may still be billing: see 4 Sessions.", "bold red")
    if finished.error and finished.outcome != "cancelled":
        text.append(f"\n{plain(finished.error, 300)}")
    measured = "   3 health and benchmark" if followed.checks else ""
    text.append(f"\nr retry   1 offers{measured}", "dim")
    return text
