"""The whole orchestrator with real HTTP to a market, and machines that are a word each.

What happens on a machine is decided by `fate(session id)`; everything about offers, money,
failover and the journal is the real thing, so that many deployments take little time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict, Unpack

from deployment_support import SpecFields, last, until
from deployment_support import spec as any_spec
from gdl.backends.base import Backend
from gdl.backends.shopper.backend import ShopperBackend
from gdl.domain import clock
from gdl.domain import events as ev
from gdl.domain.benchmark import OWN_LOAD, BenchLoad, BenchReport
from gdl.domain.errors import DeployError, SshError, VerificationError
from gdl.domain.phase import Billing, Phase
from gdl.domain.rental import Rental
from gdl.domain.secret import Secret
from gdl.domain.session import Session
from gdl.domain.spec import DeploymentSpec
from gdl.engines import registry as engines
from gdl.hub.lookup import Hub
from gdl.journal.consumer_id import consumer_id_of
from gdl.journal.store import DeploymentRow, Journal
from gdl.keyring.key_files import write_key
from gdl.orchestrator.run.attempt import Attempt
from gdl.orchestrator.service import Orchestrator
from gdl.settings import Settings, load
from shopper_support import FakeShopper, default_key

Fate = Callable[[str], str]
"""From a session id to "" (it serves) or to one of FATES."""

FATES = {
    "ssh": "SSH never answers",
    "driver": "the GPU's fabric manager is not running",
    "no-driver": "nvidia-smi fails",
    "crash": "the server ends while it starts, for a reason nobody knows",
    "gated": "the model is gated: no machine helps",
    "sick": "the first inference fails",
    "ends": "the server ends as soon as it is held",
}


class WordMachine:
    """Stands in for a simulated machine: it is there, it reaches marks, it is gone."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.address, self.port, self.user = "127.0.0.1", 22, "root"
        self.gone = asyncio.Event()
        self._marks: dict[str, asyncio.Event] = {}

    def mark(self, name: str) -> asyncio.Event:
        return self._marks.setdefault(name, asyncio.Event())

    async def start(self, key: object) -> None:
        """Nothing runs here."""

    def let_in(self, key: object) -> None:
        """Nobody enters."""

    async def reached(self, mark: str) -> None:
        await self.mark(mark).wait()

    async def aclose(self) -> None:
        self.gone.set()


class QuickAttempt(Attempt):
    """An attempt whose machine is a word. `pause`: seconds in each phase."""

    fate: Fate = staticmethod(lambda _: "")
    pause: float = 0.0
    speed: float = 900.0

    async def set_up(self, session: Session) -> None:
        dep = self._deployment
        fate = type(self).fate(session.id)
        for phase in (Phase.CONNECTING, Phase.PREFLIGHT, Phase.INSTALLING, Phase.STARTING):
            await dep.enter(phase)
            await asyncio.sleep(self.pause)
            await self._go_wrong(phase, fate)
        await dep.enter(Phase.LOADING)
        await asyncio.sleep(self.pause)
        await dep.enter(Phase.VERIFYING)
        await asyncio.sleep(self.pause)
        if fate == "sick":
            raise VerificationError("check inference failed: HTTP 500", "the log says more")
        await dep.enter(Phase.SERVING, "http://127.0.0.1:1/v1")
        if fate == "ends":
            self.server.ended.set()

    async def _go_wrong(self, phase: Phase, fate: str) -> None:
        match phase, fate:
            case Phase.CONNECTING, "ssh":
                raise SshError("nothing answers at 203.0.113.9:22", "try another machine")
            case Phase.PREFLIGHT, "no-driver":
                raise DeployError("no usable GPU: nvidia-smi failed", "take the next offer")
            case Phase.STARTING, "driver":
                await self._diagnosed("cuda-init", "CUDA cannot start here")
            case Phase.STARTING, "crash":
                await self._diagnosed("engine-start", "The engine did not start")
            case Phase.STARTING, "gated":
                await self._diagnosed("gated-model", "The hub wants a token")

    async def _diagnosed(self, rule: str, cause: str) -> None:
        dep = self._deployment
        await dep.emit(ev.Diagnosed(dep.attempt, cause, "", (), rule))
        raise DeployError(f"the server ended before it was ready: {cause}", "")

    async def benchmark(self, load: BenchLoad = OWN_LOAD) -> BenchReport:
        dep = self._deployment
        report = BenchReport(
            dep.model.served_name, 1, 0, 1.0, 10, 900, 1.0, self.speed, concurrency=load.concurrency
        )
        await dep.emit(ev.BenchFinished(dep.attempt, report))
        return report


