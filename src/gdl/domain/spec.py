"""What the user asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from gdl.domain.offers import OfferQuery

DEFAULT_ENGINE = "vllm"
"""What serves where nobody says it: the only engine of journals and settings that name none."""


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
