"""The events of a deployment that are about its server and its endpoint."""

from __future__ import annotations

from gdl.domain.benchmark import BenchReport, QualityAnswer
from gdl.domain.engine import Capabilities
from gdl.domain.event import Event
from gdl.domain.health import Check, Condition
from gdl.domain.launch import Launch
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.server_memory import MemoryComparison


@dataclass(frozen=True, slots=True)
class ServerPlanned(Event):
    """The server is about to be started like this. capabilities: what it can be asked for then.
    omitted: what it does without though the model has it, and why, a sentence each. launch: how it
    is installed and started; None in journals before there was that, and where it is not told."""

    attempt: int
    capabilities: Capabilities
    omitted: tuple[str, ...] = ()
    launch: Launch | None = None


@dataclass(frozen=True, slots=True)
class TunnelOpened(Event):
    """mode: "forward" (SSH port forwarding) or "ssh-curl" (requests run on the machine).
    api_key_file: the file on this computer that holds the endpoint's key; "" when not told.
    by: what carries it, "openssh" (this computer's ssh) or "built-in"; "" when not told."""

    attempt: int
    endpoint: str
    mode: str
    api_key_file: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Checked(Event):
    attempt: int
    check: Check


@dataclass(frozen=True, slots=True)
class MemoryCompared(Event):
    """The server has told what it holds."""

    attempt: int
    memory: MemoryComparison


@dataclass(frozen=True, slots=True)
class HealthChanged(Event):
    """A serving endpoint is not as it was. reason: "" when it is healthy again."""

    attempt: int
    condition: Condition
    reason: str = ""


@dataclass(frozen=True, slots=True)
class QualityAnswered(Event):
    attempt: int
    answer: QualityAnswer


@dataclass(frozen=True, slots=True)
class BenchProgressed(Event):
    attempt: int
    done: int
    total: int
    output_tokens_per_s: float


@dataclass(frozen=True, slots=True)
class BenchFinished(Event):
    attempt: int
    report: BenchReport
