"""A model as it will be served: what was typed, where it comes from, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

from gdl.domain.model_facts import ModelFacts
from gdl.domain.requirements.shape import ModelShape


@dataclass(frozen=True, slots=True)
class Model:
    """A model as it will be served.

    typed: what the user wrote. source: "hub" | "path" | "packaged" | "attached" (it serves
    already). location: hub id, or the path on the machine (for "packaged": relative to the work
    folder). served_name: its name in the API. shape None: its size is not known. gated: needs a
    token and an accepted licence.

    heads: attention heads, 0 when not known. chat: it has a chat template, as far as is known.
    packaged: requirement of the distribution that carries its weights, or "". base: hub id of the
    model that this one is a variant of, or "". file: which of the files of a GGUF repository, such
    as "Q4_K_M", or "". facts: what hub or catalogue say of it, None where there is nothing but the
    name.
    """

    typed: str
    source: str
    location: str
    served_name: str
    shape: ModelShape | None = None
    gated: bool = False
    heads: int = 0
    chat: bool = True
    packaged: str = ""
    base: str = ""
    file: str = ""
    facts: ModelFacts | None = None

    @property
    def reference(self) -> str:
        """Hub id or path as an engine is told it: with the file of a GGUF repository."""
        return f"{self.location}:{self.file}" if self.file else self.location
