"""What the ports answer with about models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from gdl.domain.engine import Capabilities
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.requirements.allocation import Allocation
from gdl.domain.requirements.shape import Need


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model to choose. alias: what to type for it; its hub id where it has no shorter one. Sizes
    in GB (10^9); None when unknown. chat, tools: what the engine can be asked for with it.

    size_gb: of its files. license: "" when unknown. downloads: from the hub in the last 30 days,
    None where nobody told. max_context: tokens, 0 when unknown. fits: whether it runs on a card of
    24 GB, "yes, 3 x 32k" or "no: 3.1 GB short"; "" when nobody knows yet. told_by: where all
    this is from, as `FactsSource` or "search", of which more can be asked.
    """

    alias: str
    location: str
    source: str
    gated: bool
    parameters_b: float | None
    vram_gb: float | None
    disk_gb: int | None
    chat: bool = True
    tools: bool = False
    size_gb: float | None = None
    license: str = ""
    downloads: int | None = None
    max_context: int = 0
    fits: str = ""
    told_by: str = ""


@dataclass(frozen=True, slots=True)
class ModelVariant:
    """The same model in another format. words: how people write that ("FP8"). fits: in words, on
    the GPU that was asked about."""

    id: str
    format: str
    words: str
    size_gb: float | None = None
    fits: str = ""


@dataclass(frozen=True, slots=True)
class GpuFit:
    """Whether a load fits on GPUs of a kind. memory_gib: (2^30 bytes) what a program sees of each.
    gpus: that it is split over. sequences: of `context` tokens that fit at a time; longest: tokens
    of a single one. missing_gb: 10^9 bytes on each, 0 where it fits. levers: what would make it
    fit, in words."""

    gpu: str
    memory_gib: float
    gpus: int
    fits: bool
    context: int
    sequences: int
    longest: int
    missing_gb: float
    words: str
    levers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """What a model is and takes; its fields are the keys of `models show --json`. Memory in GB
    (10^9) on each GPU of the group. None where nobody knows. kv_cache_gb: for the load asked for;
    vram_gb: what the GPU must have for it. env: variables of the server. min_vllm: the first
    release of the engine that knows it, max_vllm: the last; "" for no limit."""

    id: str
    revision: str
    source: str
    architecture: str
    gated: bool
    license: str
    weights_gb: float | None
    kv_bytes_per_token: float | None
    state_bytes_per_sequence: float | None
    kv_cache_gb: float | None
    overhead_gb: float | None
    vram_gb: float | None
    disk_gb: int | None
    download_gb: float | None
    max_context: int | None
    tp_allowed: tuple[int, ...]
    tool_parser: str
    reasoning_parser: str
    chat_template: str
    trust_remote_code: bool
    env: Mapping[str, str]
    min_vllm: str
    variants: tuple[ModelVariant, ...]
    fits: tuple[GpuFit, ...]
    max_vllm: str = ""


@dataclass(frozen=True, slots=True)
class SizedModel:
    """What a model needs for a load. need: None when its size is not known. longest: the most
    tokens that a request to it may have, 0 when that is not known. capabilities: what it can be
    asked for, as far as that is known beforehand. guess: what the need is taken from, in words,
    where no configuration of the model is known; else "". untold: why nothing tells the need, else
    "". allocation: what one GPU of a kind would hold of it, where that was asked for and the
    configuration is known."""

    need: Need | None
    longest: int
    capabilities: Capabilities = field(default_factory=Capabilities)
    guess: str = ""
    allocation: Allocation | None = None
    untold: str = ""
