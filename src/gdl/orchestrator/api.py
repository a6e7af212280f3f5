"""What the terminal UI and the command line may ask for. `service.Orchestrator` is the one
that does it; the faces of the program depend on this alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gdl.domain.deployment import DeploymentState
from gdl.domain.events import DeploymentFinished, Recorded
from gdl.domain.models import (
    BenchReport,
    Check,
    CostReport,
    DeploymentSpec,
    Exclusion,
    Finding,
    OfferQuery,
    RankedOffer,
    Session,
)


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model known by alias. Sizes in GB (10^9); None when unknown."""

    alias: str
    location: str
    source: str
    gated: bool
    parameters_b: float | None
    vram_gb: float | None
    disk_gb: int | None


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session and what we know of it. ours: its key is in our journal. `cost` in dollars, from
    price and time. state: the backend's word, or "unknown" when the backend cannot be asked."""

    session: Session
    ours: bool
    deployment_id: str | None
    model: str | None
    endpoint: str | None
    cost: float
    billing: str


@dataclass(frozen=True, slots=True)
class Story:
    """A past or present deployment as the journal tells it."""

    deployment_id: str
    model: str
    backend: str
    started_at: datetime
    outcome: str
    billing: str
    session_id: str | None
    cost: float


class OrchestratorApi(Protocol):
    """All methods raise GdlError for what is expected to go wrong, and nothing else."""

    backend_name: str

    async def offers(self, query: OfferQuery) -> Sequence[RankedOffer]:
        """Fresh offers, ranked: suitable ones first and cheapest first, excluded ones last."""
        ...

    def models(self) -> Sequence[ModelRow]: ...

    async def deploy(self, spec: DeploymentSpec) -> str:
        """Start a deployment; its id. The work goes on in a task of the orchestrator's."""
        ...

    def events(self, deployment_id: str) -> AsyncIterator[Recorded]:
        """History first, then live; ends after DeploymentFinished. No gap, no duplicate."""
        ...

    def state(self, deployment_id: str) -> DeploymentState:
        """The state now: the fold of all events so far."""
        ...

    def active(self) -> Sequence[str]:
        """Ids of the deployments whose tasks run in this process, oldest first."""
        ...

    async def wait(self, deployment_id: str) -> DeploymentFinished:
        """Until it has finished."""
        ...

    async def cancel(self, deployment_id: str) -> None:
        """Stop and release; returns when it was asked for, not when it is done."""
        ...

    async def release(self, deployment_id: str) -> None:
        """End the serving of a deployment that holds, and give the machine back."""
        ...

    async def keep(self, deployment_id: str) -> None:
        """End our part of a deployment that holds; the machine goes on serving and billing."""
        ...

    async def retry(self, deployment_id: str) -> None:
        """After a failed attempt that waits for the user: the same offer again."""
        ...

    async def next_offer(self, deployment_id: str, *, exclude_provider: bool = False) -> None:
        """After a failed attempt that waits for the user: the next offer, leaving out the failed
        one, and its provider if asked."""
        ...

    async def include_provider(self, deployment_id: str, provider: str) -> None:
        """Bring an excluded provider back into this deployment, for its next attempts."""
        ...

    async def set_auto_failover(self, deployment_id: str, enabled: bool) -> None:
        """Whether the next offer is taken by itself after a failure. Turned on while a failed
        attempt waits for a choice, it takes the next at once."""
        ...

    async def exclusions(self) -> Sequence[Exclusion]:
        """Who is left out of coming deployments, newest first."""
        ...

    async def exclude(self, kind: str, key: str, reason: str = "") -> Exclusion:
        """Leave out a provider, machine or offer until that is cleared. kind: those three words."""
        ...

    async def clear_exclusions(self, key: str | None = None) -> int:
        """Forget the exclusions of a provider, machine or offer, or all; how many there were.
        Raises UsageError when that key has none."""
        ...

    async def sessions(self) -> Sequence[SessionRow]: ...

    async def attach(self, ident: str) -> str:
        """Open the tunnel to a serving session again, as a deployment that holds; its id.
        `ident`: session or deployment id, or the beginning of one."""
        ...

    async def destroy(self, ident: str) -> SessionRow:
        """Release a session and wait until that is confirmed. Raises ReleaseUnconfirmed."""
        ...

    async def extend(self, ident: str, hours: int) -> datetime | None: ...

    async def costs(self) -> CostReport: ...

    async def health(self, ident: str) -> Sequence[Check]:
        """The checks, run once over a tunnel of their own."""
        ...

    async def bench(self, ident: str) -> BenchReport: ...

    async def doctor(self) -> Sequence[Finding]: ...

    async def stories(self) -> Sequence[Story]:
        """Deployments in the journal, newest first."""
        ...

    async def aclose(self) -> None:
        """Cancel what runs (which releases what was rented), then close everything."""
        ...
