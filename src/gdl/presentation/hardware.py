"""GPUs and machines. Names come from elsewhere and are cleaned here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gdl.domain.offers import NOT_ASKED
from gdl.domain.requirements.cards import sold_as
from gdl.presentation.lines import plain

if TYPE_CHECKING:
    from gdl.domain.host import HostFacts

NO_GPU = "CPU only"


class HasGpus(Protocol):
    """An offer, an attempt, a session."""

    @property
    def gpu_name(self) -> str: ...

    @property
    def gpu_count(self) -> int: ...


def gpu_name(name: str) -> str:
    """Shorter: without the maker's name."""
    return plain(name, 60).removeprefix("NVIDIA ").removeprefix("GeForce ").strip()


def gpus(item: HasGpus) -> str:
    """In short: "RTX 4090", "2x A100", "CPU only", or "not asked yet"."""
    if item.gpu_count <= 0:
        return NOT_ASKED if item.gpu_name == NOT_ASKED else NO_GPU
    name = gpu_name(item.gpu_name) or "GPU"
    return name if item.gpu_count == 1 else f"{item.gpu_count}x {name}"


def machine(item: HasGpus, vram_gb: float = 0.0) -> str:
    """In full: "2x NVIDIA A100 80 GB"; without a GPU what the backend calls it, or "CPU only".
    vram_gb: as listed; what is told is the size that the GPU is sold with."""
    name = plain(item.gpu_name, 60)
    if item.gpu_count <= 0:
        return name or NO_GPU
    size = f" {sold_as(item.gpu_name, vram_gb)} GB" if vram_gb else ""
    return f"{item.gpu_count}x {name or 'GPU'}{size}"


def gigabytes(value: float) -> str:
    """ "24 GB", "1.5 GB"."""
    return f"{value:.0f} GB" if value >= 10 or value == int(value) else f"{value:.1f} GB"


def host(facts: HostFacts) -> str:
    """What a look at the machine found, in one line."""
    if facts.gpus:
        first = facts.gpus[0]
        found = f"{len(facts.gpus)}x {first.name} {sold_as(first.name, first.memory_mib / 1024)} GB"
        found += f", driver {facts.driver}" if facts.driver else ""
    else:
        found = "no GPU" + (f" ({facts.gpu_error})" if facts.gpu_error else "")
    python = f", Python {facts.pythons[0]}" if facts.pythons else ""
    return plain(
        f"{facts.os} {facts.arch}, {facts.cpu_count} cores, {facts.ram_gib:.0f} GiB RAM, "
        f"{facts.disk_free_gib:.0f} GiB free, {found}{python}"
    )
