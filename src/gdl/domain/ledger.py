"""What happened to money, entry by entry: each request to rent, what came of it, each request to
end it, and what proves that it ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import for_time

_SIMULATED = "sandbox"


def is_simulated(backend: str) -> bool:
    """Whether its machines cost nothing, whatever their price: the sandbox, and those marketplaces
    that it stands in for ("sandbox-vastai")."""
    return backend.partition("-")[0] == _SIMULATED


class LedgerKind(StrEnum):
    """The values are journaled."""

    REQUESTED = "requested"
    """Asked for a machine; written before the request goes out."""
    RENTED = "rented"
    NOT_RENTED = "not_rented"
    """It is certain that the request made nothing."""
    RENT_UNCERTAIN = "rent_uncertain"
    """The request may have made a machine."""
    EXTENDED = "extended"
    TRAFFIC = "traffic"
    """The machine begins to fetch what it is to serve, which the marketplace charges by the GB."""
    RELEASE_REQUESTED = "release_requested"
    RELEASED = "released"
    """The end is proven."""
    RELEASE_UNCERTAIN = "release_uncertain"
    """The machine may still be billing."""


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """at: by this computer's clock. service_at: by the backend's, None where it does not tell.
    price: dollars an hour. evidence: what was seen, in a sentence; for what cannot be proven, what
    was tried. session_id: None while it is not known. traffic: dollars for what is fetched from
    then on."""

    at: datetime
    kind: LedgerKind
    backend: str
    deployment_id: str
    attempt: int
    intent_id: str
    session_id: str | None
    provider: str
    offer_id: str
    price: float
    evidence: str
    service_at: datetime | None = None
    traffic: float = 0.0


@dataclass(frozen=True, slots=True)
class LedgerAccount:
    """What the entries of one session, or of one request that led to none, come to.

    state: the last kind that tells how it stands. since, until: when it began and ended to cost, by
    this computer's clock. cost: dollars so far; None where nobody knows whether it costs.
    """

    entries: tuple[LedgerEntry, ...]
    session_id: str | None
    state: LedgerKind
    since: datetime | None
    until: datetime | None
    cost: float | None

    @property
    def simulated(self) -> bool:
        return is_simulated(self.entries[0].backend)

    @property
    def name(self) -> str:
        """For people."""
        return self.session_id or f"what {self.entries[0].deployment_id} asked for"

    @property
    def price(self) -> float:
        """Dollars an hour, as last told."""
        return _price(self.entries)

    @property
    def certain(self) -> bool:
        """Whether it is known how it stands: not rented, billing or released."""
        return self.state not in _UNCERTAIN


_UNCERTAIN = (
    LedgerKind.REQUESTED,
    LedgerKind.RENT_UNCERTAIN,
    LedgerKind.RELEASE_REQUESTED,
    LedgerKind.RELEASE_UNCERTAIN,
)


_BESIDE = (LedgerKind.EXTENDED, LedgerKind.TRAFFIC)
"""What says nothing of how a machine stands."""


def accounts(entries: Iterable[LedgerEntry], now: datetime) -> list[LedgerAccount]:
    """In the order in which they began. An intent whose session became known is that session's."""
    entries = list(entries)
    sessions: dict[str, str] = {}
    grouped: dict[tuple[str, str], list[LedgerEntry]] = {}
    for one in entries:
        if one.session_id is not None:
            sessions[one.intent_id] = one.session_id
    for one in entries:
        key = one.session_id or sessions.get(one.intent_id) or one.intent_id
        grouped.setdefault((one.backend, key), []).append(one)
    return [_account(group, now) for group in grouped.values()]


def _account(group: list[LedgerEntry], now: datetime) -> LedgerAccount:
    told = [one for one in group if one.kind not in _BESIDE] or group
    state = told[-1].kind
    rented = [one for one in group if one.kind is LedgerKind.RENTED]
    session_id = next((one.session_id for one in reversed(group) if one.session_id), None)
    # A doubt that names a session has seen it: it costs from the request on.
    began = rented or (group if session_id is not None else [])
    since = began[0].at if began else None
    until = told[-1].at if state is LedgerKind.RELEASED else None
    cost: float | None = None
    if since is not None:
        # A repair installs once more: what is there already is not fetched again.
        traffic = max(one.traffic for one in group)
        cost = round(for_time(_price(group), since, until or now) + traffic, 6)
    elif state is LedgerKind.NOT_RENTED:
        cost = 0.0
    return LedgerAccount(tuple(group), session_id, state, since, until, cost)


def _price(entries: Sequence[LedgerEntry]) -> float:
    return next((one.price for one in reversed(entries) if one.price), 0.0)
