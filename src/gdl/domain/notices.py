"""What somebody who is away is told of a deployment: of which events, and in what words."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import dollars, hourly
from gdl.domain.phase import Billing, Phase
from gdl.domain.text import one_line

_NAME, _TEXT = 120, 400
"""Characters of a name and of a sentence from elsewhere."""


class NoticeKind(StrEnum):
    """The values are sent to webhooks."""

    SERVING = "serving"
    FAILED = "failed"
    ABOUT_TO_STOP = "about_to_stop"
    STOPPED = "stopped"
    PRICE_RISE = "price_rise"
    BALANCE_LOW = "balance_low"


@dataclass(frozen=True, slots=True)
class Notice:
    """id: the same whenever this notice is sent. text: what happened, in a sentence or two.
    cost: dollars so far. ends_at: when the machine will be stopped, or the price rises. balance:
    dollars that the account has left. None: not known, or nothing to do with it."""

    id: str
    kind: NoticeKind
    at: datetime
    text: str
    deployment_id: str
    model: str
    provider: str = ""
    gpu: str = ""
    gpu_count: int = 0
    session_id: str | None = None
    price_per_hour: float | None = None
    cost: float | None = None
    billing: str = ""
    ends_at: datetime | None = None
    new_price_per_hour: float | None = None
    balance: float | None = None

    @property
    def title(self) -> str:
        """ "qwen3-8b: about to stop"."""
        return f"{self.model}: {self.kind.value.replace('_', ' ')}"


def notice_of(state: DeploymentState, recorded: ev.Recorded) -> Notice | None:
    """What is to be told of an event; None for most. state: after it."""
    event = recorded.event
    match event:
        case ev.PhaseChanged(phase=Phase.SERVING):
            return _notice(state, recorded, NoticeKind.SERVING, _serves(state))
        case ev.ChoiceAwaited():
            failed = state.attempt.failure if state.attempt is not None else None
            why = f"{failed.message}; " if failed is not None else ""
            return _notice(state, recorded, NoticeKind.FAILED, f"{why}it waits for your choice")
        case ev.StopAnnounced(ends_at=ends, reason=reason):
            return _notice(state, recorded, NoticeKind.ABOUT_TO_STOP, reason, ends_at=ends)
        case ev.PriceRaised():
            old, new = event.price_per_hour, event.new_price_per_hour
            return _notice(
                state,
                recorded,
                NoticeKind.PRICE_RISE,
                f"its host asks for {hourly(new)} instead of {hourly(old)}; nothing was agreed to",
                ends_at=event.begins_at,
                new_price=new,
            )
        case ev.BalanceLow(backend=backend, credit=credit):
            text = f"{backend} has {dollars(credit)} left"
            if event.lasts_s is not None:
                text += f", for {event.lasts_s / 60:.0f} minutes at what is rented"
            return _notice(state, recorded, NoticeKind.BALANCE_LOW, text, balance=credit)
        case ev.DeploymentFinished():
            return _end(state, recorded, event)
        case _:
            return None


def _serves(state: DeploymentState) -> str:
    attempt = state.attempt
    if attempt is None or not attempt.gpu_name:
        return "it serves"
    price = f" at {hourly(attempt.price_per_hour)}" if attempt.price_per_hour else ""
    return f"it serves on {max(attempt.gpu_count, 1)}x {attempt.gpu_name}{price}"


def _end(
    state: DeploymentState, recorded: ev.Recorded, event: ev.DeploymentFinished
) -> Notice | None:
    if event.outcome == "serving":
        return None  # kept on purpose, by somebody who is there
    failed = event.outcome == "failed"
    if not failed and event.session_id is None:
        return None
    over = "released" if event.billing is Billing.RELEASED else "ended"
    how = over if event.outcome == "released" else event.outcome
    words = event.error or ("it failed" if failed else f"it was {how}")
    if event.billing is Billing.UNKNOWN:
        words += "; a machine may still be billing"
    elif event.billing is Billing.ACTIVE:
        words += "; the machine keeps billing"
    kind = NoticeKind.FAILED if failed else NoticeKind.STOPPED
    return _notice(state, recorded, kind, words)


def _notice(
    state: DeploymentState,
    recorded: ev.Recorded,
    kind: NoticeKind,
    text: str,
    *,
    ends_at: datetime | None = None,
    new_price: float | None = None,
    balance: float | None = None,
) -> Notice:
    attempt = state.attempt
    rented = attempt is not None and attempt.rented_at is not None
    return Notice(
        id=f"{recorded.deployment_id}-{recorded.seq}",
        kind=kind,
        at=recorded.at,
        text=one_line(text, _TEXT),
        deployment_id=recorded.deployment_id,
        model=one_line(state.served_name, _NAME),
        provider=one_line(attempt.provider, _NAME) if attempt else "",
        gpu=one_line(attempt.gpu_name, _NAME) if attempt else "",
        gpu_count=attempt.gpu_count if attempt else 0,
        session_id=attempt.session_id if attempt else None,
        price_per_hour=attempt.price_per_hour if attempt and rented else None,
        cost=round(state.cost(recorded.at), 6),
        billing=str(state.billing),
        ends_at=ends_at,
        new_price_per_hour=new_price,
        balance=balance,
    )
