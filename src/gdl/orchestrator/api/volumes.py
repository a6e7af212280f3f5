"""The port to volumes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Protocol

from gdl.domain.errors import UsageError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.volumes import Volume, VolumeRecord


@dataclass(frozen=True, slots=True)
class VolumeRow:
    """A volume as its backend lists it. ours: it was made here. used_by: ids of our sessions that
    have it mounted. cost: dollars since it was made; None for one that was made elsewhere."""

    volume: Volume
    ours: bool
    used_by: tuple[str, ...] = ()
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class VolumeList:
    """in_doubt: volumes that were asked for, and nobody knows whether they were made. silent:
    backends that did not answer, with the reason."""

    rows: tuple[VolumeRow, ...] = ()
    in_doubt: tuple[VolumeRecord, ...] = ()
    silent: dict[str, str] = field(default_factory=dict)


def none_kept(backends: Iterable[str]) -> UsageError:
    """What those backends cannot do."""
    names = [*backends]
    which = "no backend here has" if len(names) != 1 else f"the {names[0]} backend has no"
    return UsageError(f"{which} volumes", "use --backend vastai or runpod")


class Volumes(Protocol):
    """Disks for weights and compile caches, at the backends that have such."""

    keeps: bool
    """Whether any backend here has volumes."""

    async def list(self) -> VolumeList:
        """All that the accounts have; what the journal knows is brought up to date."""
        ...

    async def find(self, ident: str) -> Volume:
        """The volume of that id or name. Raises UsageError when there is none, or several."""
        ...

    async def check(self, offer_id: str, name: str) -> None:
        """Raises what `make` would refuse before it asks for anything."""
        ...

    async def make(self, offer_id: str, name: str, size_gb: int) -> Volume:
        """A volume that machines of this offer can mount. It costs until it is deleted. Raises
        UsageError for an offer that is not there, or a name that is taken."""
        ...

    async def delete(self, ident: str) -> Volume:
        """Delete a volume with all that is on it. Raises UsageError while a session of ours has it
        mounted, BackendError when it is still there afterwards."""
        ...
