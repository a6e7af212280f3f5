"""What a server says of its memory, and how far that is from what was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

from gdl.domain.health import Check, CheckStatus
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.requirements.allocation import Allocation, Load

TOLERANCE = 0.05
"""A prediction that is further off than this is worth a word."""
_SLACK = 0.005
"""Servers round what they say to two places."""


@dataclass(frozen=True, slots=True)
class ServerMemory:
    """What a starting server tells of itself; None or "": it did not.

    release: the engine's. load: what it was started for, without context and sequences.
    unpredicted: an argument whose effect on a sequence no prediction counts; free_unpredicted: the
    same of what is left for the cache, where its size is not given. weights_gib, cache_gib: (2^30
    bytes) on one GPU; cache_given: the cache's size was given to it. context: tokens of the
    longest request that it takes; sequences: as many of them fit into the cache at a time.
    reduced_from: the context that would not fit. cache_tokens: what is in the cache at most.
    """

    release: str = ""
    load: Load | None = None
    unpredicted: str = ""
    free_unpredicted: str = ""
    weights_gib: float | None = None
    cache_gib: float | None = None
    cache_given: bool = False
    cache_tokens: int | None = None
    context: int | None = None
    sequences: float | None = None
    reduced_from: int | None = None

    def then(self, later: ServerMemory) -> ServerMemory:
        """With what it told afterwards."""
        told = {
            field.name: value
            for field in fields(later)
            if (value := getattr(later, field.name)) != field.default
        }
        return replace(self, **told)


@dataclass(frozen=True, slots=True)
class MemoryComparison:
    """What a server holds, as it says itself, beside what was predicted.

    engine: as people know it. gpu: one of gpu_count; "" and 0 without any. context: tokens of its
    longest request; 0: not told. sequences: of that length at a time; weights_gib, cache_gib: on
    one GPU. predicted_*: the same, foretold; None or 0 where nothing was, and unpredicted says why.
    predicted_context: the longest that would fit, where the server had to find that out.
    source: what the prediction was made from; guessed: from little more than a name. asked_*: what
    the user wanted; 0: nothing in particular.
    """

    model: str
    engine: str
    release: str = ""
    gpu: str = ""
    gpu_count: int = 0
    context: int = 0
    reduced_from: int = 0
    sequences: float | None = None
    weights_gib: float | None = None
    cache_gib: float | None = None
    predicted_context: int = 0
    predicted_sequences: float | None = None
    predicted_weights_gib: float | None = None
    predicted_cache_gib: float | None = None
    source: str = ""
    guessed: bool = False
    unpredicted: str = ""
    asked_context: int = 0
    asked_sequences: int = 0

    @property
    def cache_difference(self) -> float | None:
        """How far the prediction of the sequences is off: 0.1 is 10 % too many."""
        return _difference(self.predicted_sequences, self.sequences)

    @property
    def weights_difference(self) -> float | None:
        """The same of the weights."""
        return _difference(self.predicted_weights_gib, self.weights_gib)

    @property
    def is_off(self) -> bool:
        """Whether the prediction was worse than it should be."""
        found = (self.cache_difference, self.weights_difference)
        return any(each is not None and abs(each) > TOLERANCE for each in found)

    @property
    def missing(self) -> str:
        """What was asked for and is not there, in words; "": nothing."""
        if self.context and self.context < self.asked_context:
            return f"{self.asked_context:,} tokens of context were requested"
        held, wanted = self.sequences, self.asked_sequences
        # Requests that are shorter than the longest leave space for more of them.
        each = min(self.asked_context or self.context, self.context)
        if held is None or not wanted or not each:
            return ""
        if held * self.context < wanted * each * (1 - _SLACK):
            return f"{wanted} requests of {each:,} tokens at a time were requested"
        return ""

    @property
    def words(self) -> str:
        """Such as "predicted 212 sequences of 4,096 tokens, vLLM says 208"."""
        parts = []
        if self.reduced_from:
            foretold = f", predicted {self.predicted_context:,}" if self.predicted_context else ""
            reduced = f"context reduced from {self.reduced_from:,} to {self.context:,} tokens"
            parts.append(reduced + foretold)
        if self.sequences is None:
            parts.append(f"{self.engine} takes {self.context:,} tokens of context")
        elif self.predicted_sequences is not None:
            parts.append(
                f"predicted {_count(self.predicted_sequences)} sequences of {self.context:,} "
                f"tokens, {self.engine} says {_count(self.sequences)}"
            )
        else:
            why = f" (not predicted: {self.unpredicted})" if self.unpredicted else ""
            held = f"{_count(self.sequences)} sequences of {self.context:,} tokens"
            parts.append(f"{self.engine} says {held}{why}")
        if abs(self.weights_difference or 0.0) > TOLERANCE:
            expected, loaded = self.predicted_weights_gib or 0.0, self.weights_gib or 0.0
            parts.append(f"predicted {expected:.2f} GiB of weights, {loaded:.2f} loaded")
        return "; ".join((*parts, *((self.missing,) if self.missing else ())))


def compared(
    told: ServerMemory, allocation: Allocation | None, known: MemoryComparison
) -> MemoryComparison:
    """What the server told beside the allocation, which is for one sequence of its context. known:
    who serves what on which GPUs, what was asked for, and why there is no allocation."""
    changed = told.unpredicted or ("" if told.cache_given else told.free_unpredicted)
    made = replace(
        known,
        release=told.release,
        context=told.context or known.context,
        reduced_from=told.reduced_from or 0,
        sequences=told.sequences,
        weights_gib=told.weights_gib,
        cache_gib=told.cache_gib,
        unpredicted=changed or known.unpredicted,
    )
    if allocation is None or made.unpredicted or told.sequences is None:
        return made
    if allocation.refusal or not allocation.kv_bytes:
        return replace(made, unpredicted=allocation.refusal or "it has no cache")
    free = allocation.usable_bytes - allocation.weights_bytes - allocation.overhead_bytes
    if told.cache_given:
        if told.cache_gib is None:
            return replace(made, unpredicted="the size of the cache was given")
        free = int(told.cache_gib * 2**30)
    each = allocation.kv_bytes / allocation.load.sequences
    return replace(
        made,
        predicted_context=allocation.longest if told.reduced_from and not told.cache_given else 0,
        predicted_sequences=max(free, 0) / each,
        predicted_weights_gib=allocation.weights_bytes / 2**30,
        predicted_cache_gib=None if told.cache_given else max(free, 0) / 2**30,
        source=allocation.source,
        guessed=allocation.guessed,
    )


def track_record(past: Sequence[MemoryComparison]) -> tuple[str, bool]:
    """How good the predictions of the cache have been, in a sentence, and whether they may be
    relied upon; past: newest first. ("", True): there were none."""
    latest: dict[tuple[str, str, int, str], MemoryComparison] = {}
    for one in past:
        if one.cache_difference is not None:
            latest.setdefault((one.model, one.gpu, one.gpu_count, one.release), one)
    if not latest:
        return "", True
    models = len({one.model for one in latest.values()})
    good = sum(abs(one.cache_difference or 0.0) <= TOLERANCE for one in latest.values())
    servers = "" if models == len(latest) else f" on {len(latest)} kinds of machines"
    seen = f"{models} model{'s' if models > 1 else ''} seen{servers}"
    told = f"{seen}, KV cache within {TOLERANCE:.0%} in {good}"
    if good == len(latest):
        return told, True
    worst = max(latest.values(), key=lambda one: abs(one.cache_difference or 0.0))
    gpus = f" on {worst.gpu_count} x {worst.gpu}" if worst.gpu else ""
    told += f"; worst: {worst.model}{gpus} with {worst.engine} {worst.release}: {worst.words}"
    return told, good * 2 >= len(latest)


def memory_check(comparison: MemoryComparison) -> Check:
    """Whether it holds what was asked for. A prediction that is off degrades nothing."""
    status = CheckStatus.DEGRADED if comparison.missing else CheckStatus.PASSED
    return Check("memory", status, comparison.words)


def _difference(predicted: float | None, told: float | None) -> float | None:
    if predicted is None or not told:
        return None
    return predicted / told - 1


def _count(sequences: float) -> str:
    return f"{sequences:,.0f}" if sequences >= 100 else f"{sequences:.1f}"
