"""What is handed over: a deployment as its journal tells it."""

from __future__ import annotations

import math
import re
from dataclasses import replace

from gdl.domain.attempt_state import AttemptState
from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import UsageError
from gdl.domain.fleet import FleetState
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.host import HostFacts
from gdl.domain.launch import Launch
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import hourly
from gdl.domain.remedies import RemedyKind
from gdl.domain.requirements import gpus
from gdl.domain.spec import DeploymentSpec
from gdl.domain.text import one_line

_OWN = frozenset({"ssh", "local"})


@dataclass(frozen=True, slots=True)
class Running:
    """name: for other tools, of lower-case letters, digits and hyphens. served_name: the model's
    name in the API. backend: whose machine it runs on. launch: with what was found to be needed on
    the machine. gpu: as the driver or the listing calls it, "" without one; gpu_count, gpu_gib: how
    many, and what each has. cpus, ram_gib: of the machine; 0: not told. disk_gb: to be asked for.
    price: dollars an hour that it costs, 0 for a machine of one's own; ceiling: the most that the
    next one may cost, None where nothing is rented. hours: after which it is to be ended, None:
    nobody said so. idle_minutes: likewise, without a request. fleet: the wish of which this is one
    replica, with as many of them as are wished now; price, ceiling, machine are of each."""

    deployment_id: str
    name: str
    served_name: str
    backend: str
    spec: DeploymentSpec
    launch: Launch
    gpu: str
    gpu_count: int
    gpu_gib: float
    cpus: int
    ram_gib: float
    disk_gb: int
    price: float
    ceiling: float | None
    hours: float | None
    idle_minutes: float | None
    fleet: FleetSpec | None = None

    @property
    def replicas(self) -> int:
        return 1 if self.fleet is None else self.fleet.replicas

    @property
    def machine(self) -> str:
        """ "2x NVIDIA L4 22 GiB", or "8 CPUs"."""
        if not self.gpu_count:
            return f"{self.cpus} CPUs" if self.cpus else "CPUs alone"
        size = f" {self.gpu_gib:.0f} GiB" if self.gpu_gib else ""
        return f"{self.gpu_count}x {one_line(self.gpu, 60)}{size}"

    @property
    def title(self) -> str:
        """What it is, in one line of a comment."""
        engine = f"{self.launch.engine} {self.launch.version}"
        what = f"{one_line(self.served_name, 100)} on {self.machine}, {engine}"
        cost = f", {hourly(self.price)}" if self.price else ""
        kind = "deployment"
        if self.fleet is not None:
            kind, what = "fleet", f"{self.replicas} replicas, each {what}"
        return f"{what}{cost}; {kind} {one_line(self.deployment_id, 60)} of gdl-tui"


def running(state: DeploymentState, fleet: FleetState | None = None) -> Running:
    """What the last server of a deployment is. fleet: whose replica it is, and which is handed over
    as a whole. Raises UsageError where none was ever planned."""
    ident = one_line(state.deployment_id if fleet is None else fleet.fleet_id, 60)
    nodes = 1 if state.spec is None else state.spec.query.nodes
    if nodes > 1:
        raise UsageError(
            f"{ident} is served by {nodes} machines together, which can be handed to no other tool",
            f"`gdl-tui export {ident} --to toml` writes it for `gdl-tui deploy -f`",
        )
    attempt = next((a for a in reversed(state.attempts) if a.server is not None), None)
    if state.spec is None or attempt is None or attempt.server is None:
        raise UsageError(
            f"deployment {ident} never came to starting a server: nothing to hand over",
            f"`gdl-tui export {ident} --to toml` writes what was requested",
        )
    launch = attempt.server.launch
    if launch is None:
        raise UsageError(
            f"the journal does not say how the server of {ident} was started",
            "deploy it again: this one was started by an engine that does not record it, or "
            "by an older gdl-tui",
        )
    machine = _machine_of(attempt)
    price, spec = attempt.price_per_hour, state.spec
    wish = None if fleet is None else wish_of(fleet)
    many = 1 if wish is None else wish.replicas
    spec = spec if wish is None else wish.replica
    backend = attempt.backend or spec.backend
    rented = price > 0 and backend not in _OWN
    return Running(
        deployment_id=ident,
        name=name_for_tools(state.served_name or launch.model),
        served_name=state.served_name,
        backend=backend,
        spec=spec,
        launch=with_remedies(launch, attempt),
        gpu=machine[0],
        gpu_count=machine[1],
        gpu_gib=machine[2],
        cpus=attempt.facts.cpu_count if attempt.facts else 0,
        ram_gib=attempt.facts.ram_gib if attempt.facts else 0.0,
        disk_gb=_disk(attempt),
        price=price,
        ceiling=_ceiling(spec, price, many) if rented else None,
        hours=_hours(spec, price * many) if rented else None,
        idle_minutes=spec.idle_minutes,
        fleet=wish,
    )


