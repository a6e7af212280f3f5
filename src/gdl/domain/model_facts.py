"""What is known of a model before any machine is rented: its repository's own metadata.

Nothing here has been judged. `gdl.domain.servability` says whether it can be served at all,
`gdl.domain.requirements` how much it takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from typing import Any

from gdl.domain.lazy_dataclass import dataclass

WEIGHTS = (".safetensors",)
"""Endings of weight files that every engine loads."""
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
"""Endings of weight files that run code when they are read."""
GGUF = ".gguf"


class FactsSource(StrEnum):
    """Where the facts come from. The values are a format: `--json` and the journal have them."""

    HUB = "hub"
    """The hub answered just now."""
    CACHED = "cache"
    """The last answer of the hub, kept on disk."""
    CATALOGUE = "catalogue"
    """The program's own list."""
    NAME = "name"
    """Nothing but the model's name was there to go by."""


@dataclass(frozen=True, slots=True)
class RepoFile:
    """A file of a repository. size_bytes: 0 where the hub does not tell it."""

    path: str
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class GgufFacts:
    """What a GGUF file's own header says, all parts of a split file together.

    paths: the parts, in order. quantization: as in the file's name or header ("Q4_K_M").
    size_bytes: of all parts. metadata: the header's plain values by key ("llama.block_count");
    of lists only short ones. tensor_bytes: of the tensors alone, 0 where they were not counted.
    parameters: numbers in all tensors, 0 likewise.
    """

    paths: tuple[str, ...]
    quantization: str
    size_bytes: int
    version: int = 3
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tensor_bytes: int = 0
    parameters: int = 0

    @property
    def architecture(self) -> str:
        """`general.architecture`, such as "llama"; "" where the header has none."""
        return str(self.metadata.get("general.architecture", ""))


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model's repository as the hub describes it, or as much of that as is known.

    id: as the hub spells it. asked: as the user wrote it, where that is another id (a renamed
    repository). revision: the commit, 40 hex digits, or "". told_at: when the hub said all this
    (UTC). config: config.json, {} where there is none. files: of the whole repository at that
    revision. quantization_config: from config.json, hf_quant_config.json or quantize_config.json.
    mistral_params: params.json of Mistral's own format. safetensors: elements by type ("BF16",
    packed ones count once), as the hub counted them. base_models: (relation, id), the relation
    "adapter", "quantized", "finetune", "merge" or "". withheld: files that the hub does not give
    without a licence accepted or a token. variants: GGUF quantizations that the repository has.
    trouble: why this is not the hub's answer of this moment, such as "offline"; "" where it is.
    """

    id: str
    source: FactsSource
    revision: str = ""
    asked: str = ""
    told_at: datetime | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[RepoFile, ...] = ()
    tokenizer_config: Mapping[str, Any] = field(default_factory=dict)
    chat_template: str | None = None
    generation_config: Mapping[str, Any] = field(default_factory=dict)
    quantization_config: Mapping[str, Any] = field(default_factory=dict)
    adapter_config: Mapping[str, Any] = field(default_factory=dict)
    mistral_params: Mapping[str, Any] = field(default_factory=dict)
    safetensors: Mapping[str, int] = field(default_factory=dict)
    gguf: GgufFacts | None = None
    variants: tuple[str, ...] = ()
    gated: bool = False
    private: bool = False
    license: str = ""
    last_modified: datetime | None = None
    downloads: int | None = None
    pipeline_tag: str = ""
    library: str = ""
    tags: tuple[str, ...] = ()
    base_models: tuple[tuple[str, str], ...] = ()
    withheld: tuple[str, ...] = ()
    trouble: str = ""

    @property
    def source_words(self) -> str:
        """Where the facts come from, such as "from the hub, revision 0123abc"."""
        match self.source:
            case FactsSource.HUB:
                short = f", revision {self.revision[:7]}" if self.revision else ""
                return f"from the hub{short}"
            case FactsSource.CACHED:
                day = f", of {self.told_at.day} {self.told_at:%b %Y}" if self.told_at else ""
                return f"the last answer from the hub{day}"
            case FactsSource.CATALOGUE:
                return "catalogue"
            case FactsSource.NAME:
                return "guessed from the name"

    @property
    def source_phrase(self) -> str:
        """The same behind "from"."""
        match self.source:
            case FactsSource.HUB:
                return "the hub"
            case FactsSource.CATALOGUE:
                return "the program's own catalogue"
            case FactsSource.NAME:
                return "the name only"
        return self.source_words

    @property
    def architectures(self) -> tuple[str, ...]:
        """The classes that config.json names; () where it names none."""
        named = self.config.get("architectures")
        return tuple(str(each) for each in named) if isinstance(named, list) else ()

    def ending(self, *endings: str) -> tuple[RepoFile, ...]:
        """The files whose paths end like that."""
        return tuple(each for each in self.files if each.path.endswith(endings))

    @property
    def weight_files(self) -> tuple[RepoFile, ...]:
        """The files that an engine loads by itself: of safetensors in the repository's top folder
        the numbered or single ones, not a second copy in another format ("consolidated", which
        counts where there is nothing else); else the pickled ones; else the chosen GGUF parts."""
        if self.gguf is not None:
            return tuple(each for each in self.files if each.path in self.gguf.paths)
        top = [each for each in self.files if "/" not in each.path]
        for endings in (WEIGHTS, PICKLED):
            found = [each for each in top if each.path.endswith(endings)]
            own = [each for each in found if each.path.startswith("consolidated")]
            other = [each for each in found if each not in own]
            if endings == PICKLED:
                other = [each for each in other if each.path not in _NO_WEIGHTS]
            if other or own:
                return _without_copy(other, top) or tuple(own)
        return ()

    @property
    def weights_bytes(self) -> int:
        """Of `weight_files` together; by their count of numbers where a hub tells no sizes. 0 where
        none are known."""
        files = self.weight_files
        told = sum(each.size_bytes for each in files)
        return told or (bytes_of(self.safetensors) if files else 0)

    @property
    def download_bytes(self) -> int:
        """What a machine fetches: the weights, and everything small beside them."""
        small = sum(
            each.size_bytes
            for each in self.files
            if not each.path.endswith((*WEIGHTS, *PICKLED, GGUF)) and each.size_bytes < 100_000_000
        )
        return self.weights_bytes + small


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model that the hub's search found. downloads: of the last 30 days. parameters: numbers in
    its safetensors, packed ones counted once; stored_bytes: what they take. Both 0 where the hub
    does not tell. license: "" likewise."""

    id: str
    downloads: int = 0
    parameters: int = 0
    stored_bytes: int = 0
    license: str = ""
    gated: bool = False
    pipeline_tag: str = ""
    library: str = ""
    last_modified: datetime | None = None
    tags: tuple[str, ...] = ()


