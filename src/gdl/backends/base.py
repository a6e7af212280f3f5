"""What a backend is: what all of them can do, what some can, and how one is made and found.

A backend lists machines, rents them and releases them. Its folder has a `BackendEntry`, which the
registry knows by name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Protocol, runtime_checkable

from gdl.domain.backend import BackendSource, BackendTraits
from gdl.domain.benchmark import Publication
from gdl.domain.errors import BackendError, UsageError
from gdl.domain.findings import Finding
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import Balance, Charge, CostReport, PriceRise
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.rental import Rental
from gdl.domain.secret import Secret
from gdl.domain.session import RentAnswer, RentRequest, Session
from gdl.domain.speed import Figure
from gdl.domain.volumes import Volume
from gdl.settings import Settings


class Backend(Protocol):
    """Lists machines, rents them, releases them. One instance per run; all methods may be called
    concurrently.

    Errors, from every method, those of the capabilities below included: BackendUnreachable
    (nothing answers; nothing was sent or nothing can have happened), BackendRefused (it said no),
    BackendError (an answer nobody can use). No method raises anything else than a GdlError for
    what a network or a remote side can cause.
    """

    @property
    def name(self) -> str:
        """As the registry knows it; offers and sessions carry it."""
        ...

    @property
    def traits(self) -> BackendTraits: ...

    @property
    def service_url(self) -> str:
        """Whom it asks: an address without credentials, or "" where that is always the same."""
        ...

    async def offers(self, query: OfferQuery) -> Sequence[Offer]:
        """Fresh offers, unranked. Asks wide; the caller filters."""
        ...

    async def rent(self, request: RentRequest) -> RentAnswer:
        """Rent, and answer at once (the session may still be provisioning).

        Raises OfferGone, SessionExists, InsufficientDisk, RentAmbiguous (the request went out and
        no usable answer came: a machine may exist), MachineError (this offer failed; try another).
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

    async def check(self) -> Sequence[Finding]:
        """Findings for `doctor`. Never raises a GdlError: an unreachable backend is a finding."""
        ...

    async def aclose(self) -> None:
        """Close connections and local servers. Rented sessions stay as they are."""
        ...


# -- what some backends can do, too ----------------------------------------------------------------


@runtime_checkable
class Extends(Protocol):
    """Its sessions have an end, which can be put off."""

    async def extend(self, session_id: str, hours: int) -> datetime | None:
        """Reserve `hours` more; the new end, or None where it is not told."""
        ...


@runtime_checkable
class ReportsSpending(Protocol):
    """Counts what was spent."""

    async def costs(self) -> CostReport: ...


@runtime_checkable
class Publishes(Protocol):
    """Takes benchmarks for others to see."""

    async def publish(self, one: Publication) -> str:
        """Leave a benchmark there; its id."""
        ...


@runtime_checkable
class TellsBenchmarks(Protocol):
    """Tells what others have measured."""

    async def benchmarks(self, model: str) -> Sequence[Figure]:
        """Of a model by its served name."""
        ...


@runtime_checkable
class FindsByLabel(Protocol):
    """Its machines keep the label of the request that made them."""

    async def labelled(self, label: str) -> Sequence[Session]:
        """Every machine with that label, of whatever state, from the full unfiltered list. Empty
        means that the request made nothing (so far)."""
        ...


@runtime_checkable
class ProvesAbsence(Protocol):
    """Can be asked whether a machine exists, in a way that proves it."""

    async def absent(self, session_id: str, label: str = "") -> bool:
        """Whether neither that id nor that label (unless "") is anywhere in the marketplace's own
        full list, every page of it."""
        ...


@runtime_checkable
class TellsBalance(Protocol):
    async def balance(self) -> Balance:
        """What the account has left."""
        ...


@runtime_checkable
class ReportsCharges(Protocol):
    async def charges(self, since: datetime) -> Sequence[Charge]:
        """What was charged from then on, oldest first."""
        ...


@runtime_checkable
class TellsPriceRises(Protocol):
    """Its hosts may ask for more while a machine is rented."""

    async def price_rises(self) -> Sequence[PriceRise]:
        """Those that wait for an answer. Asking accepts none."""
        ...


@dataclass(frozen=True, slots=True)
class SelfRelease:
    """How a machine ends itself: an HTTPS request with a bearer key that can do nothing else.

    key: the key, or None where the machine has one of its own in the variable `key_variable`.
    ref: what `EndsFromMachine.revoke` takes afterwards; "" when there is nothing to revoke.
    """

    method: str
    url: str
    key: Secret | None = None
    key_variable: str = ""
    ref: str = ""


