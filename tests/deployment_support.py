"""The whole program on simulated machines: real SSH, real processes, a real shell, real HTTP.

`Machine` is this computer behind an embedded SSH server, with simulated uv, Python environment
and (if wanted) GPU driver first on its PATH; see tests/simulated/. Nothing is installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict, TypeVar, Unpack

import pytest

from gdl.backends.local.backend import LocalBackend
from gdl.bootstrap import open_orchestrator
from gdl.domain.events import DeploymentFinished, Event, PhaseChanged, Recorded
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Phase
from gdl.domain.session import RentRequest
from gdl.domain.spec import ConfirmedOffer, DeploymentSpec
from gdl.orchestrator.api.ports import OrchestratorApi
from gdl.orchestrator.service import Orchestrator
from gdl.settings import Settings, load
from local_ports import free_port
from waiting import wait_until

E = TypeVar("E", bound=Event)

SIMULATED = Path(__file__).resolve().parent / "simulated"
GONE_PID = 2**22 + 3
"""Beyond what Linux gives out, however it is set."""


@dataclass
class Simulation:
    """Settings and environment of one test."""

    monkeypatch: pytest.MonkeyPatch
    folder: Path
    flags: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        home = self.folder / "home"
        home.mkdir()
        self.monkeypatch.setenv("HOME", str(home))
        self.monkeypatch.setenv("SIM_PYTHON", sys.executable)
        # A plain machine: whatever version managers this one has would be asked seven times.
        self.monkeypatch.setenv("PATH", f"{SIMULATED}:/usr/sbin:/usr/bin:/sbin:/bin")
        for name in [n for n in os.environ if n.startswith(("GDL_", "XDG_"))]:
            self.monkeypatch.delenv(name)
        self.monkeypatch.delenv("HF_TOKEN", raising=False)

    def with_gpu(self) -> None:
        path = f"{SIMULATED / 'gpu'}:{os.environ['PATH']}"
        self.monkeypatch.setenv("PATH", path)

    def server(self, mode: str) -> None:
        """What the simulated server does; see tests/simulated/server.py."""
        self.monkeypatch.setenv("SIM_SERVER", mode)

    def settings(self, **flags: object) -> Settings:
        values: dict[str, object] = {
            "backend": "local",
            "data_dir": self.folder / "data",
            "engine": {"port": free_port(), "log": str(self.folder / "vllm.log")},
            "timeouts": {"start": 20, "install": 20, "session": 10, "release": 3, "http": 3},
            **self.flags,
            **flags,
        }
        return load(None, **values)

    @contextlib.asynccontextmanager
    async def orchestrator(self, **flags: object) -> AsyncIterator[Orchestrator]:
        async with open_orchestrator(self.settings(**flags)) as orchestrator:
            yield orchestrator

    async def all_removed(self) -> None:
        """What a machine had is removed behind its end: once it is."""
        removed = self.folder / "data" / "removed"
        await wait_until(lambda: not (removed.is_dir() and any(removed.iterdir())))

    @contextlib.asynccontextmanager
    async def machine(self) -> AsyncIterator[tuple[tuple[str, int, str], str]]:
        """An SSH host for marketplaces to rent out: ((host, port, user), private key)."""
        backend = LocalBackend(load(data_dir=self.folder / "hosts"))
        offer = (await backend.offers(OfferQuery()))[0]
        rented = await backend.rent(RentRequest(offer, "host", 1, "m"))
        assert rented.session.ssh is not None and rented.private_key is not None
        ssh = rented.session.ssh
        try:
            yield (ssh.host, ssh.port, ssh.user), rented.private_key.reveal()
        finally:
            await backend.release(rented.session.id)
            await backend.aclose()

    @contextlib.asynccontextmanager
    async def own_machine(self) -> AsyncIterator[tuple[str, Path]]:
        """(user@host:port, identity file) of a machine that one has already."""
        async with self.machine() as ((host, port, user), key):
            identity = self.folder / "id"
            identity.write_text(key)
            identity.chmod(0o600)
            yield f"{user}@{host}:{port}", identity


class SpecFields(TypedDict, total=False):
    """What a deployment may ask for besides model and backend; see DeploymentSpec."""

    query: OfferQuery
    hours: int
    max_attempts: int
    bench: bool
    after: str
    keep_on_failure: bool
    auto_failover: bool
    ask_on_failure: bool
    engine_args: tuple[str, ...]
    auto_fix: bool | None
    exclude_provider_after: int
    include_providers: tuple[str, ...]
    confirmed: tuple[ConfirmedOffer, ...]
    max_spend: float | None
    idle_minutes: float | None
    unseen_hours: float | None


def spec(
    backend: str = "local", *, model: str = "smollm2-135m", **more: Unpack[SpecFields]
) -> DeploymentSpec:
    wanted: SpecFields = {"bench": False, "after": "destroy", **more}
    return DeploymentSpec(model, backend, **wanted)


async def told(orchestrator: Orchestrator, ident: str) -> list[Recorded]:
    """All of its events, once it has ended."""
    async with asyncio.timeout(60):
        return [recorded async for recorded in orchestrator.deployments.events(ident)]


async def deployed(orchestrator: Orchestrator, wanted: DeploymentSpec) -> list[Recorded]:
    return await told(orchestrator, await orchestrator.deployments.deploy(wanted))


def last(events: list[Recorded]) -> DeploymentFinished:
    event = events[-1].event
    assert isinstance(event, DeploymentFinished)
    return event


def of_type(events: list[Recorded], kind: type[E]) -> list[E]:
    return [r.event for r in events if isinstance(r.event, kind)]


def phases(events: list[Recorded]) -> list[Phase]:
    return [e.phase for e in of_type(events, PhaseChanged)]


async def until(
    orchestrator: OrchestratorApi, ident: str, holds: Callable[[Event], bool]
) -> Recorded:
    """The first event for which `holds`."""
    async with asyncio.timeout(30):
        async for recorded in orchestrator.deployments.events(ident):
            if holds(recorded.event):
                return recorded
    raise AssertionError(f"its events ended without it, with {recorded.event}")


async def until_after(
    orchestrator: Orchestrator, ident: str, seq: int, holds: Callable[[Event], bool]
) -> Recorded:
    """As `until`, for the first event after number `seq`."""
    async with asyncio.timeout(30):
        async for recorded in orchestrator.deployments.events(ident):
            if recorded.seq > seq and holds(recorded.event):
                return recorded
    raise AssertionError(f"its events ended without it, with {recorded.event}")
