"""The models that the program knows by itself: aliases, sizes, shapes, and quantized variants.

catalogue.toml says what its fields mean. configs.json holds the models' own config.json, without
what no size depends on; quantizations.json the `quantization_config` of variants.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from gdl import shipped
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.model_facts import FactsSource, ModelFacts, RepoFile
from gdl.domain.requirements.shape import ModelShape


@dataclass(frozen=True, slots=True)
class Format:
    """How weights are stored. name: as it is typed ("fp8"); words: as people write it ("FP8").
    bytes_each: per parameter, where a repository's own size is not known. least: compute
    capability of a GPU that runs them; native: from which on it computes in them."""

    name: str
    words: str
    bytes_each: float
    least: float
    native: float


@dataclass(frozen=True, slots=True)
class Variant:
    """The same model in another format. size_gb: 10^9 bytes of weights, None when not known;
    derived: it was computed."""

    id: str
    format: Format
    size_gb: float | None
    derived: bool
    source: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the catalogue; the fields are those of catalogue.toml."""

    id: str
    aliases: tuple[str, ...]
    parameters_b: float
    active_b: float
    weights: Format
    size_gb: float | None
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    max_context: int
    gated: bool
    chat: bool
    packaged: str
    license: str
    released: date | None
    source: str
    dated: date
    verified: bool
    variants: tuple[Variant, ...]

    @property
    def alias(self) -> str:
        """The one that is shown."""
        return self.aliases[0]

    @property
    def config(self) -> Mapping[str, Any]:
        """Its config.json, as far as sizes depend on it; {} when that is not known."""
        found: Mapping[str, Any] = _data("configs.json").get(self.id, {})
        return found

    def variant(self, format_name: str) -> Variant | None:
        return next((v for v in self.variants if v.format.name == format_name), None)

    def shape(self, variant: Variant | None = None) -> ModelShape:
        """Of the model itself, or of one of its variants."""
        kind, size = (
            (self.weights, self.size_gb) if variant is None else (variant.format, variant.size_gb)
        )
        sixteen_bits = kind.bytes_each == 2.0
        return ModelShape(
            parameters_b=self.parameters_b,
            layers=self.layers,
            kv_heads=self.kv_heads,
            head_size=self.head_size,
            max_context=self.max_context,
            bytes_per_parameter=(
                kind.bytes_each if sixteen_bits or size is None else size / self.parameters_b
            ),
        )

    def facts(self, variant: Variant | None = None) -> ModelFacts:
        """What the catalogue knows of its repository, or of a variant's. The same object each time,
        as what is worked out of facts is kept by them."""
        return _facts(self, variant)


@cache
def formats() -> dict[str, Format]:
    """By name."""
    return {
        name: Format(name, row["words"], row["bytes"], row["least"], row["native"])
        for name, row in _raw()["formats"].items()
    }


@cache
def entries() -> tuple[Entry, ...]:
    """All models, in the file's order."""
    return tuple(_entry(row) for row in _raw()["model"])


@cache
def by_alias() -> dict[str, Entry]:
    return {alias: entry for entry in entries() for alias in entry.aliases}


@cache
def _by_id() -> dict[str, tuple[Entry, Variant | None]]:
    found: dict[str, tuple[Entry, Variant | None]] = {}
    for entry in entries():
        for variant in entry.variants:
            found.setdefault(variant.id.casefold(), (entry, variant))
    return found | {entry.id.casefold(): (entry, None) for entry in entries()}


def find(ident: str) -> tuple[Entry, Variant | None] | None:
    """The model with that hub id, in any case, and the variant that the id is of, if it is one."""
    return _by_id().get(ident.casefold())


def ids() -> tuple[str, ...]:
    """The hub ids of all models and variants."""
    return tuple(
        each for entry in entries() for each in (entry.id, *(v.id for v in entry.variants))
    )


@lru_cache(maxsize=1024)
def _facts(entry: Entry, variant: Variant | None) -> ModelFacts:
    ident, size = (entry.id, entry.size_gb) if variant is None else (variant.id, variant.size_gb)
    config = dict(entry.config)
    if variant is not None:
        config.pop("quantization_config", None)
        if own := _data("quantizations.json").get(variant.id):
            config["quantization_config"] = own
    weights = () if size is None else (RepoFile("model.safetensors", round(size * 1e9)),)
    return ModelFacts(
        id=ident,
        source=FactsSource.CATALOGUE,
        told_at=datetime(entry.dated.year, entry.dated.month, entry.dated.day, tzinfo=UTC),
        config=config,
        files=weights,
        quantization_config=config.get("quantization_config", {}),
        gated=entry.gated and variant is None,
        license=entry.license,
        base_models=() if variant is None else (("quantized", entry.id),),
    )


_date = date.fromisoformat


def _entry(row: Mapping[str, Any]) -> Entry:
    by_name = formats()
    return Entry(
        id=row["id"],
        aliases=tuple(row["aliases"]),
        parameters_b=float(row["parameters_b"]),
        active_b=float(row.get("active_b", row["parameters_b"])),
        weights=by_name[row["weights"]],
        size_gb=row.get("size_gb"),
        layers=row["layers"],
        heads=row["heads"],
        kv_heads=row["kv_heads"],
        head_size=row["head_size"],
        max_context=row["max_context"],
        gated=row.get("gated", False),
        chat=row.get("chat", True),
        packaged=row.get("packaged", ""),
        license=row.get("license", ""),
        released=_date(row["released"]) if "released" in row else None,
        source=row["source"],
        dated=_date(row["dated"]),
        verified=row["verified"],
        variants=tuple(
            Variant(
                each["id"],
                by_name[each["format"]],
                each.get("size_gb"),
                each.get("derived", False),
                each["source"],
            )
            for each in row.get("variants", ())
        ),
    )


@cache
def _raw() -> dict[str, Any]:
    return shipped.table(__file__, "catalogue.toml")


@cache
def _data(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(Path(__file__).with_name(name).read_bytes())
    return data