@runtime_checkable
class EndsFromMachine(Protocol):
    """Its machines can be given what ends them, and nothing else: for the guard on the machine."""

    async def self_release(self, session_id: str) -> SelfRelease: ...

    async def revoke(self, ref: str) -> None:
        """Make that key worthless. No error when it is already."""
        ...


@runtime_checkable
class JoinsMachines(Protocol):
    """Its machines reach each other, so that several can serve one model together: asked for
    `OfferQuery.nodes`, it offers one alone, with the others in `Offer.joined`."""

    async def joined(self, offer: Offer) -> Sequence[RentAnswer]:
        """How these others are entered, in their order. Raises UsageError for a bad key file."""
        ...


@runtime_checkable
class KeepsVolumes(Protocol):
    async def volumes(self) -> Sequence[Volume]: ...

    async def make_volume(self, offer: Offer, name: str, size_gb: int) -> Volume:
        """A volume that machines of this offer can mount. It costs until it is deleted."""
        ...

    async def delete_volume(self, volume_id: str) -> None: ...


async def extend(backend: Backend, session_id: str, hours: int) -> datetime | None:
    """The new end of a session, or None where time does not run out. Raises UsageError where a
    machine is billed until it is released: there are no hours to add to."""
    if isinstance(backend, Extends):
        return await backend.extend(session_id, hours)
    if not backend.traits.bills:
        return None
    raise UsageError(
        f"a machine of the {backend.name} backend has no reserved hours to add to",
        "it keeps running until it is released, or until its host's own term ends",
    )


async def costs(backend: Backend) -> CostReport:
    """What was spent, as the backend counts it. Raises UsageError where it bills and does not
    tell."""
    if isinstance(backend, ReportsSpending):
        return await backend.costs()
    if not backend.traits.bills:
        return CostReport(0.0, note="nothing is billed through this program")
    raise UsageError(
        f"the {backend.name} backend does not tell what was spent",
        "`gdl-tui sessions` shows what each session costs by our own count",
    )


async def costs_of_all(backends: Sequence[Backend]) -> CostReport:
    """What was spent at all of them together. Raises as `costs` where none tells."""
    if len(backends) == 1:
        return await costs(backends[0])
    told: dict[str, CostReport] = {}
    silent: list[str] = []
    for backend in backends:
        try:
            told[backend.name] = await costs(backend)
        except (BackendError, UsageError) as error:
            silent.append(error.message)
    if not told:
        raise UsageError(
            "none of these backends tells what was spent",
            "`gdl-tui spending` shows what each session costs by our own count",
        )
    by_provider: dict[str, float] = {}
    for name, report in told.items():
        parts = report.by_provider or {name: report.total}
        for provider, amount in parts.items():
            key = provider if provider == name else f"{name}: {provider}"
            by_provider[key] = by_provider.get(key, 0.0) + amount
    notes = [report.note for report in told.values() if report.note] + silent
    return CostReport(
        sum(report.total for report in told.values()),
        session_count=sum(report.session_count for report in told.values()),
        hours_used=sum(report.hours_used for report in told.values()),
        by_provider=by_provider,
        note="; ".join(notes),
    )


async def publish(backend: Backend, one: Publication) -> str:
    """Leave a benchmark with the backend; its id. Raises UsageError where that cannot be done."""
    if isinstance(backend, Publishes):
        return await backend.publish(one)
    raise UsageError(
        f"the {backend.name} backend cannot publish benchmarks",
        "`gdl-tui benchmarks` keeps them here; publishing needs the shopper backend",
    )


# -- how one is made and found ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BackendContext:
    """What a backend is made from.

    options: what was given for this run alone; a backend reads those that its entry names.
    rentals: our own open rentals there, as the journal has them.
    """

    settings: Settings
    consumer_id: str
    options: Mapping[str, str] = field(default_factory=dict)
    rentals: Sequence[Rental] = ()


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """How the registry knows a backend: the object that its entry point names.

    create: makes it; raises UsageError for options or settings that cannot be used.
    discover: what there is of it on this computer, within seconds, without changing anything.
    options: names of `BackendContext.options` that it reads, such as "host".
    at_hand: whether it can be used here though nobody chose a backend, as its API key is there (one
    that cannot be used counts, too: `create` then says what is wrong). Asks nobody, never raises.
    simulated: see BackendTraits.

    The module that holds it should import little: it is read to list the backends, too.
    """

    create: Callable[[BackendContext], Backend]
    discover: Callable[[BackendContext], Awaitable[BackendSource]]
    options: frozenset[str] = frozenset()
    at_hand: Callable[[Settings], bool] = lambda _settings: False
    simulated: bool = False
