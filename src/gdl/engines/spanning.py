"""What an engine is that can serve one model over several machines."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from gdl.domain.host import HostFacts
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.model import Model
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.engines.base import Plan
from gdl.settings import Settings


@dataclass(frozen=True, slots=True)
class Rank:
    """One of several machines that serve one model together. number: from 0, which serves the
    endpoint. hosts: all of them, in the order of their numbers. master, port: where number 0 is met
    by the others; address, interface: by which this one is reached; "" and 0 before that is
    known."""

    number: int
    hosts: tuple[HostFacts, ...]
    master: str = ""
    port: int = 0
    address: str = ""
    interface: str = ""


@runtime_checkable
class SpansMachines(Protocol):
    """What some engines can, too: see `EngineInfo.spans_machines`."""

    def plan_rank(
        self,
        spec: DeploymentSpec,
        rank: Rank,
        model: Model,
        settings: Settings,
        *,
        cpu_allowed: bool,
        api_key: Secret,
        log_path: str,
        port: int,
    ) -> Plan:
        """As `plan`, of one of these machines. Raises DeployError when nothing can run there."""
        ...
