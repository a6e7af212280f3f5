"""What an engine is: steps to run on the machine, a server to start, and how to understand it.

Engines never touch a connection. The orchestrator runs what they describe. A new one is a folder
beside this file or a package of its own: see `gdl.engines.registry`.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from typing import Protocol, runtime_checkable

from gdl.domain.engine import (
    Advice,
    Capabilities,
    EngineInfo,
    EngineMetrics,
    HostProbe,
    Readiness,
)
from gdl.domain.engine_image import EngineImage
from gdl.domain.host import HostFacts
from gdl.domain.launch import Launch
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.domain.remedies import Remedy, RemedyKind
from gdl.domain.requirements.allocation import Allocation, GpuKind, Load
from gdl.domain.requirements.architecture import Architecture
from gdl.domain.requirements.shape import CONCURRENCY, CONTEXT, ModelShape, Need
from gdl.domain.secret import Secret
from gdl.domain.server_memory import ServerMemory
from gdl.domain.spec import DeploymentSpec
from gdl.settings import Settings


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an installation.

    script: a POSIX shell script, run detached with the work folder as its working directory.
    check: a quick script; exit 0 means that the step already holds and is skipped, and after the
    step it must exit 0 too. None: no check.
    files: (path relative to the work folder, text) to put in place beforehand.
    after: name of the step after which its script begins, beside the steps that follow; ""
    in its turn, like any other. Once its turn has come, there is a file `NAME.turn` in the work
    folder: until then others use the line and the processors as well.
    secret_env: variables that this step alone has; they reach the machine by the connection's
    input, never in an argument or a file.
    """

    name: str
    title: str
    script: str
    timeout_s: float
    check: str | None = None
    files: tuple[tuple[str, str], ...] = ()
    after: str = ""
    secret_env: dict[str, Secret] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """The server to start detached.

    script: POSIX shell, run with the work folder as working directory; it ends in `exec`, so its
    pid is the server's. secret_env: reaches the machine in a file of mode 0600 that the script's
    environment is read from, never in an argument. log: absolute path on the machine.
    repairs: (name, script) of what repairs the installation; names as in the rules of the
    diagnosis. After one, the steps are gone through again.
    remembered: where on the machine, relative to the work folder, flags (.args) and variables
    (.env) are kept that a start of this very command was found to need. given: the flags that the
    user decided.
    """

    script: str
    log: str
    port: int
    served_name: str
    secret_env: dict[str, Secret] = field(default_factory=dict)
    repairs: tuple[tuple[str, str], ...] = ()
    remembered: str = "./remedy"
    given: frozenset[str] = frozenset()

    def remembering(self, remedy: Remedy) -> str:
        """A script after which every start of this command has the remedy's flag or variable."""
        if remedy.kind is RemedyKind.ENV:
            line = f"export {remedy.name}={shlex.quote(remedy.value)}"
            return f"printf '%s\\n' {shlex.quote(line)} >> {self.remembered}.env\n"
        words = " ".join(word for word in (remedy.name, remedy.value) if word)
        return f"printf '%s\\n' {shlex.quote(words)} >> {self.remembered}.args\n"


def remembered_at(command: Iterable[str], given: Iterable[str]) -> str:
    """Where on the machine what remedies add to this very command is kept. given: the flags that
    its user has decided. One that they decide later is theirs, though the command be the same."""
    said = " ".join((*command, *sorted(given)))
    return f"./remedy-{hashlib.sha256(said.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to run on one machine. `summary`: one line, such as "x-cpu 0.32.0 by uv".
    otherwise: what to do when a step fails for good, in a way of its own. capabilities: of this
    server, started like this. lessened: (flag that a remedy may add, what it can be asked for
    then). notes: what it does without, and why, a sentence each. launch: the same as data for
    other tools; None: the engine cannot tell."""

    summary: str
    steps: tuple[Step, ...]
    server: ServerCommand
    otherwise: Plan | None = None
    capabilities: Capabilities = field(default_factory=Capabilities)
    lessened: tuple[tuple[str, Capabilities], ...] = ()
    notes: tuple[str, ...] = ()
    launch: Launch | None = None


@dataclass(frozen=True, slots=True)
class LogMark:
    """What a log line says about progress. stage: verified | starting | loading | ready.
    fraction: 0-1 of the whole start, when it can be told. begins: a server says this once, at its
    beginning. downloading: something comes over the network; left: bytes of it, when known. part,
    part_fraction: what of the work this counts, such as "shards", and how far that is, 0-1. memory:
    what the line says of it."""

    stage: str
    text: str
    fraction: float | None = None
    begins: bool = False
    downloading: bool = False
    left: float | None = None
    part: str = ""
    part_fraction: float | None = None
    memory: ServerMemory | None = None


@dataclass(frozen=True, slots=True)
class PlanPart:
    """Something that a plan decides, such as a release. key: in JSON; label: for people, "" where
    it has nothing to say to them; shown: the value in words."""

    key: str
    value: str | tuple[str, ...]
    label: str = ""
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Preview:
    """The plan for a driver and a GPU that nobody has looked at. ways: in the order in which they
    are tried, each with its tool; empty when nothing fits: refusal and hint then say why."""

    driver: str
    gpu: str
    parts: tuple[PlanPart, ...] = ()
    ways: tuple[str, ...] = ()
    refusal: str = ""
    hint: str = ""


class Memory(Protocol):
    """What an engine takes of GPUs and disk for a model. disk_gb: of the installed engine, with
    space for its download. download_gb: what is fetched to install it."""

    @property
    def disk_gb(self) -> float: ...

    @property
    def download_gb(self) -> float: ...

    def needed(
        self, shape: ModelShape, *, context: int = CONTEXT, sequences: int = CONCURRENCY
    ) -> Need:
        """A guess for a model of which no more is known than its size."""
        ...

    def allocation(self, model: Architecture, load: Load, gpu: GpuKind) -> Allocation:
        """What each GPU of a group of `load.tensor_parallel` holds."""
        ...

    def tp_allowed(self, model: Architecture, load: Load) -> tuple[int, ...]:
        """The numbers of GPUs that the model can be split over, from 1 up."""
        ...

    def asked(self, load: Load, arguments: Sequence[str]) -> Load:
        """The load with what the user's own arguments of the server say of it."""
        ...


