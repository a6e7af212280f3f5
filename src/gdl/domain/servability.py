"""Whether a repository holds a text model that can be served, and what it holds otherwise."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from gdl.domain.errors import ModelRefused, RemoteCodeNotAllowed
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.model_facts import GGUF, PICKLED, WEIGHTS, FactsSource, ModelFacts
from gdl.domain.model_names import is_id
from gdl.domain.text import one_line


class ModelKind(StrEnum):
    """What a repository holds."""

    TEXT = "text"
    ADAPTER = "adapter"
    EMBEDDING = "embedding"
    RERANKER = "reranker"
    DIFFUSION = "diffusion"
    OTHER_TASK = "other_task"
    NO_WEIGHTS = "no_weights"
    PICKLED = "pickled"
    OTHER_FORMAT = "other_format"
    NO_CONFIG = "no_config"
    CHOICE = "choice"
    GATED = "gated"
    UNKNOWN_ARCHITECTURE = "unknown_architecture"
    OWN_CODE = "own_code"


_AGREED_TO = frozenset({ModelKind.PICKLED, ModelKind.OWN_CODE})
"""What stands against a model until the user takes code from its repository."""
_MAY_CHANGE = _AGREED_TO | {ModelKind.GATED}
"""What stands against it until the user has agreed to something, here or on the hub."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """what: in a line, why it cannot be served; helps: in a line, what to do. Both "" where it can.
    notes: what is worth knowing all the same. brings_code: the repository holds Python code that
    loading it may run."""

    kind: ModelKind
    what: str = ""
    helps: str = ""
    notes: tuple[str, ...] = ()
    brings_code: bool = False

    @property
    def servable(self) -> bool:
        return not self.what

    @property
    def final(self) -> bool:
        """Whether it cannot be served whatever the user agrees to. Of others, offers may be looked
        at."""
        return not self.servable and self.kind not in _MAY_CHANGE

    def check(self) -> None:
        """Raise ModelRefused unless it can be served; RemoteCodeNotAllowed where the user may
        agree to something."""
        if self.kind in _AGREED_TO:
            raise RemoteCodeNotAllowed(self.what, self.helps)
        if self.what:
            raise ModelRefused(self.what, self.helps)


_EMBEDDING_MARKS = frozenset({"modules.json", "config_sentence_transformers.json"})
_EMBEDDING_TASKS = frozenset({"feature-extraction", "sentence-similarity"})
_RERANKING_TASKS = frozenset({"text-ranking", "text-classification", "token-classification"})
_WRITING_TASKS = frozenset(
    (
        "any-to-any",
        "audio-text-to-text",
        "conversational",
        "document-question-answering",
        "image-text-to-text",
        "image-to-text",
        "question-answering",
        "summarization",
        "text-generation",
        "text2text-generation",
        "translation",
        "video-text-to-text",
        "visual-question-answering",
    )
)
"""What the hub calls the tasks of models that write text."""
_WRITING = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""Endings of the classes of models that write text."""
_READING = ("ForMaskedLM", "ForTokenClassification", "ForQuestionAnswering")
_OTHER_FORMATS = (
    (".onnx", "ONNX"),
    (".h5", "TensorFlow"),
    (".msgpack", "Flax"),
    (".nemo", "NeMo"),
    (".mlpackage", "Core ML"),
    (".tflite", "LiteRT"),
    (".task", "LiteRT"),
    (".litertlm", "LiteRT"),
)


def judge(
    facts: ModelFacts,
    *,
    token: bool = False,
    trust: bool = False,
    knows: Callable[[str], bool] | None = None,
) -> Judgement:
    """What the facts say; nothing is held against a model of which only the name is known.

    token: the hub was asked with one. trust: the user takes the repository's own code, and
    pickled weights. knows: whether the engine knows a class of config.json; None: it is not asked.
    """
    if facts.source in (FactsSource.NAME, FactsSource.CATALOGUE) or not facts.id:
        return Judgement(ModelKind.TEXT)
    return (
        _other_purpose(facts)
        or _withheld(facts, token=token)
        or _unreadable_weights(facts, trust=trust)
        or _unknown_architecture(facts, trust=trust, knows=knows)
        or Judgement(ModelKind.TEXT, notes=_notes(facts), brings_code=brings_code(facts))
    )


