"""What the program knows of an inference engine: its names and habits, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from enum import StrEnum

from gdl.domain.lazy_dataclass import dataclass


class Runtime(StrEnum):
    """How an engine runs on a machine: in a Python environment of its own, in a container, or as
    a program that needs neither."""

    VENV = "venv"
    CONTAINER = "container"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class CacheVariable:
    """An environment variable that tells the engine where to keep what it works out.

    folder: its name in the cache of the session, which goes with the session; or, when `lasting`,
    in the user's own cache, which serves the next session, too, unless the variable is set.
    """

    name: str
    folder: str
    lasting: bool = False


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """name: as settings, specs and the journal have it. display_name: as people know it.

    log_title: how its log is called; also the name of that file where a backend keeps it in a
    folder of its own. default_log: the log's absolute path on a machine, unless settings say
    otherwise. log_prefix: regular expression of what stands before the words of a log line, such
    as level and time. starting: what its start begins with, in words. runtimes: how it can run.
    quantizations: what it can make of 16-bit weights while it loads them -> bytes per parameter,
    scales and the layers that stay as they are included. caches: see there. spans_machines: several
    of its servers, a machine each, can serve one model together.
    """

    name: str
    display_name: str
    log_title: str = ""
    default_log: str = ""
    log_prefix: str = ""
    starting: str = "the server is started"
    runtimes: tuple[Runtime, ...] = (Runtime.VENV,)
    quantizations: Mapping[str, float] = field(default_factory=dict)
    caches: tuple[CacheVariable, ...] = ()
    spans_machines: bool = False

    def __post_init__(self) -> None:
        if not self.log_title:
            object.__setattr__(self, "log_title", f"{self.name}.log")
        if not self.default_log:
            object.__setattr__(self, "default_log", f"/tmp/{self.log_title}")  # noqa: S108


@dataclass(frozen=True, slots=True)
class Advice:
    """How a model is to be served, as far as that is known beforehand.

    chat_template: that tools need in place of the model's own, or "". environment: variables of the
    server. trust_remote_code: it runs Python code from the model's repository. first_release,
    last_release: of the engine, that know the model; "": no limit is known. traps: what goes
    wrong, a sentence each.
    """

    chat_template: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    trust_remote_code: bool = False
    first_release: str = ""
    last_release: str = ""
    traps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a served model can be asked for. chat: it has a chat template, else it is asked by
    completions. tools: calls of tools come back as such. reasoning: what it thinks comes back
    apart from what it answers. tool_parser, reasoning_parser: what the engine tells them by, as it
    calls them; "" where it does not or nobody knows. remote_code: it is served only by running
    Python code from the model's repository.
    """

    chat: bool = True
    tools: bool = False
    reasoning: bool = False
    tool_parser: str = ""
    reasoning_parser: str = ""
    remote_code: bool = False

    @property
    def words(self) -> str:
        """ "tools (hermes), reasoning (qwen3)"; "" without either."""
        told = (
            (self.tools, "tools", self.tool_parser),
            (self.reasoning, "reasoning", self.reasoning_parser),
        )
        return ", ".join(f"{name} ({by})" if by else name for on, name, by in told if on)


NOTHING_MORE = Capabilities()
"""Chat alone."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What the engine's probe found on a machine. installed: some release of it is in the work
    folder. told: whatever else its plan goes by."""

    installed: bool = False
    told: tuple[tuple[str, str], ...] = ()


NOT_INSTALLED = EngineFacts()


def plain_facts(values: Mapping[str, Sequence[str]]) -> EngineFacts:
    """`installed=1` says that it is; of every other key the first value is kept."""
    told = tuple((key, rows[0]) for key, rows in values.items() if key != "installed" and rows)
    return EngineFacts("1" in values.get("installed", ()), told)


@dataclass(frozen=True, slots=True)
class HostProbe:
    """script: POSIX shell that prints `key=value` lines, within a few seconds and whatever the
    machine lacks; "$GDL_DIR" is the work folder, "$GDL_IMAGE" the container image that the machine
    was rented with, or "". read: makes facts of them; what comes from a machine may be anything,
    200 characters a value at most. index_page: the project on the package index that the
    installation downloads most of, or "": how fast that comes is measured.
    """

    script: str = ""
    read: Callable[[Mapping[str, Sequence[str]]], EngineFacts] = plain_facts
    index_page: str = ""


NO_PROBE = HostProbe()


@dataclass(frozen=True, slots=True)
class Readiness:
    """path: where the server is asked how it is. ready: HTTP statuses that say it serves; while it
    starts, any other means "not yet". dead: those of a server that served and never will again.
    metrics: where its figures are, or "". Names of such figures: at_work, which are not zero while
    a request is; done, which move with each request."""

    path: str = "/health"
    ready: frozenset[int] = frozenset({200})
    dead: frozenset[int] = frozenset({503})
    metrics: str = "/metrics"
    at_work: tuple[str, ...] = ()
    done: tuple[str, ...] = ()


USUAL_READINESS = Readiness()


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """One reading; None where it is not told. running, waiting: requests. kv_cache: share in use,
    0-1, of the fullest engine. generated, prompted: tokens since the server's start."""

    running: float | None = None
    waiting: float | None = None
    kv_cache: float | None = None
    generated: float | None = None
    prompted: float | None = None
