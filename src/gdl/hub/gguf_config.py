"""What the header of a GGUF file tells of a model, in the form of a config.json.

Names on the left are llama.cpp's (`gguf-py/gguf/constants.py`), those on the right transformers'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CLASSES = {
    "llama": ("LlamaForCausalLM", "llama"),
    "qwen2": ("Qwen2ForCausalLM", "qwen2"),
    "qwen2moe": ("Qwen2MoeForCausalLM", "qwen2_moe"),
    "qwen3": ("Qwen3ForCausalLM", "qwen3"),
    "qwen3moe": ("Qwen3MoeForCausalLM", "qwen3_moe"),
    "phi3": ("Phi3ForCausalLM", "phi3"),
    "granite": ("GraniteForCausalLM", "granite"),
    "olmo2": ("Olmo2ForCausalLM", "olmo2"),
    "starcoder2": ("Starcoder2ForCausalLM", "starcoder2"),
    "stablelm": ("StableLmForCausalLM", "stablelm"),
}
"""Those whose layers are all alike: of the others the header tells too little."""
_NUMBERS = {
    "block_count": "num_hidden_layers",
    "embedding_length": "hidden_size",
    "attention.head_count": "num_attention_heads",
    "context_length": "max_position_embeddings",
}
_MORE = {
    "feed_forward_length": "intermediate_size",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_shared_feed_forward_length": "shared_expert_intermediate_size",
    "vocab_size": "vocab_size",
}
VOCABULARY = "tokenizer.ggml.tokens.length"


def config_of(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """{} for an architecture that is not known well enough, or a header without what it needs."""
    kind = metadata.get("general.architecture")
    if not isinstance(kind, str) or kind not in _CLASSES:
        return {}
    name, model_type = _CLASSES[kind]
    config: dict[str, Any] = {"architectures": [name], "model_type": model_type}
    for key, field in (_NUMBERS | _MORE).items():
        value = metadata.get(f"{kind}.{key}")
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            config[field] = value
    if any(field not in config for field in _NUMBERS.values()):
        return {}
    words = metadata.get(VOCABULARY)
    if "vocab_size" not in config and isinstance(words, int):
        config["vocab_size"] = words
    return config
