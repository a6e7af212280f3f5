"""A model as it will be served: what was typed, where it comes from, and what is known of it."""

from __future__ import annotations

from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.model_facts import FactsSource, ModelFacts
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

    @property
    def lacks_file(self) -> bool:
        """Whether it is a repository of GGUF files none of which is named, nor known to be the only
        one: a server needs the file's name, and the files differ in size by a factor of eight."""
        facts = self.facts
        if self.source != "hub" or self.file or (facts is not None and facts.gguf is not None):
            return False
        if facts is None or facts.source in (FactsSource.NAME, FactsSource.CATALOGUE):
            return self.location.casefold().endswith("gguf")
        return len(facts.variants) > 1 and not facts.weight_files