def writes_text(task: str) -> bool:
    """Whether models of that task of the hub's write text, as far as it tells; "": it does not."""
    return not task or task in _WRITING_TASKS


def brings_code(facts: ModelFacts) -> bool:
    """Whether config.json names Python files of the repository (`auto_map`)."""
    return bool(facts.config.get("auto_map"))


def _has(facts: ModelFacts, *names: str) -> bool:
    return any(each.path in names for each in facts.files)


def _other_purpose(facts: ModelFacts) -> Judgement | None:
    """Adapters, and models for something else than writing text."""
    if _has(facts, "model_index.json") or facts.library == "diffusers":
        return Judgement(
            ModelKind.DIFFUSION,
            f"{facts.id} is a diffusion model: it makes images or video, not text",
            "choose a text model: `gdl-tui models WORDS` searches the hub",
        )
    if _is_adapter(facts):
        base = base_of(facts, "adapter")
        return Judgement(
            ModelKind.ADAPTER,
            f"{facts.id} is an adapter (LoRA){f' for {base}' if base else ''}, not a whole model",
            f"deploy {base or 'its base model'}; the server loads the adapter through its own "
            "arguments",
        )
    if _is_embedding(facts):
        return Judgement(
            ModelKind.EMBEDDING,
            f"{facts.id} is an embedding model: it turns text into numbers and generates none",
            "choose a model that generates text: `gdl-tui models WORDS` searches the hub",
        )
    return _other_task(facts)


def _is_adapter(facts: ModelFacts) -> bool:
    if not (_has(facts, "adapter_config.json") or facts.adapter_config or facts.library == "peft"):
        return False
    whole = [f for f in facts.weight_files if not f.path.startswith("adapter_model")]
    return not (whole and _has(facts, "config.json"))


def base_of(facts: ModelFacts, relation: str = "") -> str:
    """The id of the model that this one was made from, "" where it is not told."""
    named = facts.adapter_config.get("base_model_name_or_path")
    if relation in ("", "adapter") and isinstance(named, str) and is_id(named):
        return named
    for how, base in facts.base_models:
        if relation in ("", how) or not how:
            return base
    return ""


def _is_embedding(facts: ModelFacts) -> bool:
    if _has(facts, *_EMBEDDING_MARKS) or facts.library == "sentence-transformers":
        return True
    writes = any(each.endswith(_WRITING) for each in facts.architectures)
    return facts.pipeline_tag in _EMBEDDING_TASKS and not (writes and facts.chat_template)


def _other_task(facts: ModelFacts) -> Judgement | None:
    """By the class in config.json first, as the hub's task is what somebody wrote on a card."""
    named, task = facts.architectures, facts.pipeline_tag
    classifies = any(each.endswith("ForSequenceClassification") for each in named)
    if classifies or (task in _RERANKING_TASKS and not _writes(named)):
        return Judgement(
            ModelKind.RERANKER,
            f"{facts.id} scores or classifies text and generates none",
            "choose a model that generates text: `gdl-tui models WORDS` searches the hub",
        )
    reads = any(each.endswith(_READING) for each in named) or task == "fill-mask"
    speech = any("whisper" in each.lower() for each in named)
    if not reads and not speech and (not task or task in _WRITING_TASKS or _writes(named)):
        return None
    purpose = "automatic-speech-recognition" if speech and not task else task or "reading text"
    return Judgement(
        ModelKind.OTHER_TASK,
        f"{facts.id} is for {one_line(purpose, 40).replace('-', ' ')}, not for generating text",
        "choose a model that generates text: `gdl-tui models WORDS` searches the hub",
    )


def _writes(named: tuple[str, ...]) -> bool:
    return any(each.endswith(_WRITING) for each in named)


