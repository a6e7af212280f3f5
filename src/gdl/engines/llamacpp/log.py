"""What the log of llama.cpp's server says about its progress and its memory. Older builds and other
programs put other things before the words, so every pattern may stand anywhere in a line."""

from __future__ import annotations

import re

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.requirements.allocation import Load
from gdl.domain.server_memory import ServerMemory
from gdl.engines.base import LogMark

_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class _Mark:
    """fraction: of the whole start. text: may name groups of the pattern."""

    pattern: re.Pattern[str]
    stage: str
    text: str
    fraction: float


# In the order in which a start passes them; the fractions grow with it.
_MARKS = tuple(
    _Mark(re.compile(pattern), stage, text, fraction)
    for pattern, stage, text, fraction in (
        (r"\[gdl\] verified xllamacpp (?P<v>\S+)", "verified", "xllamacpp {v} loads", 0.05),
        (r"\binit: initializing \.\.\.", "starting", "the server starts", 0.08),
        (r"\bload_model: loading model '", "loading", "loading model", 0.10),
        (r"projected to use (?P<n>\d+) MiB of device memory", "loading",
         "{n} MiB of GPU memory planned", 0.25),
        (r"projected to use (?P<n>\d+) MiB of host memory", "loading", "{n} MiB planned", 0.25),
        (r"loaded meta data with \d+ key-value pairs and (?P<n>\d+) tensors", "loading",
         "reading {n} tensors", 0.30),
        (r"load_tensors: loading model tensors", "loading", "loading the tensors", 0.40),
        (r"offloaded (?P<n>\d+)/(?P<of>\d+) layers to GPU", "loading",
         "{n} of {of} layers on the GPU", 0.60),
        (r"llama_context: constructing llama_context", "loading", "model loaded", 0.65),
        (r"llama_kv_cache\w*: size = +(?P<m>[\d.]+) MiB \( *(?P<n>\d+) cells", "loading",
         "KV cache: {m} MiB", 0.70),
        (r"warming up the model", "loading", "warming up", 0.80),
        (r"n_slots = (?P<n>\d+), n_ctx_slot = (?P<c>\d+)", "loading",
         "{n} slots of {c} tokens", 0.90),
        (r"\b(?:init|main|llama_server): model loaded", "loading", "model loaded", 0.97),
        (r"\b(?:init|main|llama_server): (?:server is )?listening on http", "ready",
         "server is up", 1.0),
    )
)  # fmt: skip
_FIRST = _MARKS[1]
"""What a server says once: a second time, it was started again."""
_CACHE = re.compile(
    r"llama_kv_cache: size = +(?P<mib>\d{1,9}\.\d+) MiB \( *(?P<cells>\d{1,9}) cells, .{1,20}/ *"
    r"(?P<n>\d{1,5}) seqs.*"
    r"K \((?P<k>\w{1,10})\):.*V \((?P<v>\w{1,10})\):"
)
_SLOTS = re.compile(
    r"n_slots = (?P<n>\d{1,5}), n_ctx_slot = (?P<c>\d{1,9}), kv_unified = '(?P<u>\w+)'"
)
_WEIGHTS = re.compile(r"load_tensors: +CUDA\d+ model buffer size = +(?P<mib>\d{1,9}\.\d+) MiB")
_RELEASE = re.compile(
    r"\[gdl\] verified xllamacpp (?P<v>\d[\w.+-]{0,40})|build(?:_info)?: b?(?P<b>[1-9]\d{2,8})\b"
)


def read_line(line: str) -> LogMark | None:
    """The mark a line makes, if any."""
    line = line[:_LONGEST]
    for mark in _MARKS:
        if (found := mark.pattern.search(line)) is not None:
            text = mark.text.format(**found.groupdict())[:120]
            begins = mark is _FIRST
            return LogMark(mark.stage, text, mark.fraction, begins, memory=read_memory(line))
    return None


def read_memory(line: str) -> ServerMemory | None:
    """What a line tells of release, cache and slots; None: nothing."""
    if found := _RELEASE.search(line):
        return ServerMemory(release=found["v"] or f"b{found['b']}")
    if found := _CACHE.search(line):
        keys, values = found["k"], found["v"]
        kv_dtype = keys if keys == values else f"{keys}/{values}"
        return ServerMemory(
            load=Load(kv_dtype="auto" if kv_dtype == "f16" else kv_dtype),
            cache_gib=float(found["mib"]) / 1024,
            cache_given=True,
            cache_tokens=int(found["cells"]) * int(found["n"]),
        )
    if found := _SLOTS.search(line):
        # One cache for all has space for a single request of that length.
        slots = 1 if found["u"] == "true" else int(found["n"])
        return ServerMemory(context=int(found["c"]), sequences=float(slots))
    return None