def wish_of(fleet: FleetState) -> FleetSpec:
    """As it is now. Raises UsageError for one that never began."""
    if fleet.spec is None:
        raise UsageError(
            f"the journal has nothing of fleet {one_line(fleet.fleet_id, 60)}",
            "`gdl-tui deploy MODEL --replicas N` starts another",
        )
    return replace(fleet.spec, replicas=max(fleet.wanted, 1))


def name_for_tools(text: str) -> str:
    """2 to 40 characters that every tool takes for a name: it begins with a letter."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.rpartition("/")[2].lower()).strip("-")
    plain = plain if plain[:1].isalpha() and len(plain) > 1 else f"llm-{plain or 'server'}"
    return plain[:40].rstrip("-")


def with_remedies(launch: Launch, attempt: AttemptState) -> Launch:
    """With the flags and variables that this machine was found to need, the last of each."""
    environment, notes = dict(launch.environment), launch.notes
    for remedy in (applied.remedy for applied in attempt.remedies):
        if remedy.kind is RemedyKind.ENV:
            environment[remedy.name] = remedy.value
        elif remedy.kind is RemedyKind.REPAIR:
            notes = (*notes, f"here the installation was repaired: {remedy.name}")
    return replace(
        launch,
        arguments=(*launch.arguments, *remedy_words(attempt)),
        environment=tuple(environment.items()),
        notes=notes,
    )


def remedy_words(attempt: AttemptState) -> tuple[str, ...]:
    """The flags alone. One that is set to nothing ends in "="."""
    flags = [a.remedy for a in attempt.remedies if a.remedy.kind is RemedyKind.FLAG]
    words = [
        (f"{flag.name}{flag.value}",) if flag.name.endswith("=") else (flag.name, flag.value)
        for flag in flags
    ]
    return tuple(word for pair in words for word in pair if word)


def _machine_of(attempt: AttemptState) -> tuple[str, int, float]:
    facts: HostFacts | None = attempt.facts
    if facts is not None and facts.gpus:
        first = facts.gpus[0]
        return first.name, len(facts.gpus), first.memory_mib / 1024
    if facts is not None or attempt.gpu_count <= 0:
        return "", 0, 0.0
    listed = gpus.of_listing(attempt.gpu_name, attempt.vram_gb)
    return attempt.gpu_name, attempt.gpu_count, listed.memory_gib


def _disk(attempt: AttemptState) -> int:
    """What was asked of the market, else enough for an engine and a model of usual size."""
    asked = attempt.expected.disk_gb if attempt.expected is not None else 0
    return max(math.ceil(asked or 0), 60)


def _ceiling(spec: DeploymentSpec, price: float, many: int) -> float:
    """What the user allowed for each of so many; else what it costs, up to the next cent."""
    costs = math.ceil(round(price * 100, 6)) / 100
    if spec.query.max_price is None:
        return costs
    # One replica may be dearer than another, as long as all of them are cheap enough.
    return spec.query.max_price if many == 1 else max(spec.query.max_price / many, costs)


def _hours(spec: DeploymentSpec, price: float) -> float:
    """As long as the budget lasts; else as it was reserved for."""
    return spec.max_spend / price if spec.max_spend is not None else float(spec.hours)
