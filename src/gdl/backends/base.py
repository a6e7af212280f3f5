"""What every backend can do. One instance per run; all methods may be called concurrently."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from gdl.domain.benchmark import Publication
from gdl.domain.errors import UsageError
from gdl.domain.findings import Finding
from gdl.domain.money import CostReport
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.session import RentAnswer, RentRequest, Session


def nowhere_to_publish(name: str) -> UsageError:
    """What `publish` raises where it cannot be done."""
    return UsageError(
        f"the {name} backend has nowhere to publish benchmarks",
        "`gdl-tui benchmarks` keeps them here; publishing needs the shopper backend",
    )


class Backend(Protocol):
    """Lists machines, rents them, gives them back.

    Errors, from every method: BackendUnreachable (nothing answers; nothing was sent or nothing
    can have happened), BackendRefused (it said no), BackendError (an answer nobody can use).
    No method raises anything else than a GdlError for what a network or a remote side can cause.
    """

    name: str
    rents: bool
    """True: a session costs money until `release` is confirmed."""
    cpu_allowed: bool
    """True: machines without a GPU are served with vLLM's CPU build."""
    lasting: bool
    """False: its sessions end with this program."""
    publishes: bool
    """Whether benchmarks can be left there for others."""
    service_url: str
    """Whom it asks: an address without credentials, or "" where that is always the same."""

    async def offers(self, query: OfferQuery) -> Sequence[Offer]:
        """Fresh offers, unranked. Asks wide; the caller filters."""
        ...

    async def rent(self, request: RentRequest) -> RentAnswer:
        """Rent, and answer at once (the session may still be provisioning).

        Raises OfferGone, SessionExists, InsufficientDisk, RentAmbiguous (the request went out and
        the answer was lost: a machine may exist), MachineError (this offer failed; try another).
        """
        ...

    async def session(self, session_id: str) -> Session:
        """The session now. Raises SessionGone when the backend does not know it."""
        ...

    async def sessions(self) -> Sequence[Session]:
        """All sessions of this consumer, ended ones too, newest first."""
        ...

    async def release(self, session_id: str) -> None:
        """Ask for the end of a session. Idempotent: an ended or unknown session is no error.
        Returning means that it was asked for; `session` tells whether it is so."""
        ...

    async def extend(self, session_id: str, hours: int) -> datetime | None:
        """Reserve `hours` more; the new end, or None where time does not run out."""
        ...

    async def costs(self) -> CostReport:
        """What was spent, as the backend counts it."""
        ...

    async def publish(self, one: Publication) -> str:
        """Leave a benchmark there; its id. Raises UsageError where `publishes` is False."""
        ...

    async def check(self) -> Sequence[Finding]:
        """Findings for `doctor`. Never raises a GdlError: an unreachable backend is a finding."""
        ...

    async def aclose(self) -> None:
        """Close connections and local servers. Rented sessions stay as they are."""
        ...
