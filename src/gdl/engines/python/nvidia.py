"""nvidia.toml, read: which driver runs which CUDA toolkit, and which GPUs that makes code for."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from gdl import shipped
from gdl.domain.host import HostFacts
from gdl.engines.python.versions import Version, parse


@cache
def raw() -> dict[str, Any]:
    return shipped.table(__file__, "nvidia.toml")


def driver_floor(cuda: str) -> str:
    """The oldest driver that runs a CUDA toolkit, as NVIDIA writes it."""
    major = cuda.partition(".")[0]
    return next(str(row["floor"]) for row in raw()["driver"] if row["cuda"] == major)


def knows(cuda: str, capability: float | None) -> bool:
    """Whether a toolkit makes code for GPUs of that compute capability; None: taken to."""
    if capability is None:
        return True
    for row in raw()["capability"]:
        if capability >= row["from"]:
            until = parse(row.get("until", ""))
            return parse(row["cuda"]) <= parse(cuda) and (not until or parse(cuda) < until)
    return False


def capability_of(host: HostFacts) -> float | None:
    """The least compute capability of the machine's GPUs, None when none tells it."""
    known = [parse(gpu.compute_capability) for gpu in host.gpus]
    least = min((c for c in known if c), default=None)
    return None if least is None else float(".".join(str(part) for part in (*least, 0)[:2]))


def driver_of(host: HostFacts) -> Version:
    """The driver's version; where it is not known, the floor of the CUDA it reports."""
    if parse(host.driver):
        return parse(host.driver)
    reported = host.cuda.partition(".")[0]
    return parse(driver_floor(reported if reported in ("11", "12", "13") else "12"))


def shown_driver(host: HostFacts) -> str:
    """The driver's version as the driver writes it."""
    found = re.match(r"[\d.]{1,20}", host.driver)
    return found.group() if found else ".".join(str(part) for part in driver_of(host))