class Engine(Protocol):
    """What serves models. All of it is stateless data and pure functions: an engine touches no
    connection, no file of the user's and no other engine."""

    @property
    def info(self) -> EngineInfo: ...

    @property
    def probe(self) -> HostProbe: ...

    @property
    def readiness(self) -> Readiness: ...

    @property
    def memory(self) -> Memory: ...

    # -- models ----------------------------------------------------------------------------------

    def models(self) -> tuple[Model, ...]:
        """The models that it brings itself, and serves no others; none: it takes what the hub
        has."""
        ...

    def capabilities(self, model: Model) -> Capabilities:
        """What the model can be asked for, as far as that is known beforehand."""
        ...

    def advice(self, model: Model) -> Advice:
        """How it is to be served, likewise."""
        ...

    def knows(self, architecture: str) -> bool:
        """Whether some release can serve models of that class, as config.json names it."""
        ...

    # -- what can be -----------------------------------------------------------------------------

    def check(self, spec: DeploymentSpec, model: Model, settings: Settings) -> None:
        """Raise UsageError for what cannot work on any machine, before money is spent."""
        ...

    def check_load(self, query: OfferQuery, model: Model) -> None:
        """Raise UsageError for a context, concurrency or quantization that cannot be; the model
        is as it was resolved for them. `check` includes this."""
        ...

    def least_cuda(
        self, settings: Settings, model: Model | None = None, query: OfferQuery | None = None
    ) -> float | None:
        """The oldest CUDA version a machine's driver may support, for that model with that load;
        None: any will do."""
        ...

    def gpu_refusal(
        self,
        gpu: GpuKind,
        settings: Settings,
        model: Model | None = None,
        query: OfferQuery | None = None,
    ) -> str:
        """Why the engine cannot run on such a GPU, with that model and load, in words such as
        "compute capability 6.1; X needs 7.0". "": it can, or nothing speaks against it as far as
        a listing tells."""
        ...

    # -- how it is installed and started ---------------------------------------------------------

    def first_of_all(self, settings: Settings) -> Step | None:
        """The step that every plan begins with, whatever the machine turns out to be: it may run
        while that is found out. None: there is none."""
        ...

    def plan(
        self,
        spec: DeploymentSpec,
        host: HostFacts,
        model: Model,
        settings: Settings,
        *,
        cpu_allowed: bool,
        api_key: Secret,
        log_path: str,
        port: int,
    ) -> Plan:
        """The plan for this machine. Raises DeployError when nothing can run there."""
        ...

    def preview(self, driver: str, capability: str, settings: Settings) -> Preview:
        """The plan for a driver ("570.124.06", "none") and a GPU's compute capability ("8.6";
        "": not told). Raises UsageError for what is neither."""
        ...

    # -- what it says ----------------------------------------------------------------------------

    def read_line(self, line: str) -> LogMark | None:
        """The mark a line of the server's log makes, if any. Lines are already stripped."""
        ...

    def read_metrics(self, text: str) -> EngineMetrics:
        """The figures the server tells of itself at `readiness.metrics`. Never raises, whatever
        the text is."""
        ...

    def rules(self) -> str:
        """What goes wrong with this engine alone, in the form of gdl/diagnosis/rules; asked about
        no other engine's logs, beside the rules there. "": nothing is known."""
        ...


@runtime_checkable
class HasImage(Protocol):
    """What some engines have, too: a container image to rent a machine with."""

    def image_for(
        self,
        gpu: GpuKind,
        cuda: float | None,
        settings: Settings,
        model: Model,
        query: OfferQuery,
    ) -> EngineImage | None:
        """The image for machines with such GPUs whose driver supports that CUDA version (None: not
        told), on which `plan` then finds the engine. None: there is none that will do."""
        ...

    def cuda_of_image(self, name: str) -> float | None:
        """The least CUDA version that a driver must support for such an image; None: any will do,
        or the image is none of the engine's own."""
        ...


EngineResolver = Callable[[str], Engine]
"""An engine by name. Raises UsageError for one that is not there."""