_ELEMENT_BYTES = {
    "F64": 8,
    "I64": 8,
    "U64": 8,
    "F32": 4,
    "I32": 4,
    "U32": 4,
    "F16": 2,
    "BF16": 2,
    "I16": 2,
    "U16": 2,
}
"""Of a safetensors type; the others take one byte."""


def bytes_of(counts: Mapping[str, int]) -> int:
    """What so many numbers of each safetensors type take."""
    return sum(_ELEMENT_BYTES.get(kind, 1) * count for kind, count in counts.items())


def _without_copy(files: list[RepoFile], top: list[RepoFile]) -> tuple[RepoFile, ...]:
    """Without the one file that holds all that the numbered ones and their index hold, too, and
    without an adapter that lies beside a whole model."""
    paths = {each.path for each in top}
    numbered = any(_NUMBERED.search(each.path) for each in files)
    dropped = {"adapter_model.safetensors", "adapter_model.bin"}
    if numbered and "model.safetensors.index.json" in paths:
        dropped.add("model.safetensors")
    return tuple(each for each in files if each.path not in dropped) or tuple(files)


_NUMBERED = re.compile(r"-\d{5}-of-\d{5}\.safetensors$")
_NO_WEIGHTS = frozenset(
    {"training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "scheduler.bin"}
)
"""Files left by a training that are no weights."""
