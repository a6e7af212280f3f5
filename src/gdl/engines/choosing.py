"""What some engines have, too: a choice that others leave to the user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.model import Model


@runtime_checkable
class ChoosesFile(Protocol):
    """What engines have that serve GGUF files, whatever else a repository holds."""

    def file_of(self, variants: Sequence[str]) -> str:
        """The quantization to serve of those that a repository has, where nobody names one; of
        those that there usually are where () is given."""
        ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine by name, and why it is the one, to be read after "as"."""

    name: str
    why: str


@runtime_checkable
class ChoosesEngine(Protocol):
    """What takes another engine's place until model and machine are known."""

    def candidates(self, model: Model, *, gpu: bool | None) -> tuple[Candidate, ...]:
        """The engines to ask whether they serve the model, the best first. gpu: whether the
        machines have any; None: not known."""
        ...
