"""What vLLM's log says of weights, cache and context. The lines are those of 0.32; older releases
say the same in fewer words, or in several lines."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from gdl.domain.requirements.allocation import Load
from gdl.domain.server_memory import ServerMemory
from gdl.engines.vllm import load_limits

_COUNT = r"(?P<{name}>\d[\d,]{{0,12}})"
_WORTH = re.compile(
    r"KV cache|concurrency|max_model_len|oading model|oading took|LLM engine|args: "
)
"""Most lines are not looked at any further."""
_GIB = r"(?P<{name}>\d{{1,6}}(?:\.\d+)?)"
_RELEASE = re.compile(r"LLM engine \(v?(?P<release>\d[\w.+]{0,30})\)")
_ARGUMENTS = re.compile(r"non-default args: (?P<arguments>\{.*)")
_ARGUMENT = re.compile(r"'(?P<name>\w+)': (?P<value>'[^']*'|[^,}]+)")
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:Model loading took|Loading model weights took) "
        + _GIB.format(name="weights_gib")
        + " ?Gi?B",
        r"Available KV cache memory: " + _GIB.format(name="cache_gib") + " GiB",
        r"Maximum concurrency for "
        + _COUNT.format(name="context")
        + r" tokens per request: (?P<sequences>\d{1,9}(?:\.\d+)?)x",
        r"KV cache size: " + _COUNT.format(name="cache_tokens") + " tokens",
        r"Auto-fit max_model_len: reduced from "
        + _COUNT.format(name="reduced_from")
        + " to "
        + _COUNT.format(name="context"),
    )
)
# On the CPU: of the memory of a NUMA node.
_GIVEN = re.compile(r"Explicitly set \(" + _GIB.format(name="cache_gib") + r"/[\d.]+\) GiB for KV")
_MOST_GPUS = 1024
_FRACTIONAL = frozenset({"weights_gib", "cache_gib", "sequences"})

_UNPREDICTED = frozenset(
    {
        "additional_config", "attention_config", "block_size", "calculate_kv_scales",
        "cpu_offload_gb", "data_parallel_size", "decode_context_parallel_size", "enable_lora",
        "hf_overrides", "kv_offloading_size", "kv_transfer_config", "mamba_cache_dtype",
        "mamba_ssm_cache_dtype", "mm_encoder_tp_mode", "num_gpu_blocks_override",
        "pipeline_parallel_size", "prefill_context_parallel_size", "runner", "speculative_config",
        "swap_space",
    }
)  # fmt: skip
"""Arguments that change what a sequence takes in a way that no prediction counts."""
_OVERHEAD = frozenset({"enforce_eager", "gpu_memory_utilization", "compilation_config"})
"""Those that change how much is left for the cache."""


def read_memory(line: str) -> ServerMemory | None:
    """What a line tells; None: nothing."""
    if not _WORTH.search(line):
        return None
    if found := _RELEASE.search(line):
        return ServerMemory(release=found["release"])
    if found := _ARGUMENTS.search(line):
        return _started_with(found["arguments"])
    if found := _GIVEN.search(line):
        return ServerMemory(cache_gib=float(found["cache_gib"]), cache_given=True)
    told: dict[str, float | int] = {}
    for pattern in _PATTERNS:
        if found := pattern.search(line):
            for name, text in found.groupdict().items():
                told[name] = float(text) if name in _FRACTIONAL else int(text.replace(",", ""))
    return ServerMemory(**told) if told else None  # type: ignore[arg-type] # by name, as above


def _started_with(arguments: str) -> ServerMemory:
    """The arguments that are not the defaults, as a Python dictionary is written."""
    given = {found["name"]: found["value"].strip("' ") for found in _ARGUMENT.finditer(arguments)}
    quantization = given.get("quantization", "")
    load = Load(
        kv_dtype=given.get("kv_cache_dtype", "auto")[:20],
        quantization=quantization if quantization in load_limits.QUANTIZATIONS else "",
        tensor_parallel=min(max(_number(given.get("tensor_parallel_size"), 1), 1), _MOST_GPUS),
        batch_tokens=_number(given.get("max_num_batched_tokens"), 0),
        prefix_caching=_switch(given.get("enable_prefix_caching")),
        async_scheduling=_switch(given.get("async_scheduling")),
        language_only=given.get("language_model_only") == "True",
    )
    cache = _number(given.get("kv_cache_memory_bytes"), 0)
    return ServerMemory(
        load=load,
        unpredicted=_first_of(_UNPREDICTED, given),
        free_unpredicted=_first_of(_OVERHEAD, given),
        cache_gib=cache / 2**30 if cache else None,
        cache_given=bool(cache),
    )


def _first_of(names: Collection[str], given: Mapping[str, str]) -> str:
    """Which of the arguments was given, in words."""
    found = next((name for name in given if name in names), "")
    return f"--{found.replace('_', '-')} is set" if found else ""


def _number(text: str | None, otherwise: int) -> int:
    return int(text) if text is not None and re.fullmatch(r"\d{1,12}", text) else otherwise


def _switch(text: str | None) -> bool | None:
    return {"True": True, "False": False}.get(text or "")
