"""What the user's own arguments change of a load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gdl.domain.requirements.allocation import Load
from gdl.domain.requirements.weights import ONLINE_BITS
from gdl.engines.python.arguments import MOST_GPUS, MOST_TOKENS, number
from gdl.engines.vllm import server_flags


def asked(load: Load, arguments: Sequence[str]) -> Load:
    """Whatever is no usable value leaves the load as it is: the server will say so."""
    given = server_flags.given(arguments)
    if not given:
        return load
    quantization = given.get("--quantization", "")
    return replace(
        load,
        context=number(given, "--max-model-len", load.context, MOST_TOKENS),
        kv_dtype=given.get("--kv-cache-dtype", "")[:20] or load.kv_dtype,
        quantization=quantization if quantization in ONLINE_BITS else load.quantization,
        tensor_parallel=number(given, "--tensor-parallel-size", load.tensor_parallel, MOST_GPUS),
        batch_tokens=number(given, "--max-num-batched-tokens", load.batch_tokens, MOST_TOKENS),
        prefix_caching=_switch(given, "--enable-prefix-caching", load.prefix_caching),
        async_scheduling=_switch(given, "--async-scheduling", load.async_scheduling),
        language_only=bool(_switch(given, "--language-model-only", load.language_only)),
    )


def _switch(given: Mapping[str, str], flag: str, default: bool | None) -> bool | None:
    return given[flag] != "no" if flag in given else default
