"""What the user asked for."""

from __future__ import annotations

from dataclasses import field

from gdl.domain.default_engine import DEFAULT_ENGINE
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.offers import OfferQuery


@dataclass(frozen=True, slots=True)
class ConfirmedOffer:
    """An offer that the user was shown and took, at that price an hour or less."""

    offer_id: str
    price_per_hour: float


@dataclass(frozen=True, slots=True)
class Membership:
    """That a deployment is a replica of a fleet. generation: counts the fleet's changes of flags,
    from 1. api_key_file: a path on this computer, of the one key that all replicas have."""

    fleet: str
    generation: int
    api_key_file: str


@dataclass(frozen=True, slots=True)
class DeploymentSpec:
    """What the user asked for. `model` as typed: alias, hub id or path on the machine.

    engine: its name, as in `gdl.engines.registry`.
    after: "destroy" releases after verification and benchmark, "keep" leaves it serving and
    ends, "hold" keeps the tunnel open until release or keep is asked for.
    auto_failover takes the next offer by itself after a failed attempt, up to max_attempts.
    ask_on_failure: a failure without an automatic next waits for the user's choice instead of
    ending the deployment.
    auto_fix: remedies on the same machine are applied without a question: None those that overrule
    nothing the user decided, True all, False none.
    runtime: how the engine is run, as the setting `install.runtime`; "" in journals before it.
    confirmed: what the user was shown and took; the first machine is one of these. Empty: none was
    shown, and the cheapest is taken.
    exclude_provider_after: hosts of a provider whose SSH failed, without one between that could be
    entered, before the provider is excluded until the user includes it; 0: never.
    include_providers: included again as the deployment begins.
    max_spend: dollars that all attempts together may cost. spent_before: of these, what was spent
    before this deployment began, when it goes on with an earlier one's machine.
    idle_minutes, unseen_hours: without a request, and without one of our programs connected, after
    which a guard on the machine ends it; None: never.
    tools: the server parses calls of tools, where the model's are known. trust_remote_code: the
    model's own Python code may run on the machine; None: nobody was asked.
    attached: it goes on with a session that served already: nothing is rented, and its machine is
    released only when somebody says so.
    member: of which fleet it is a replica. Its `max_spend`, and the price that its query allows,
    are then those of all replicas together.
    """

    model: str
    backend: str
    query: OfferQuery = field(default_factory=OfferQuery)
    hours: int = 1
    max_attempts: int = 3
    bench: bool = True
    after: str = "hold"
    keep_on_failure: bool = False
    auto_failover: bool = True
    ask_on_failure: bool = False
    engine_args: tuple[str, ...] = ()
    auto_fix: bool | None = None
    engine: str = DEFAULT_ENGINE
    runtime: str = ""
    confirmed: tuple[ConfirmedOffer, ...] = ()
    exclude_provider_after: int = 3
    include_providers: tuple[str, ...] = ()
    max_spend: float | None = None
    spent_before: float = 0.0
    idle_minutes: float | None = None
    unseen_hours: float | None = None
    tools: bool = True
    trust_remote_code: bool | None = None
    attached: bool = False
    member: Membership | None = None