def spec(**more: Unpack[SpecFields]) -> DeploymentSpec:
    return any_spec("shopper", model="tinyllama", **more)


def fates(shopper: FakeShopper, of: dict[str, str]) -> Fate:
    """By offer id."""
    return lambda session: of.get(shopper.sessions[session].offer.id, "")


def offers_tried(events: list[ev.Recorded]) -> list[str]:
    return [a.offer_id for a in last(events).attempts]


async def waits(orchestrator: Orchestrator, ident: str) -> None:
    await until(orchestrator, ident, lambda e: isinstance(e, ev.ChoiceAwaited))
    # The choice can be made as soon as the event is there.
    assert orchestrator.deployments.state(ident).waiting


class Flags(TypedDict, total=False):
    """Settings that differ from those of `quick_orchestrator`."""

    backend: str
    consumer_id: str
    min_reliability: float
    read_only: bool
    sandbox: Mapping[str, object]
    timeouts: Mapping[str, float]
    hub: Mapping[str, object]
    install: Mapping[str, object]
    spending: Mapping[str, object]
    notify: Mapping[str, object]


@contextlib.asynccontextmanager
async def quick_orchestrator(
    data_dir: Path,
    url: str = "",
    *,
    fate: Fate = lambda _: "",
    pause: float = 0.0,
    on: Backend | Sequence[Backend] = (),
    attempt: type[Attempt] | None = None,
    **flags: Unpack[Flags],
) -> AsyncIterator[Orchestrator]:
    """An orchestrator on the market at `url`, or on backends of your own."""
    values: dict[str, Any] = {
        "backend": "shopper",
        "shopper_url": url or "http://127.0.0.1:9",
        "data_dir": data_dir,
        "consumer_id": "tester",
        "timeouts": {"http": 3, "rent": 5, "session": 10, "release": 3},
        **flags,
    }
    settings: Settings = load(**values)
    journal = await Journal.open(data_dir / "journal.sqlite")
    kind = type("Quick", (QuickAttempt,), {"fate": staticmethod(fate), "pause": pause})
    consumer = consumer_id_of(settings)
    made = on if isinstance(on, Sequence) else [on]
    orchestrator = Orchestrator(
        settings=settings,
        backends=made or [ShopperBackend(settings, consumer)],
        engines=engines.get,
        journal=journal,
        hub=Hub(settings, clock.now),
        consumer_id=consumer,
        attempt=attempt or kind,
    )
    try:
        yield orchestrator
    finally:
        await orchestrator.aclose()


@contextlib.asynccontextmanager
async def journal_of(tmp_path: Path) -> AsyncIterator[Journal]:
    journal = await Journal.open(tmp_path / "journal.sqlite")
    try:
        yield journal
    finally:
        await journal.aclose()


def intent(offer_id: str = "vastai-101", **more: object) -> Rental:
    values: dict[str, object] = {
        "intent_id": "old",
        "deployment_id": "d-old",
        "attempt": 1,
        "backend": "shopper",
        "provider": "vastai",
        "offer_id": offer_id,
        "consumer_id": "tester",
        "price": 0.1,
        "requested_at": datetime.now(UTC),
        "billing": Billing.REQUESTED,
    }
    return Rental(**{**values, **more})  # type: ignore[arg-type]


async def owned(
    journal: Journal, rental: Rental, *, pid: int, outcome: str = "", key: Path | None = None
) -> None:
    """A deployment of another process, with one rental."""
    await journal.add_deployment(
        DeploymentRow("d-old", datetime.now(UTC), "m", "shopper", outcome, pid)
    )
    if key is not None:
        write_key(key, Secret(default_key()))
    await journal.save(rental)
