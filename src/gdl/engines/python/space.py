"""Whether a machine has the space for an engine and a model."""

from __future__ import annotations

import math

from gdl.domain.errors import DeployError
from gdl.domain.host import HostFacts
from gdl.domain.model import Model

GB_PER_GIB = 1.073741824
_WHILE_FETCHED = 1.05
"""Of the model's files, while they come."""


def require_disk(
    host: HostFacts, model: Model, install_gb: float, *, volume_used: bool = True
) -> None:
    """Raises DeployError when the disk, or the volume, cannot hold them. install_gb: what is still
    to be installed. volume_used: whether the model's files go to a volume where there is one."""
    files = model.shape.files_gb if model.shape is not None else 0.0
    if model.facts is not None and model.facts.download_bytes:
        files = model.facts.download_bytes / 1e9
    weights = 0.0
    if model.source != "path":
        # What an earlier deployment put there takes up its space already.
        weights = max(_WHILE_FETCHED * files - host.model_gib * GB_PER_GIB, 0.0)
    on_disk = install_gb
    if host.volume_free_gib is None or not volume_used:
        on_disk += weights
    elif host.volume_free_gib * GB_PER_GIB < weights:
        there = host.volume_free_gib * GB_PER_GIB
        raise DeployError(
            f"{there:.0f} of {math.ceil(weights)} GB free on the volume",
            "make a bigger one, or do without --volume",
        )
    free = host.disk_free_gib * GB_PER_GIB
    if free < on_disk:
        raise DeployError(
            f"{free:.0f} of {math.ceil(on_disk)} GB disk free",
            "take a machine with a bigger disk, or free some space",
        )
