"""Disks that outlive a machine: for weights and compile caches."""

from __future__ import annotations

from dataclasses import dataclass

MOUNT_PATH = "/workspace"
"""Where a volume is on the machine that it is mounted on."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume at a backend. place: the machine or data centre it is tied to, as offers name it
    (`Offer.machine_id` or `Offer.location`). price_per_hour: dollars, whether it is used or not."""

    id: str
    backend: str
    name: str
    size_gb: float
    price_per_hour: float
    place: str = ""
