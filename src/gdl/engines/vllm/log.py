"""What the server's log says about its progress."""

from __future__ import annotations

from gdl.engines.base import LogMark
from gdl.engines.log_marks import mark, read
from gdl.engines.vllm.memory_log import read_memory

_LONGEST = 2000

# In the order in which a start passes them; the fractions grow with it.
_MARKS = (
    mark(r"\[gdl\] verified numpy (?P<v>\S+)", "verified", "numpy {v} imports", 0.02),
    mark(
        r"\[gdl\] verified torch (?P<v>\S+)(?: \(CUDA: (?P<c>[^)]*)\))?",
        "verified",
        "torch {v} imports (CUDA: {c})",
        0.05,
    ),
    mark(r"\[gdl\] verified torchvision (?P<v>\S+)", "verified", "torchvision {v} imports", 0.06),
    mark(r"\[gdl\] verified vllm (?P<v>\S+)", "verified", "vLLM {v} imports", 0.15),
    mark(r"non-default args:", "starting", "reading the arguments", 0.18, begins=True),
    mark(r"Resolved architecture: (?P<a>\w+)", "starting", "architecture {a}", 0.20),
    mark(
        r"Initializing an? (?:V1 )?LLM engine(?: \((?P<v>v[^)]+)\))?",
        "starting",
        "engine starts",
        0.30,
    ),
    mark(r"Starting to load model|Loading model from scratch", "loading", "loading model", 0.40),
    # The hub's bar: `model.safetensors:  45%|###   | 121M/269M [00:05<00:06, 23.1MB/s]`.
    mark(
        r"(?P<percent>\d{1,3})%\|[^|]*\|\s*(?P<d>[\d.]+[kMGT]?)B?/(?P<n>[\d.]+[kMGT]?)B?\s*"
        r"\[[\d:]+<(?P<left>[\d:?]+),\s*(?P<rate>[\d.]+[kMGT]?)i?B/s",
        "loading",
        "downloading: {percent}% ({d} of {n}B, {rate}B/s, {left} left)",
        (0.40, 0.44),
        "weights",
    ),
    mark(
        r"(?:Downloading|Fetching)\b.*?(?P<percent>\d{1,3})%\|",
        "loading",
        "downloading: {percent}%",
        None,
        "weights",
    ),
    mark(r"Time spent downloading weights", "loading", "weights downloaded", 0.44),
    mark(
        r"checkpoint shards:\s+(?P<percent>\d{1,3})% Completed \| (?P<i>\d+)/(?P<n>\d+)",
        "loading",
        "shard {i}/{n}",
        (0.45, 0.65),
        "shards",
    ),
    mark(r"Loading weights took (?P<s>[\d.]+)", "loading", "weights read in {s} s", 0.66),
    mark(
        r"Model loading took (?P<g>[\d.]+) ?Gi?B|Loading model weights took (?P<h>[\d.]+) ?GB",
        "loading",
        "model loaded",
        0.68,
    ),
    mark(r"torch\.compile takes? (?P<s>[\d.]+)|torch\.compile took (?P<t>[\d.]+)", "loading",
          "compiled", 0.76),
    mark(r"Available KV cache memory: (?P<g>[\d.]+) GiB", "loading", "KV cache: {g} GiB", 0.80),
    mark(
        r"Explicitly set \((?P<g>[\d.]+)/[\d.]+\) GiB for KV", "loading", "KV cache: {g} GiB", 0.80
    ),
    mark(
        r"Auto-fit max_model_len: (?:reduced from [\d,]+ to|full \D+) (?P<n>[\d,]+)",
        "loading",
        "context: {n} tokens",
        0.81,
    ),
    mark(r"\w+ KV cache size: (?P<n>[\d,]+) tokens", "loading", "KV cache: {n} tokens", 0.82),
    mark(r"Maximum concurrency for (?P<n>[\d,]+) tokens", "loading", "context: {n} tokens", 0.82),
    mark(r"# (?:GPU|cuda) blocks: (?P<n>\d+)", "loading", "KV cache: {n} blocks", 0.82),
    mark(
        r"Captur\w+ CUDA graph\D*\s(?P<percent>\d{1,3})%\|(?:[^|]*\|)?\s*(?P<i>\d+)/(?P<n>\d+)",
        "loading",
        "capturing CUDA graphs: {i} of {n}",
        (0.85, 0.92),
        "graphs",
    ),
    mark(
        r"Captur\w+ (?:the model for )?CUDA graph", "loading", "capturing CUDA graphs", 0.85
    ),
    mark(r"Graph capturing finished in (?P<s>\d+)", "loading", "CUDA graphs in {s} s", 0.92),
    mark(r"init engine \(.*\) took (?P<s>[\d.]+)", "loading", "engine ready in {s} s", 0.95),
    mark(r"Starting vLLM (?:API )?server", "loading", "server starts", 0.97),
    mark(r"Application startup complete\.", "ready", "server is up", 1.0),
)  # fmt: skip


def read_line(line: str) -> LogMark | None:
    """The mark a line makes, if any. Fractions grow in the order of a start."""
    return read(line[:_LONGEST], _MARKS, read_memory)
