"""A configuration that somebody else wrote, read with suspicion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gdl.domain.errors import UsageError

_MOST = 1 << 40
"""No size, count or length of a model comes near."""
_LONGEST_LIST = 4096
_DEEPEST = 3


class UnreadableConfigError(UsageError):
    """A configuration that holds what cannot be."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the model's configuration cannot be read: {what}", "choose another model or revision"
        )


class Fields:
    """The values of a configuration by name. Where several names are given, the first that is
    there counts; None counts as missing. Raises UnreadableConfigError for a value of another kind,
    a negative number, or one that is out of all proportion."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self.raw = raw

    def __contains__(self, name: str) -> bool:
        return self.raw.get(name) is not None

    def _first(self, names: tuple[str, ...]) -> tuple[str, Any]:
        for name in names:
            value = self.raw.get(name)
            if value is not None:
                return name, value
        return names[0], None

    def number(self, *names: str, default: int = 0) -> int:
        """A whole number from 0 up."""
        name, value = self._first(names)
        if value is None:
            return default
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise UnreadableConfigError(f"{name} is not a whole number")
        if not 0 <= value <= _MOST:
            raise UnreadableConfigError(f"{name} is out of range")
        return value

    def ratio(self, *names: str, default: float = 1.0) -> float:
        name, value = self._first(names)
        if value is None:
            return default
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise UnreadableConfigError(f"{name} is not a number")
        if not 0 <= value <= _MOST:
            raise UnreadableConfigError(f"{name} is out of range")
        return float(value)

    def group_size(self, *names: str) -> int:
        """The size of a group; 0 where there is none, which some write as -1."""
        value = self._first(names)[1]
        return value if isinstance(value, int) and 0 < value <= _MOST else 0

    def flag(self, *names: str, default: bool = False) -> bool:
        name, value = self._first(names)
        if value is None:
            return default
        if not isinstance(value, (bool, int)):
            raise UnreadableConfigError(f"{name} is neither true nor false")
        return bool(value)

    def text(self, *names: str) -> str:
        """At most 200 characters of it; "" where it is missing or no text."""
        value = self._first(names)[1]
        return value[:200] if isinstance(value, str) else ""

    def items(self, *names: str) -> list[Any]:
        """A list of a few thousand; [] where it is missing or a single value."""
        name, value = self._first(names)
        if not isinstance(value, (list, tuple)):
            return []
        if len(value) > _LONGEST_LIST:
            raise UnreadableConfigError(f"{name} has {len(value)} entries")
        return list(value)

    def numbers(self, *names: str) -> list[int]:
        """Likewise, all of them whole numbers; true counts as 1, null as 0."""
        values = self.items(*names)
        for value in values:
            if value is not None and (not isinstance(value, int) or not -1 <= value <= _MOST):
                raise UnreadableConfigError(f"{names[0]} holds what is not a number")
        return [int(value or 0) for value in values]

    def texts(self, *names: str) -> list[str]:
        return [value[:200] if isinstance(value, str) else "" for value in self.items(*names)]

    def inner(self, *names: str) -> Fields:
        """A configuration inside this one; an empty one where there is none."""
        value = self._first(names)[1]
        return Fields(value if isinstance(value, Mapping) else {})


_TEXT = ("text_config", "llm_config", "language_config", "language_model", "thinker_config")
"""Where a model for more than text keeps the part that writes."""


def text_part(config: Mapping[str, Any]) -> Fields:
    """The configuration of the language model, with what it does not repeat from around it."""
    fields = Fields(config)
    for _ in range(_DEEPEST):
        inside = next((name for name in _TEXT if isinstance(fields.raw.get(name), Mapping)), None)
        if inside is None:
            break
        outside = {k: v for k, v in fields.raw.items() if k in _SHARED and v is not None}
        own = {k: v for k, v in fields.raw[inside].items() if v is not None}
        fields = Fields({**outside, **own})
    return fields


_SHARED = (
    "model_type", "tie_word_embeddings", "torch_dtype", "dtype", "quantization_config",
    "vocab_size",
)  # fmt: skip


def towers(config: Mapping[str, Any]) -> Iterator[tuple[str, Fields]]:
    """(name, configuration) of whatever reads images or sounds."""
    places = [config]
    if isinstance(config.get("thinker_config"), Mapping):
        places.append(config["thinker_config"])
    for place in places:
        for name in ("vision_config", "vit_config", "audio_config", "audio_tower_config"):
            inside = place.get(name)
            if isinstance(inside, Mapping) and inside:
                yield ("audio" if "audio" in name else "vision"), Fields(inside)
