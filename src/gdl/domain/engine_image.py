"""A container image that has the engine already."""

from __future__ import annotations

from gdl.domain.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class EngineImage:
    """name: as a registry knows it, "owner/name:tag". download_gb: 10^9 bytes of
    its packed layers. cuda: the least CUDA version that a driver must support for it; None: any.
    asked_for: the user named it, so that nothing is weighed."""

    name: str
    download_gb: float
    cuda: float | None = None
    asked_for: bool = False
