"""What one GPU of a group holds of a model under a load, and what would make it fit."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.requirements.shape import CONCURRENCY, CONTEXT


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked of a server.

    context: tokens of a request, prompt and answer together. sequences: requests at a time.
    kv_dtype: of the cache, "auto": as the checkpoint says. quantization: made of 16-bit weights
    while they are loaded, or "". tensor_parallel: GPUs that the model is split over.
    pipeline_parallel: machines that its layers are divided over, each with so many GPUs.
    batch_tokens: computed in one step; 0: the engine's default for the GPU. prefix_caching,
    async_scheduling: None: the engine's default. language_only: vision and audio towers are
    omitted.
    """

    context: int = CONTEXT
    sequences: int = CONCURRENCY
    kv_dtype: str = "auto"
    quantization: str = ""
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    batch_tokens: int = 0
    prefix_caching: bool | None = None
    async_scheduling: bool | None = None
    language_only: bool = False


@dataclass(frozen=True, slots=True)
class GpuKind:
    """memory_gib: (2^30 bytes) what its driver reports, of one. capability: compute capability;
    None: not known."""

    name: str
    memory_gib: float
    capability: tuple[int, int] | None = None


class LeverKind(StrEnum):
    """What can be done about a model that does not fit."""

    KV_FP8 = "kv_fp8"
    CONTEXT = "context"
    SEQUENCES = "sequences"
    VARIANT = "variant"
    QUANTIZATION = "quantization"
    GPUS = "gpus"


@dataclass(frozen=True, slots=True)
class Lever:
    """One change that makes it fit, all else as asked for. value: the tokens, the requests, the
    variant's id, the quantization or the GPUs. words: such as "FP8 cache fits"."""

    kind: LeverKind
    value: str
    words: str


@dataclass(frozen=True, slots=True)
class Allocation:
    """Bytes on each GPU of the group.

    usable_bytes: what the engine claims of the GPU. overhead_bytes: of that, what is neither
    weights nor cache. kv_bytes_per_token: how the cache of a sequence grows with its length;
    state_bytes_per_sequence: what it takes besides, once it is longer than any window.
    kv_bytes: of the cache for the load. block_size: tokens of a block of the cache. sequences:
    of the load's context that fit at a time. longest: tokens of a single request that fit, at most
    what the model takes. missing_bytes: 0 where it fits. levers: empty where it fits.
    refusal: why it cannot run on such GPUs or be split over so many, whatever their memory, or "":
    nothing fits then, and nothing is missing. source: what this was worked out from, in
    words; guessed: it was little more than a name.
    """

    gpu: GpuKind
    load: Load
    usable_bytes: int
    weights_bytes: int
    overhead_bytes: int
    kv_bytes_per_token: float
    state_bytes_per_sequence: float
    kv_bytes: int
    block_size: int
    sequences: int
    longest: int
    missing_bytes: int = 0
    levers: tuple[Lever, ...] = ()
    refusal: str = ""
    source: str = ""
    guessed: bool = False

    def refused(self, why: str) -> Allocation:
        """The same, where something else than memory speaks against it."""
        return replace(self, refusal=why, sequences=0, longest=0, missing_bytes=0, levers=())

    @property
    def fits(self) -> bool:
        return not self.missing_bytes and not self.refusal

    @property
    def words(self) -> str:
        """Such as "fits 8 x 32k", or "3.1 GB short per GPU; FP8 cache fits"."""
        if self.refusal:
            return self.refusal
        if self.fits:
            return f"fits {self.sequences} x {tokens_in_words(self.load.context)}"
        short = f"{self.missing_bytes / 1e9:.1f} GB short per GPU"
        return "; ".join((short, *(lever.words for lever in self.levers[:2])))


def tokens_in_words(tokens: int) -> str:
    """131072 -> "128k", 4096 -> "4k", 1000 -> "1000"."""
    if tokens >= 1024 * 1024 and tokens % (1024 * 1024) == 0:
        return f"{tokens // (1024 * 1024)}M"
    if tokens >= 1024 and tokens % 1024 == 0:
        return f"{tokens // 1024}k"
    return str(tokens)
