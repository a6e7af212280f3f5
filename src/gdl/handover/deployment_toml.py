"""A deployment file: what was asked for, held to the release that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gdl.domain.deployment import DeploymentState
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.launch import Launch
from gdl.domain.spec import DeploymentSpec
from gdl.domain.text import one_line
from gdl.handover.running import remedy_words, with_remedies
from gdl.handover.writing import comment, quoted
from gdl.settings.hiding import omitting_secrets


def written(
    state: DeploymentState, spec: DeploymentSpec, fleet: FleetSpec | None = None, ident: str = ""
) -> str:
    """The file's text. What no server was ever planned for is held to no release. fleet: the wish
    of which this is one replica, whose id is `ident`."""
    attempt = next((a for a in reversed(state.attempts) if a.server is not None), None)
    server = attempt.server if attempt is not None else None
    launch = server.launch if server is not None else None
    if attempt is not None and launch is not None:
        own = (*launch.own_arguments, *remedy_words(attempt))
        launch = replace(with_remedies(launch, attempt), own_arguments=own)
    head = [
        f"Fleet {one_line(ident, 60)} of gdl-tui"
        if fleet is not None
        else f"Deployment {one_line(state.deployment_id, 60)} of gdl-tui",
        "gdl-tui deploy -f FILE; options of the command line come before what is written here",
        *_notes(launch, spec),
    ]
    if spec.query.nodes > 1:
        head.append(f"- its {spec.query.nodes} machines are named with --host A,B, rank 0 first")
    lines = [*comment(*head), *_entries(_top(spec) | _shared(fleet))]
    for name, table in (_tables(spec, launch) | _spread(fleet)).items():
        if entries := _entries(table):
            lines += ["", f"[{name}]", *entries]
    return "\n".join(lines) + "\n"


def _top(spec: DeploymentSpec) -> dict[str, Any]:
    query = spec.query
    return {
        "model": spec.model,
        "backend": spec.backend,
        "provider": query.provider,
        "exclude_provider": query.exclude_providers,
        "include_provider": spec.include_providers,
        "exclude_provider_after": spec.exclude_provider_after,
        "min_vram": query.min_vram_gb,
        "min_reliability": query.min_reliability,
        "max_price": query.max_price,
        "max_spend": spec.max_spend,
        "hours": spec.hours,
        "max_attempts": spec.max_attempts,
        "context": query.context,
        "concurrency": query.concurrency,
        "quantization": query.quantization,
        "text_only": query.text_only or None,
        "sort": query.order,
        "interruptible": query.interruptible or None,
        "bid": query.bid,
        "nodes": query.nodes if query.nodes > 1 else None,
        "volume": query.volume.id if query.volume is not None else None,
        "bench": spec.bench,
        "after": spec.after,
        "auto_fix": spec.auto_fix,
        "trust_remote_code": spec.trust_remote_code,
    }


def _shared(fleet: FleetSpec | None) -> dict[str, Any]:
    if fleet is None:
        return {}
    spread = fleet.spread_markets or None
    return {
        "replicas": fleet.replicas, "spread_markets": spread, "if_short": fleet.if_short
    }  # fmt: skip


def _spread(fleet: FleetSpec | None) -> dict[str, dict[str, Any]]:
    if fleet is None:
        return {}
    return {"fleet": {"router": fleet.router, "policy": fleet.policy}}


def _tables(spec: DeploymentSpec, launch: Launch | None) -> dict[str, dict[str, Any]]:
    args = launch.own_arguments if launch is not None else omitting_secrets(spec.engine_args)[0]
    env = dict(launch.own_environment) if launch is not None else {}
    return {
        "engine": {"name": spec.engine, "tools": spec.tools, "args": args, "env": env},
        "install": {
            "version": launch.version if launch is not None else None,
            "runtime": spec.runtime,
        },
        "guard": {"idle_minutes": spec.idle_minutes, "unseen_hours": spec.unseen_hours},
    }


def _notes(launch: Launch | None, spec: DeploymentSpec) -> list[str]:
    if launch is None:
        return [f"- {note}" for note in omitting_secrets(spec.engine_args)[1]]
    own = set(launch.secrets) - {launch.key, "HF_TOKEN"}
    secrets = [f"- set {name} under [engine.env] of config.toml, as here" for name in sorted(own)]
    return secrets + [f"- {note}" for note in launch.notes]


def _entries(table: Mapping[str, Any]) -> list[str]:
    """What was decided; anything else is left to the settings."""
    told = {name: v for name, v in table.items() if v is not None and v not in ("", (), {}, [])}
    return [f"{name} = {_value(value)}" for name, value in told.items()]


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"{value:.6g}" if isinstance(value, float) else str(value)
        case dict():
            inside = ", ".join(f"{quoted(k)} = {_value(v)}" for k, v in value.items())
            return f"{{ {inside} }}"
        case tuple() | list():
            return f"[{', '.join(_value(each) for each in value)}]"
    return quoted(str(value))
