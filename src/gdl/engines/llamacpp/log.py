"""What the log of llama.cpp's server says about its progress and its memory."""

from __future__ import annotations

import re

from gdl.domain.requirements.allocation import Load
from gdl.domain.server_memory import ServerMemory
from gdl.engines.base import LogMark
from gdl.engines.log_marks import mark, read

_LONGEST = 2000

# In the order in which a start passes them; the fractions grow with it.
_MARKS = (
    mark(r"\[gdl\] verified xllamacpp (?P<v>\S+)", "verified", "xllamacpp {v} loads", 0.05),
    mark(r"\binit: initializing \.\.\.", "starting", "the server starts", 0.08, begins=True),
    mark(r"\bload_model: loading model '", "loading", "loading model", 0.10),
    mark(r"projected to use (?P<n>\d+) MiB of device memory", "loading",
         "{n} MiB of GPU memory planned", 0.25),
    mark(r"projected to use (?P<n>\d+) MiB of host memory", "loading", "{n} MiB planned", 0.25),
    mark(r"loaded meta data with \d+ key-value pairs and (?P<n>\d+) tensors", "loading",
         "reading {n} tensors", 0.30),
    mark(r"load_tensors: loading model tensors", "loading", "loading the tensors", 0.40),
    mark(r"offloaded (?P<n>\d+)/(?P<of>\d+) layers to GPU", "loading",
         "{n} of {of} layers on the GPU", 0.60),
    mark(r"llama_context: constructing llama_context", "loading", "model loaded", 0.65),
    mark(r"llama_kv_cache\w*: size = +(?P<m>[\d.]+) MiB \( *(?P<n>\d+) cells", "loading",
         "KV cache: {m} MiB", 0.70),
    mark(r"warming up the model", "loading", "warming up", 0.80),
    mark(r"n_slots = (?P<n>\d+), n_ctx_slot = (?P<c>\d+)", "loading",
         "{n} slots of {c} tokens", 0.90),
    mark(r"\b(?:init|main|llama_server): model loaded", "loading", "model loaded", 0.97),
    mark(r"\b(?:init|main|llama_server): (?:server is )?listening on http", "ready",
         "server is up", 1.0),
)  # fmt: skip
_CACHE = re.compile(
    r"llama_kv_cache: size = +(?P<mib>\d{1,9}\.\d+) MiB \( *(?P<cells>\d{1,9}) cells, .{1,20}/ *"
    r"(?P<n>\d{1,5}) seqs.*"
    r"K \((?P<k>\w{1,10})\):.*V \((?P<v>\w{1,10})\):"
)
_SLOTS = re.compile(
    r"n_slots = (?P<n>\d{1,5}), n_ctx_slot = (?P<c>\d{1,9}), kv_unified = '(?P<u>\w+)'"
)
_RELEASE = re.compile(
    r"\[gdl\] verified xllamacpp (?P<v>\d[\w.+-]{0,40})|build(?:_info)?: b?(?P<b>[1-9]\d{2,8})\b"
)


def read_line(line: str) -> LogMark | None:
    """The mark a line makes, if any."""
    return read(line[:_LONGEST], _MARKS, read_memory)


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
