"""The title of the terminal's window: what goes on, for who looks at another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdl.domain.health import Condition
from gdl.domain.money import hourly
from gdl.domain.phase import Phase
from gdl.presentation.endings import outcome_words
from gdl.presentation.lines import plain
from gdl.tui.widgets.phase_rail import phase_words

if TYPE_CHECKING:
    from datetime import datetime

    from gdl.tui.store import Followed, Store

NAME = "gdl-tui"


def window_title(store: Store, now: datetime) -> str:
    """ "gdl-tui – serving qwen3-8b, $0.210/h": the deployment in front, and what all that is rented
    costs."""
    told = []
    if (followed := store.followed) is not None:
        told.append(_state(followed))
    if bills := store.bills(now):
        per_hour = hourly(sum(bill.price_per_hour for bill in bills))
        if not all(bill.certain for bill in bills):
            told.append(f"may be billing {per_hour}")
        else:
            told.append(per_hour if followed is not None else f"billing {per_hour}")
    return f"{NAME} – {', '.join(told)}" if told else NAME


def _state(followed: Followed) -> str:
    state = followed.state
    spec = state.spec
    model = plain(state.served_name or (spec.model if spec else ""), 60)
    finished = state.finished
    if finished is not None and finished.outcome != "serving":
        return f"{outcome_words(finished.outcome, state.billing)}: {model}"
    if followed.failed:
        return f"failed: {model}"
    if finished is not None and not finished.reached:
        return f"left: {model}"
    if state.phase is Phase.SERVING or finished is not None:
        health = state.health if finished is None else None
        if health is not None and health.condition is not Condition.HEALTHY:
            return f"{health.condition.value}: {model}"
        return f"serving {model}"
    return f"{model}: {plain(phase_words(state.phase, state), 60)}"
