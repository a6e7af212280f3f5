"""What the server's log says about its progress. Prefixes differ between releases and processes,
so every pattern may stand anywhere in a line."""

from __future__ import annotations

import re

from gdl.domain.lazy_dataclass import dataclass
from gdl.engines.base import LogMark
from gdl.engines.vllm.memory_log import read_memory

_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class _Mark:
    """fraction: of the whole start, or (from, to) where the line itself tells a percentage in its
    group `percent`. text: may name groups of the pattern. part: what that percentage is of."""

    pattern: re.Pattern[str]
    stage: str
    text: str
    fraction: float | tuple[float, float] | None
    part: str = ""


def _mark(
    pattern: str,
    stage: str,
    text: str,
    fraction: float | tuple[float, float] | None,
    part: str = "",
) -> _Mark:
    return _Mark(re.compile(pattern), stage, text, fraction, part)


# In the order in which a start passes them; the fractions grow with it.
_MARKS = (
    _mark(r"\[gdl\] verified numpy (?P<v>\S+)", "verified", "numpy {v} imports", 0.02),
    _mark(
        r"\[gdl\] verified torch (?P<v>\S+)(?: \(CUDA: (?P<c>[^)]*)\))?",
        "verified",
        "torch {v} imports (CUDA: {c})",
        0.05,
    ),
    _mark(r"\[gdl\] verified torchvision (?P<v>\S+)", "verified", "torchvision {v} imports", 0.06),
    _mark(r"\[gdl\] verified vllm (?P<v>\S+)", "verified", "vLLM {v} imports", 0.15),
    _mark(r"non-default args:", "starting", "reading the arguments", 0.18),
    _mark(r"Resolved architecture: (?P<a>\w+)", "starting", "architecture {a}", 0.20),
    _mark(
        r"Initializing an? (?:V1 )?LLM engine(?: \((?P<v>v[^)]+)\))?",
        "starting",
        "engine starts",
        0.30,
    ),
    _mark(r"Starting to load model|Loading model from scratch", "loading", "loading model", 0.40),
    # The hub's bar: `model.safetensors:  45%|###   | 121M/269M [00:05<00:06, 23.1MB/s]`.
    _mark(
        r"(?P<percent>\d{1,3})%\|[^|]*\|\s*(?P<d>[\d.]+[kMGT]?)B?/(?P<n>[\d.]+[kMGT]?)B?\s*"
        r"\[[\d:]+<(?P<left>[\d:?]+),\s*(?P<rate>[\d.]+[kMGT]?)i?B/s",
        "loading",
        "downloading: {percent} % ({d} of {n}B, {rate}B/s, {left} left)",
        (0.40, 0.44),
        "weights",
    ),
    _mark(
        r"(?:Downloading|Fetching)\b.*?(?P<percent>\d{1,3})%\|",
        "loading",
        "downloading: {percent} %",
        None,
        "weights",
    ),
    _mark(r"Time spent downloading weights", "loading", "weights downloaded", 0.44),
    _mark(
        r"checkpoint shards:\s+(?P<percent>\d{1,3})% Completed \| (?P<i>\d+)/(?P<n>\d+)",
        "loading",
        "shard {i}/{n}",
        (0.45, 0.65),
        "shards",
    ),
    _mark(r"Loading weights took (?P<s>[\d.]+)", "loading", "weights read in {s} s", 0.66),
    _mark(
        r"Model loading took (?P<g>[\d.]+) ?Gi?B|Loading model weights took (?P<h>[\d.]+) ?GB",
        "loading",
        "model loaded",
        0.68,
    ),
    _mark(r"torch\.compile takes? (?P<s>[\d.]+)|torch\.compile took (?P<t>[\d.]+)", "loading",
          "compiled", 0.76),
    _mark(r"Available KV cache memory: (?P<g>[\d.]+) GiB", "loading", "KV cache: {g} GiB", 0.80),
    _mark(
        r"Explicitly set \((?P<g>[\d.]+)/[\d.]+\) GiB for KV", "loading", "KV cache: {g} GiB", 0.80
    ),
    _mark(
        r"Auto-fit max_model_len: (?:reduced from [\d,]+ to|full \D+) (?P<n>[\d,]+)",
        "loading",
        "context: {n} tokens",
        0.81,
    ),
    _mark(r"\w+ KV cache size: (?P<n>[\d,]+) tokens", "loading", "KV cache: {n} tokens", 0.82),
    _mark(r"Maximum concurrency for (?P<n>[\d,]+) tokens", "loading", "context: {n} tokens", 0.82),
    _mark(r"# (?:GPU|cuda) blocks: (?P<n>\d+)", "loading", "KV cache: {n} blocks", 0.82),
    _mark(
        r"Captur\w+ CUDA graph\D*\s(?P<percent>\d{1,3})%\|(?:[^|]*\|)?\s*(?P<i>\d+)/(?P<n>\d+)",
        "loading",
        "capturing CUDA graphs: {i} of {n}",
        (0.85, 0.92),
        "graphs",
    ),
    _mark(
        r"Captur\w+ (?:the model for )?CUDA graph", "loading", "capturing CUDA graphs", 0.85
    ),
    _mark(r"Graph capturing finished in (?P<s>\d+)", "loading", "CUDA graphs in {s} s", 0.92),
    _mark(r"init engine \(.*\) took (?P<s>[\d.]+)", "loading", "engine ready in {s} s", 0.95),
    _mark(r"Starting vLLM (?:API )?server", "loading", "server starts", 0.97),
    _mark(r"Application startup complete\.", "ready", "server is up", 1.0),
)  # fmt: skip


_UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_FIRST = tuple(mark for mark in _MARKS if "non-default args" in mark.pattern.pattern)
"""What a server says once: a second time, it was started again."""


def read_line(line: str) -> LogMark | None:
    """The mark a line makes, if any. Fractions grow in the order of a start."""
    line = line[:_LONGEST]
    for mark in _MARKS:
        found = mark.pattern.search(line)
        if found is None:
            continue
        groups = {name: value or "" for name, value in found.groupdict().items()}
        fraction = mark.fraction
        share = min(int(groups["percent"]), 100) / 100 if "percent" in groups else None
        if isinstance(fraction, tuple):
            low, high = fraction
            fraction = low + (high - low) * (share or 0.0)
        downloading = mark.text.startswith("downloading") and int(groups["percent"]) < 100
        return LogMark(
            mark.stage,
            mark.text.format(**groups)[:120],
            fraction,
            mark in _FIRST,
            downloading,
            _bytes(groups["n"]) - _bytes(groups["d"]) if downloading and "d" in groups else None,
            mark.part,
            share,
            read_memory(line),
        )
    return None


def _bytes(text: str) -> float:
    """ "1.2G" -> 1.2e9; 0.0 for what is no number."""
    try:
        return float(text.rstrip("kMGT")) * _UNITS.get(text[-1:], 1.0)
    except ValueError:
        return 0.0
