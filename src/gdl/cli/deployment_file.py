"""`gdl-tui deploy -f FILE`: what the file says, under what the command line says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from gdl.cli.deploy_options import DeployOptions
from gdl.cli.fleet_options import FleetOptions
from gdl.cli.options import MarketTarget
from gdl.cli.runtime import Cli

if TYPE_CHECKING:
    from gdl.settings.deployment_file import Wanted

_OF_THE_TARGET = ("backend", "host", "identity")
_OF_THE_FLEET = ("replicas", "spread_markets", "if_short")
Group = TypeVar("Group", DeployOptions, FleetOptions, MarketTarget)


def with_file(
    cli: Cli, wanted: DeployOptions, fleet: FleetOptions, target: MarketTarget, path: Path
) -> tuple[DeployOptions, FleetOptions, MarketTarget]:
    """All three, with what the file says where no option does. Raises UsageError, with the line."""
    from gdl.settings import deployment_file

    said = deployment_file.read(path)
    options: dict[str, Any] = dict(said.options)
    place = {name: options.pop(name) for name in _OF_THE_TARGET if name in options}
    shared = {name: options.pop(name) for name in _OF_THE_FLEET if name in options}
    if shared.get("replicas") == 1 and fleet.replicas is None:
        shared = {}  # one machine, without a router
    if any((cli.host, cli.backend, target.host, target.backend)):
        # Another place is meant than the file's, whole.
        place = {}
    _check_names(said, model=wanted.model is None, backend="backend" in place, engine=wanted.engine)
    then = options.pop("after", "hold")
    return (
        replace(_filled(wanted, options), then=then, settings=said.settings),
        _filled(fleet, shared),
        _filled(target, place),
    )


def _filled(group: Group, said: dict[str, Any]) -> Group:
    """Options that were not given, as the file has them."""
    unsaid = {name: value for name, value in said.items() if getattr(group, name) is None}
    values: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value for name, value in unsaid.items()
    }
    return replace(group, **values)


def _check_names(said: Wanted, *, model: bool, backend: bool, engine: str | None) -> None:
    """Raises UsageError, with the line, for a model, backend or engine that nobody knows, where the
    file decides it."""
    from gdl.domain.errors import UsageError

    where: tuple[str, ...] = ()
    try:
        if model and "model" in said.options:
            from gdl.hub import names

            where = ("model",)
            names.resolve(said.options["model"])
        if backend:
            from gdl.backends import registry

            where = ("backend",)
            registry.options_of(said.options["backend"])
        if engine is None and "name" in said.settings.get("engine", {}):
            from gdl.engines import registry as engines

            where = ("engine", "name")
            engines.get(said.settings["engine"]["name"])
    except UsageError as error:
        raise UsageError(f"{said.at(*where)}: {error.message}", error.hint) from None
