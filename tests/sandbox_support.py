"""Whole deployments on the simulated market, for the tests of its scenarios."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deployment_support import last, told
from gdl.backends.sandbox.backend import SandboxBackend
from gdl.bootstrap import open_orchestrator
from gdl.domain.events import Recorded
from gdl.domain.spec import DeploymentSpec
from gdl.orchestrator.service import Orchestrator
from gdl.settings import Settings, load
from gdl.simulator.service import Service

SPEED = 100.0
SHORTEST_S = 2.5
"""A time-out of a scenario is never scaled below this: real processes need real time."""


def settings(folder: Path, scenario: str, speed: float = SPEED, **flags: Any) -> Settings:
    timeouts = {name: max(s / speed, SHORTEST_S) for name, s in flags.pop("timeouts", {}).items()}
    return load(
        backend="sandbox",
        data_dir=folder / "data",
        sandbox={"scenario": scenario, "speed": speed, **flags.pop("sandbox", {})},
        timeouts={"install": 30, "start": 30, "session": 30, "http": 5, "release": 10, **timeouts},
        **flags,
    )


def isolate(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """A home of its own, and nothing from this computer's environment."""
    import os

    (folder / "home").mkdir(exist_ok=True)
    monkeypatch.setenv("HOME", str(folder / "home"))
    for name in [n for n in os.environ if n.startswith(("GDL_", "XDG_"))]:
        monkeypatch.delenv(name)


@contextlib.asynccontextmanager
async def sandbox(wanted: Settings) -> AsyncIterator[tuple[Orchestrator, SandboxBackend]]:
    async with open_orchestrator(wanted) as orchestrator:
        (leasing,) = orchestrator._markets.all
        backend = leasing.backend
        assert isinstance(backend, SandboxBackend)
        yield orchestrator, backend


def service_of(backend: SandboxBackend) -> Service:
    assert backend.service is not None
    return backend.service


async def deployed(orchestrator: Orchestrator, **more: Any) -> list[Recorded]:
    """A small model, served and given back."""
    values: dict[str, Any] = {"bench": False, "after": "destroy", **more}
    events = await told(orchestrator, await orchestrator.deployments.deploy(_spec(values)))
    assert last(events)
    return events


def _spec(values: dict[str, Any]) -> DeploymentSpec:
    return DeploymentSpec("tinyllama", "sandbox", **values)


def left_behind(folder: Path) -> list[str]:
    """Files of simulated markets that are still there."""
    return [str(p) for p in (folder / "data" / "sandbox").glob("*")]
