"""From what a repository says of itself to the architecture that is sized."""

from __future__ import annotations

from gdl.domain.model_facts import ModelFacts
from gdl.domain.requirements import gguf
from gdl.domain.requirements.architecture import Architecture, read
from gdl.domain.requirements.fields import Fields

_WIDE = "F32"
_MOSTLY = 0.5
_MOST_KEPT = 512
_KEPT: dict[int, tuple[ModelFacts, Architecture]] = {}
"""By the identity of facts that are kept alive here: what they hold cannot be hashed."""


def architecture_of(facts: ModelFacts | None) -> Architecture | None:
    """None where there is no configuration to go by. Raises UnreadableConfigError for one that
    cannot be. The same facts make the same object, as long as they are among the last few."""
    if facts is None:
        return None
    config = facts.config
    if not config and facts.gguf is not None:
        config = gguf.config_of(facts.gguf.metadata)
    if not config:
        return None
    kept = _KEPT.get(id(facts))
    if kept is not None and kept[0] is facts:
        return kept[1]
    made = read(
        config,
        quantization=facts.quantization_config or None,
        stored_bytes=_stored_bytes(facts),
    )
    while len(_KEPT) >= _MOST_KEPT:
        _KEPT.pop(next(iter(_KEPT)), None)
    _KEPT[id(facts)] = facts, made
    return made


def _stored_bytes(facts: ModelFacts) -> int:
    """Of the files, as they are once loaded: what is stored in 32 bits is loaded in 16."""
    stored = facts.weights_bytes
    counted = sum(facts.safetensors.values())
    if counted:
        wide = facts.safetensors.get(_WIDE, 0) > _MOSTLY * counted
    else:
        told = Fields(facts.config).text("torch_dtype", "dtype")
        wide = told == "float32" and not facts.quantization_config
    return stored // 2 if wide else stored
