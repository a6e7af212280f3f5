"""Versions, and which Python fits."""

from __future__ import annotations

import re
from functools import lru_cache

from gdl.domain.host import HostFacts

Version = tuple[int, ...]
PREFERRED_PYTHONS = ("3.12", "3.11", "3.13", "3.10", "3.14", "3.9", "3.8")


@lru_cache(maxsize=256)
def parse(version: str) -> Version:
    """Leading numbers of a version: "580.65.06" -> (580, 65, 6); "" -> ()."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def python_fits(version: str, bounds: tuple[str, str]) -> bool:
    return parse(bounds[0]) <= parse(version)[:2] <= parse(bounds[1])


def fitting_python(host: HostFacts, bounds: tuple[str, str]) -> str:
    """The machine's own Python to use, as "3.11", or "" when none fits."""
    there = {".".join(v.split(".")[:2]) for v in host.pythons if python_fits(v, bounds)}
    return next((v for v in PREFERRED_PYTHONS if v in there), "")
