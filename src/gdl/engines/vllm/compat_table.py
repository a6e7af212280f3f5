"""compat.toml, read: releases, wheels, the container image."""

from __future__ import annotations

from functools import cache
from typing import Any

from gdl import shipped
from gdl.domain.lazy_dataclass import dataclass
from gdl.engines.python.versions import parse


@dataclass(frozen=True, slots=True)
class Release:
    """One row. python: least and greatest, both inclusive. See compat.toml for the others."""

    version: str
    torch: str
    torch_variants: tuple[str, ...]
    python: tuple[str, str]
    cuda: str
    glibc: str
    min_capability: float
    transformers: str
    backend: str = ""
    blackwell: str = ""
    constraints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wheel:
    """Releases first..last have a wheel for `variant` ("cu129"), under one of the tags."""

    variant: str
    first: str
    last: str
    tags: tuple[str, ...]

    @property
    def cuda(self) -> str:
        """ "12.9" for cu129."""
        return f"{self.variant[2:-1]}.{self.variant[-1]}"

    def has(self, version: str) -> bool:
        return parse(self.first) <= parse(version) <= parse(self.last)


@dataclass(frozen=True, slots=True)
class Image:
    """The releases' container images. gb: 10^9 bytes on disk; packed_gb: to be fetched."""

    name: str
    first: str
    min_capability: float
    gb: float
    packed_gb: float


@cache
def raw() -> dict[str, Any]:
    return shipped.table(__file__, "compat.toml")


@cache
def releases() -> tuple[Release, ...]:
    """The table's releases, oldest first."""
    return tuple(
        Release(
            version=row["version"],
            torch=row["torch"],
            torch_variants=tuple(row["torch_variants"]),
            python=(row["python"][0], row["python"][1]),
            cuda=row["cuda"],
            glibc=row["glibc"],
            min_capability=row["min_capability"],
            transformers=row["transformers"],
            backend=row.get("backend", ""),
            blackwell=row.get("blackwell", ""),
            constraints=tuple(row.get("constraints", ())),
        )
        for row in raw()["release"]
    )


def row_of(version: str) -> Release:
    """The row whose properties a version has: the newest that is not newer, else the oldest."""
    older = [r for r in releases() if parse(r.version) <= parse(version)]
    return older[-1] if older else releases()[0]


@cache
def wheels() -> tuple[Wheel, ...]:
    """Wheels beside those of the package index."""
    return tuple(
        Wheel(row["variant"], row["first"], row["last"], tuple(row["tags"]))
        for row in raw()["wheel"]
    )


@cache
def image() -> Image:
    row = raw()["image"]
    return Image(row["name"], row["first"], row["min_capability"], row["gb"], row["packed_gb"])
