"""Deployments to be handed over: the plans of real engines for made-up machines, as journaled."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from engine_support import KEY
from gdl.domain import events as ev
from gdl.domain import fleet_events as fe
from gdl.domain.deployment import DeploymentState, replayed
from gdl.domain.events import Recorded
from gdl.domain.fleet import FleetState, replayed_fleet
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.host import HostFacts
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Phase
from gdl.domain.remedies import Remedy, RemedyKind
from gdl.domain.spec import DeploymentSpec
from gdl.engines.registry import get
from gdl.orchestrator.leasing.model_lookup import found
from gdl.orchestrator.leasing.requirements import resolved
from gdl.settings import Settings

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
IDENT = "20260506-070809-abcdef"
FLEET = "fleet-20260506-070809-fedcba"
HOSTILE = (
    "--seed=1",
    "--chat-template",
    'it\'s {{ x }} $(touch /tmp/pwned) `id` $$ ${{ secrets.mine }} "q" \\ : # é 🙂',
    "--override-generation-config",
    '{"a":\n "b\tc\x1b[31m\x7f"}',
    "---",
    "& x",
)


def planned(model: str, host: HostFacts, **changes: Any) -> list[ev.Event]:
    """The events of a deployment up to a server that is about to start. changes: of its
    specification, and `settings`."""
    settings = Settings(**changes.pop("settings", {}))
    query = changes.pop("query", OfferQuery(model=model))
    price = changes.pop("price", 0.41)
    spec = DeploymentSpec(model, changes.pop("backend", "vastai"), query, **changes)
    engine = get(spec.engine)
    what = resolved(engine, found(engine, model), query)
    plan = engine.plan(
        spec,
        host,
        what,
        settings,
        cpu_allowed=True,
        api_key=KEY,
        log_path="/tmp/engine.log",
        port=settings.engine.port,
    )
    gpu = host.gpus[0] if host.gpus else None
    vram = gpu.memory_mib / 1024 if gpu else 0.0
    name = gpu.name if gpu else ""
    return [
        ev.DeploymentPlanned(spec, what.location, what.served_name),
        ev.AttemptStarted(1, "offer", "vastai", name, len(host.gpus), vram, price),
        ev.PhaseChanged(1, Phase.RENTING),
        ev.PhaseChanged(1, Phase.CONNECTING),
        ev.PhaseChanged(1, Phase.PREFLIGHT),
        ev.HostInspected(1, host),
        ev.PhaseChanged(1, Phase.INSTALLING, plan.summary),
        ev.PhaseChanged(1, Phase.STARTING),
        ev.ServerPlanned(1, plan.capabilities, plan.notes, plan.launch),
    ]


def state_of(events: list[ev.Event]) -> DeploymentState:
    return replayed(IDENT, recorded(events))


def fleet_of(events: list[ev.Event], replicas: int, **wish: Any) -> FleetState:
    """A fleet whose replica these events are of, and that was scaled."""
    planned_one = events[0]
    assert isinstance(planned_one, ev.DeploymentPlanned)
    told = [
        fe.FleetPlanned(FleetSpec(planned_one.spec, 2, **wish), "/keys/fleet.api"),
        fe.ReplicaStarted(IDENT, 1),
        fe.FleetScaled(replicas),
    ]
    return replayed_fleet(FLEET, [Recorded(FLEET, n, NOW, e) for n, e in enumerate(told, 1)])


def recorded(events: list[ev.Event]) -> list[Recorded]:
    return [Recorded(IDENT, n, NOW, event) for n, event in enumerate(events, 1)]


def remedied(*remedies: Remedy) -> list[ev.Event]:
    return [ev.RemedyApplied(1, "rule", remedy, remedy.words, "auto") for remedy in remedies]


SHORTER = Remedy(RemedyKind.FLAG, "--max-model-len", "4096")
NO_SAMPLER = Remedy(RemedyKind.ENV, "VLLM_USE_FLASHINFER_SAMPLER", "0")


def without_launch(events: list[ev.Event]) -> list[ev.Event]:
    """As an older version journaled it."""
    return [replace(e, launch=None) if isinstance(e, ev.ServerPlanned) else e for e in events]
