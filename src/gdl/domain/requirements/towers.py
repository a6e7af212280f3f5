"""What reads images and sounds for a language model: the weights of its towers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gdl.domain.requirements.fields import Fields, towers
from gdl.domain.requirements.layers import Part, Split

_THREE_MATRICES = frozenset(
    {"qwen2_5_vl", "glm4v", "glm4v_moe", "glm_ocr", "pixtral", "mistral3", "exaone4_5", "gemma4"}
)
"""Their towers' networks have a gate."""
_WHOLE = frozenset({"gemma4", "gemma3n", "muse_glimmer"})
"""Their towers are not split: every GPU holds all of them."""


def tower_parts(config: Mapping[str, Any], hidden: int) -> list[Part]:
    """Of a model whose language part is `hidden` wide. Close enough for what is a few percent of
    the whole: 4 matrices of attention and 2 or 3 of a network a layer, and a merger."""
    kind = Fields(config).text("model_type")
    parts = []
    for name, tower in towers(config):
        numbers = _layers(tower, kind) + _merger(tower, hidden)
        if numbers:
            split = Split.NONE if kind in _WHOLE else Split.ALL
            parts.append(Part(name, numbers, split, tower=True))
    return parts


def _layers(tower: Fields, kind: str) -> int:
    wide = tower.number("hidden_size", "embed_dim", "d_model", "width")
    count = tower.number("depth", "num_hidden_layers", "encoder_layers", "layers")
    if not wide or not count:
        return 0
    if "embed_dim" in tower and kind == "qwen2_vl":
        wide = tower.number("embed_dim")
    inner = tower.number("intermediate_size", "encoder_ffn_dim")
    inner = inner or int(wide * tower.ratio("mlp_ratio", default=4.0))
    matrices = 3 if kind in _THREE_MATRICES else 2
    patch = tower.number("patch_size", default=14)
    pixels = 3 * patch * patch * tower.number("temporal_patch_size", default=1)
    each = 4 * wide * wide + matrices * wide * inner + 10 * wide
    side = tower.number("image_size") // max(patch, 1)
    positions = tower.number("num_position_embeddings", "max_source_positions", default=side * side)
    # Gemma 4 has them for rows and columns.
    positions += 2 * tower.number("position_embedding_size")
    return count * each + (pixels + positions) * wide


def _merger(tower: Fields, hidden: int) -> int:
    """The projector: neighbouring patches are merged, then widened to the language model's size."""
    wide = tower.number("hidden_size", "embed_dim", "d_model", "width")
    out = tower.number("out_hidden_size", default=hidden)
    merged = wide * tower.number("spatial_merge_size", "merge_size", default=1) ** 2
    if not wide:
        return 0
    deep = len(tower.items("deepstack_visual_indexes"))
    return (1 + deep) * (merged * merged + merged * out)
