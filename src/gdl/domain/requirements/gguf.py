"""A configuration from the header of a GGUF file, which names everything in its own way.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_NAMES = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "context_length": "max_position_embeddings",
    "vocab_size": "vocab_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.value_length": "v_head_dim",
    "attention.sliding_window": "sliding_window",
    "attention.kv_lora_rank": "kv_lora_rank",
    "attention.q_lora_rank": "q_lora_rank",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_count": "n_shared_experts",
    "leading_dense_block_count": "first_k_dense_replace",
    "nextn_predict_layers": "num_nextn_predict_layers",
}
_MODEL_TYPES = {
    "qwen2moe": "qwen2_moe",
    "qwen3moe": "qwen3_moe",
    "gpt-oss": "gpt_oss",
    "deepseek2": "deepseek_v2",
    "command-r": "cohere",
    "glm4moe": "glm4_moe",
    "gptneox": "gpt_neox",
}
_VOCABULARY = 32_000
"""Where it is told by the list of its words alone, which is not read."""
_SPLIT_ONLY = ("deepseek2",)
"""Their heads are split in ways that the header tells otherwise: the files alone are gone by."""


def config_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """As a config.json would have it; {} where the header tells too little."""
    kind = metadata.get("general.architecture")
    if not isinstance(kind, str) or kind in _SPLIT_ONLY:
        return {}
    told = {name: metadata.get(f"{kind}.{key}") for key, name in _NAMES.items()}
    made = {name: value for name, value in told.items() if value is not None}
    if "num_hidden_layers" not in made or "hidden_size" not in made:
        return {}
    made.setdefault("vocab_size", _VOCABULARY)
    return made | {"model_type": _MODEL_TYPES.get(kind, kind), "architectures": [f"GGUF {kind}"]}