def _unreadable_weights(facts: ModelFacts, *, trust: bool) -> Judgement | None:
    """Nothing to load, or not in a form that engines load."""
    if facts.gguf is not None:
        return None
    found = facts.weight_files
    if found and found[0].path.endswith(WEIGHTS):
        return _foreign_quantization(facts)
    original = base_of(facts)
    if found:
        helps = "use a copy with safetensors, or accept the risk with --trust-remote-code"
        refused = Judgement(
            ModelKind.PICKLED,
            f"{facts.id} has only pickled weights, which can run code when they are loaded",
            helps,
        )
        return None if trust else refused
    if facts.variants:
        named = _preferred(facts.variants)
        others = ", ".join(each for each in facts.variants if each != named)
        return Judgement(
            ModelKind.CHOICE,
            f"{facts.id} holds {len(facts.variants)} GGUF quantizations, and none is named",
            f"name one, such as {facts.id}:{named} (others: {one_line(others, 120)})",
        )
    for ending, name in _OTHER_FORMATS:
        if any(each.path.endswith(ending) for each in facts.files):
            return _other_format(facts, name, original)
    inside = [f for f in facts.ending(*WEIGHTS, *PICKLED, GGUF) if "/" in f.path]
    where = f", only in {inside[0].path.rpartition('/')[0]}/" if inside else ""
    return Judgement(
        ModelKind.NO_WEIGHTS,
        f"{facts.id} has no weights{one_line(where, 60)}"
        + ("" if facts.files else ": the repository is empty"),
        f"deploy {original}, which it was made from"
        if original
        else "its page on the hub may say where they are; `gdl-tui models WORDS` finds others",
    )


def _preferred(variants: tuple[str, ...]) -> str:
    """The quantization that most people take, of those there are."""
    for wanted in ("Q4_K_M", "Q4_K_S", "Q4_0", "Q5_K_M", "Q8_0"):
        if wanted in variants:
            return wanted
    return variants[0]


def _foreign_quantization(facts: ModelFacts) -> Judgement | None:
    """MLX keeps its own quantization in safetensors files, under a key of its own."""
    own = facts.config.get("quantization")
    if facts.library != "mlx" and "mlx" not in facts.tags:
        return None
    return _other_format(facts, "MLX", base_of(facts)) if isinstance(own, dict) else None


def _other_format(facts: ModelFacts, name: str, original: str) -> Judgement:
    return Judgement(
        ModelKind.OTHER_FORMAT,
        f"{facts.id} has its weights in the form of {name} alone",
        f"deploy {original or 'the model that it was made from'}, or a copy with safetensors",
    )


def _withheld(facts: ModelFacts, *, token: bool) -> Judgement | None:
    if not facts.withheld or not (facts.gated or facts.private):
        return None
    page = f"https://huggingface.co/{facts.id}"
    if token:
        return Judgement(
            ModelKind.GATED,
            f"{facts.id} is gated, and HF_TOKEN's account has no access to it",
            f"ask for access at {page}; a fine-grained token must be allowed to read gated "
            "repositories",
        )
    return Judgement(
        ModelKind.GATED,
        f"{facts.id} is gated: its licence must be accepted, and no HF_TOKEN is set",
        f"accept it at {page}, then set HF_TOKEN",
    )


def _unknown_architecture(
    facts: ModelFacts, *, trust: bool, knows: Callable[[str], bool] | None
) -> Judgement | None:
    if facts.gguf is not None or facts.mistral_params:
        return None
    if not facts.config:
        return Judgement(
            ModelKind.NO_CONFIG,
            f"{facts.id} has weights, but no config.json that says what they are",
            f"deploy {base_of(facts) or 'another copy'}, or a repository in transformers' form",
        )
    if knows is None or any(knows(each) for each in facts.architectures):
        return None
    named = one_line(", ".join(facts.architectures) or "no architecture at all", 80)
    if not brings_code(facts):
        return Judgement(
            ModelKind.UNKNOWN_ARCHITECTURE,
            f"{facts.id} is of an architecture that the engine does not know: {named}",
            "a newer release may support it: set install.version; otherwise choose another model",
        )
    if trust:
        return None
    return Judgement(
        ModelKind.OWN_CODE,
        f"{facts.id} ({named}) needs code from its own repository to be loaded",
        "read that code on the hub; with --trust-remote-code it is run on the rented machine",
        brings_code=True,
    )


def _notes(facts: ModelFacts) -> tuple[str, ...]:
    notes = []
    if facts.gguf is None and facts.weight_files:
        # Those in folders are for others: ONNX, an original form.
        pickled = [f for f in facts.ending(*PICKLED) if "/" not in f.path]
        if pickled and facts.weight_files[0].path.endswith(WEIGHTS):
            notes.append("weights in two forms: the safetensors are loaded, the pickled are not")
        if facts.variants:
            notes.append("it holds GGUF files, too: name one with :QUANTIZATION to serve that")
    if brings_code(facts):
        notes.append("its repository holds code of its own, which is run only if you allow it")
    return tuple(notes)
