"""Models: those known by alias (catalogue.toml), and what can be told from any other name."""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from gdl.domain.errors import UsageError
from gdl.domain.model import Model
from gdl.domain.requirements.shape import ModelShape

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
_SIZE = re.compile(r"(?<![\w.])(?:(\d+)x)?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", re.IGNORECASE)
_FOUR_BITS = re.compile(r"awq|gptq|int4|4bit|w4a16|nf4|bnb", re.IGNORECASE)
_EIGHT_BITS = re.compile(r"fp8|int8|8bit|w8a8", re.IGNORECASE)
_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of catalogue.toml. `heads`: attention heads; `chat`: it has a chat template;
    `packaged`: requirement of the distribution that carries its weights, or ""."""

    alias: str
    id: str
    shape: ModelShape
    heads: int
    gated: bool = False
    chat: bool = True
    packaged: str = ""

    def model(self, typed: str) -> Model:
        """`typed` decides the name in the API: the alias, or the hub id where that was typed."""
        by_id = typed == self.id
        packaged = bool(self.packaged) and not by_id
        return Model(
            typed=typed,
            source="packaged" if packaged else "hub",
            location=f"models/{self.alias}" if packaged else self.id,
            served_name=self.id if by_id else self.alias,
            shape=self.shape,
            gated=self.gated,
            heads=self.heads,
            chat=self.chat,
            packaged=self.packaged if packaged else "",
        )


@cache
def entries() -> dict[str, Entry]:
    """All known models by alias, in the file's order."""
    raw = tomllib.loads(files("gdl.hub").joinpath("catalogue.toml").read_text("utf-8"))
    return {alias: _entry(alias, fields) for alias, fields in raw.items()}


def _entry(alias: str, fields: dict[str, object]) -> Entry:
    def number(name: str) -> int:
        return int(str(fields[name]))

    shape = ModelShape(
        parameters_b=float(str(fields["parameters_b"])),
        layers=number("layers"),
        kv_heads=number("kv_heads"),
        head_size=number("head_size"),
        max_context=number("max_context"),
    )
    return Entry(
        alias=alias,
        id=str(fields["id"]),
        shape=shape,
        heads=number("heads"),
        gated=bool(fields.get("gated", False)),
        chat=bool(fields.get("chat", True)),
        packaged=str(fields.get("packaged", "")),
    )


def known() -> tuple[Model, ...]:
    """The models known by alias."""
    return tuple(entry.model(alias) for alias, entry in entries().items())


def resolve(typed: str) -> Model:
    """Alias (any case), hub id, or path on the machine. Raises UsageError with suggestions."""
    name = typed.strip()
    if not name or len(name) > _LONGEST or any(ord(c) < 32 or ord(c) == 127 for c in name):
        raise UsageError(
            "the model's name is empty, too long or has control characters",
            "name an alias such as tinyllama, a hub id (org/name) or a path on the machine",
        )
    if name.casefold() in entries():
        return entries()[name.casefold()].model(name.casefold())
    if name.startswith(("/", "~/")):
        return Model(name, "path", name, _path_name(name), guess_shape(_path_name(name)))
    if _HUB_ID.fullmatch(name) and ".." not in name:
        for entry in entries().values():
            if entry.id.casefold() == name.casefold():
                return entry.model(entry.id)
        return Model(name, "hub", name, name, guess_shape(name))
    raise _unknown(name)


def _unknown(name: str) -> UsageError:
    close = difflib.get_close_matches(name.casefold(), entries(), n=3, cutoff=0.5)
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    shown = ascii(name if len(name) <= 60 else name[:57] + "...")
    return UsageError(
        f"unknown model {shown}",
        f"{meant}An alias (`gdl-tui models`), a hub id (org/name) or an absolute path will do",
    )


def _path_name(path: str) -> str:
    """A name for the API from a path's last part: letters, digits, `_`, `.` and `-`."""
    last = path.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^\w.-]+", "-", last, flags=re.ASCII).strip("-.~") or "model"


def guess_shape(name: str) -> ModelShape | None:
    """Parameters and bytes per parameter as a name tells them ("7B", "8x7B", "135M", "AWQ");
    None where it tells no size."""
    found = _SIZE.search(name.rpartition("/")[2].replace("_", "-"))
    if found is None:
        return None
    times, size, unit = found.groups()
    parameters = float(size) * int(times or 1) / (1 if unit.lower() == "b" else 1000)
    bytes_each = 0.55 if _FOUR_BITS.search(name) else 1.05 if _EIGHT_BITS.search(name) else 2.0
    return ModelShape(parameters_b=parameters, bytes_per_parameter=bytes_each)
