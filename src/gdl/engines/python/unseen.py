"""A machine that nobody has looked at, as `doctor --plan` is asked about it."""

from __future__ import annotations

import re

from gdl.domain.errors import UsageError
from gdl.domain.host import Gpu, HostFacts
from gdl.engines.base import Preview

_NAMES = (
    (12.0, "RTX 5090"),
    (10.0, "B200"),
    (9.0, "H100"),
    (8.9, "RTX 4090"),
    (8.6, "RTX 3090"),
    (8.0, "A100"),
    (7.5, "T4"),
    (7.0, "V100"),
    (0.0, "an older GPU"),
)


def machine(driver: str, capability: str, *, docker: bool) -> tuple[HostFacts, Preview]:
    """(the machine, what is to be told of it so far), with that driver ("570.124.06", "none") and
    GPUs of that compute capability ("8.6"; "": not told). docker: it works there.

    Raises UsageError for what is neither.
    """
    shown = driver.strip().casefold()
    if shown != "none" and not re.fullmatch(r"\d{3}(\.\d{1,4}){0,2}", shown):
        raise UsageError(
            f"not a driver's version: {ascii(driver)[:40]}", 'such as 570.124.06, 535 or "none"'
        )
    if capability and not re.fullmatch(r"\d{1,2}\.\d", capability):
        raise UsageError(
            f"not a compute capability: {ascii(capability)[:40]}", "such as 8.6 (an RTX 3090)"
        )
    gpus = (Gpu(_name(capability), 0, capability),) if shown != "none" else ()
    host = HostFacts(
        os="Linux",
        arch="x86_64",
        cpu_count=0,
        ram_gib=0.0,
        disk_free_gib=0.0,
        gpus=gpus,
        driver="" if shown == "none" else shown,
        gpu_error="" if gpus else "nvidia-smi: not found",
        docker="docker" if docker else "",
        docker_gpus=docker,
    )
    return host, Preview(shown, f"{capability} ({gpus[0].name})" if capability and gpus else "")


def _name(capability: str) -> str:
    return next(name for least, name in _NAMES if float(capability or 99) >= least)
