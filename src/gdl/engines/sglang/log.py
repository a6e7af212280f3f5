"""What SGLang's log says about its progress. The lines are those of 0.5.23, as seen on a start
without a GPU; those of GPUs as its source has them."""

from __future__ import annotations

import re

from gdl.domain.requirements.allocation import Load
from gdl.domain.server_memory import ServerMemory
from gdl.engines.base import LogMark
from gdl.engines.log_marks import mark, read

_LONGEST = 20_000
"""The line with all arguments is this long."""


_ARGUMENTS = "server_args="
# In the order in which a start passes them; the fractions grow with it.
_MARKS = (
    mark(r"\[gdl\] verified numpy (?P<v>\S+)", "verified", "numpy {v} imports", 0.02),
    mark(
        r"\[gdl\] verified torch (?P<v>\S+)(?: \(CUDA: (?P<c>[^)]*)\))?",
        "verified",
        "torch {v} imports (CUDA: {c})",
        0.05,
    ),
    mark(r"\[gdl\] verified sglang (?P<v>\S+)", "verified", "SGLang {v} imports", 0.08),
    mark(_ARGUMENTS, "starting", "reading the arguments", 0.15, begins=True),
    mark(r"Init (?:parallel|torch distributed) begin", "starting", "processes meet", 0.25),
    mark(
        r"Init (?:parallel|torch distributed) ends", "starting", "the processes are connected", 0.30
    ),
    mark(r"Load weight begin\. avail mem=(?P<g>[\d.]+) GB", "loading", "loading model", 0.35),
    mark(
        r"(?:Multi-thread loading|checkpoint) shards:\s+(?P<percent>\d{1,3})% Completed \| "
        r"(?P<i>\d+)/(?P<n>\d+)",
        "loading",
        "shard {i}/{n}",
        (0.36, 0.60),
        "shards",
    ),
    mark(r"Load weight end\. (?:elapsed=(?P<s>[\d.]+) s, )?", "loading", "model loaded", 0.62),
    mark(
        r"KV Cache is allocated\.(?: dtype: [\w.]+,)? #tokens: (?P<n>\d+)",
        "loading",
        "KV cache: {n} tokens",
        0.68,
    ),
    mark(r"Memory pool end", "loading", "memory is allocated", 0.70),
    mark(
        r"Capturing batches[^%]*?(?P<percent>\d{1,3})%\|(?:[^|]*\|)?\s*(?P<i>\d+)/(?P<n>\d+)",
        "loading",
        "capturing CUDA graphs: {i} of {n}",
        (0.72, 0.90),
        "graphs",
    ),
    mark(r"Capture [\w ]*graph begin", "loading", "capturing CUDA graphs", 0.72),
    mark(r"Capture [\w ]*graph end", "loading", "CUDA graphs captured", 0.90),
    mark(
        r"max_total_num_tokens=(?P<n>\d+), .*context_len=(?P<c>\d+)",
        "loading",
        "KV cache: {n} tokens, context: {c} tokens",
        0.92,
    ),
    mark(r"Application startup complete", "loading", "sends itself a first request", 0.95),
    mark(r"The server is fired up and ready to roll!", "ready", "server is up", 1.0),
)

_LOADED = re.compile(r"Load weight end\..*mem usage=(?P<gb>\d{1,6}(?:\.\d+)?) GB")
_POOL = re.compile(
    r"KV Cache is allocated\..*?#tokens: (?P<tokens>\d{1,12}), (?:K size: (?P<k>[\d.]{1,9}) GB, "
    r"V size: (?P<v>[\d.]{1,9}) GB|KV size: (?P<kv>[\d.]{1,9}) GB)"
)
_SIZES = re.compile(
    r"max_total_num_tokens=(?P<tokens>\d{1,12}),.* context_len=(?P<context>\d{1,12})"
)
_GIVEN = re.compile(r"'(?P<name>\w{1,60})': (?P<value>'[^']*'|[^,}]{1,200})")
_UNPREDICTED = ("speculative_algorithm", "cpu_offload_gb", "enable_hierarchical_cache")
_CHANGED = frozenset({"None", "False", "0", "''"})


def read_line(line: str) -> LogMark | None:
    """The mark a line makes, if any. Fractions grow in the order of a start."""
    return read(line[:_LONGEST], _MARKS, _memory)


def _memory(line: str) -> ServerMemory | None:
    """What it says of weights, cache and context. Its GB are 2^30 bytes."""
    if _ARGUMENTS in line:
        return _started_with(dict(_pairs(line)))
    if found := _LOADED.search(line):
        return ServerMemory(weights_gib=float(found["gb"]))
    if found := _POOL.search(line):
        sizes = [float(found[name]) for name in ("k", "v", "kv") if found[name]]
        return ServerMemory(cache_gib=sum(sizes), cache_tokens=int(found["tokens"]))
    if found := _SIZES.search(line):
        tokens, context = int(found["tokens"]), int(found["context"])
        return ServerMemory(context=context, sequences=tokens / context if context else None)
    return None


def _pairs(line: str) -> list[tuple[str, str]]:
    text = line[line.index(_ARGUMENTS) :]
    return [(found["name"], found["value"].strip("' ")) for found in _GIVEN.finditer(text)]


def _started_with(given: dict[str, str]) -> ServerMemory:
    def number(name: str, otherwise: int) -> int:
        text = given.get(name, "")
        return int(text) if re.fullmatch(r"\d{1,9}", text) else otherwise

    odd = next((name for name in _UNPREDICTED if given.get(name, "None") not in _CHANGED), "")
    quantization = given.get("quantization", "None")
    return ServerMemory(
        load=Load(
            kv_dtype=given.get("kv_cache_dtype", "auto")[:20],
            quantization=quantization if quantization in ("fp8", "bitsandbytes") else "",
            tensor_parallel=min(max(number("tp_size", 1), 1), 1024),
            batch_tokens=number("chunked_prefill_size", 0),
            language_only=given.get("language_model_only") == "True",
        ),
        unpredicted=f"--{odd.replace('_', '-')} is set" if odd else "",
        cache_given=given.get("max_total_tokens", "None") not in _CHANGED,
    )
