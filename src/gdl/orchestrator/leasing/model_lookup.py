"""What the user typed, as a model with all that is known of it.

The hub's own answer counts most, then the last one that was kept, then the program's catalogue,
then the name.
"""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.errors import HubAway, UsageError
from gdl.domain.model import Model
from gdl.domain.model_facts import FactsSource, FoundModel, ModelFacts
from gdl.domain.model_names import HubName, hub_name, page_of_hub
from gdl.domain.requirements.fields import UnreadableConfigError
from gdl.domain.requirements.of_facts import architecture_of
from gdl.domain.requirements.shape import ModelShape
from gdl.domain.requirements.weights import loaded_bytes
from gdl.domain.servability import Judgement, ModelKind, judge
from gdl.engines.base import Engine
from gdl.engines.choosing import ChoosesFile
from gdl.hub import names
from gdl.hub.lookup import Hub

_TOKENIZERS_WITH_TEMPLATE = ("tekken.json", "tokenizer.model.v3")


def known(engine: Engine) -> tuple[Model, ...]:
    """The models to choose from by alias."""
    if not isinstance(engine, ChoosesFile):
        return engine.models() or names.known()
    found = (_with_usual_file(engine, _as_gguf(model)) for model in names.known())
    return tuple(model for model in found if model.file or model.packaged)


def found(engine: Engine, typed: str) -> Model:
    """What was typed, as a model: one of the engine's own, else by alias, id, page of the hub or
    path, as catalogue and name tell it. Raises UsageError with suggestions."""
    own = engine.models()
    if not own:
        # What the hub has, but is no model, is told as such.
        hub_name(typed)
        model = names.resolve(page_of_hub(typed) or typed)
        return _as_gguf(model) if isinstance(engine, ChoosesFile) else model
    for model in own:
        if model.typed == typed:
            return model
    raise UsageError(
        f"{engine.info.display_name} does not support {ascii(typed)[:60]}",
        f"one of {', '.join(model.typed for model in own)}",
    )


class ModelLookup:
    """Asks the hub for what it can tell of a model."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def find(self, engine: Engine, typed: str) -> Model:
        """The model, its `facts` from the best source that answers.

        Raises UsageError for a name that cannot be, UnknownModel with what may have been meant.
        """
        model = found(engine, typed)
        name = _name_on_hub(model)
        if name is None:
            return model
        try:
            facts = await self._hub.facts(name)
            if file := _file_to_choose(engine, model, facts):
                facts = await self._hub.facts(HubName(name.id, file))
                model = _of_file(model, file)
        except HubAway as away:
            return _without_hub(_with_usual_file(engine, model), name, away.message)
        return _with_facts(model, facts)

    def kept(self, engine: Engine, typed: str) -> Model:
        """The same, as far as it can be told without asking anybody. Raises UsageError."""
        model = found(engine, typed)
        name = _name_on_hub(model)
        if name is None:
            return model
        facts = self._hub.kept(name)
        if facts is not None and (file := _file_to_choose(engine, model, facts)):
            facts, model = self._hub.kept(HubName(name.id, file)), _of_file(model, file)
        if facts is None:
            return _without_hub(_with_usual_file(engine, model), name, "")
        return _with_facts(model, facts)

    async def search(self, words: str) -> tuple[FoundModel, ...]:
        """What the hub finds, most downloaded first. Raises HubAway."""
        return await self._hub.search(words)

    def judged(
        self, model: Model, *, engine: Engine | None = None, trust: bool = False
    ) -> Judgement:
        """Whether it can be served at all, by what its repository holds; with an engine, whether
        that knows its architecture."""
        if model.facts is None:
            return Judgement(ModelKind.TEXT)
        if model.lacks_file and not model.facts.variants:
            return Judgement(
                ModelKind.CHOICE,
                f"{model.location} is a GGUF repository, no file of it is named, and the hub does "
                "not say which it has",
                f"name one, such as {model.location}:Q4_K_M",
            )
        knows = None if engine is None else engine.knows
        return judge(model.facts, token=self._hub.has_token, trust=trust, knows=knows)


def _as_gguf(model: Model) -> Model:
    """An alias of the catalogue as its GGUF variant, where there is one."""
    if model.source != "hub" or "/" in model.typed or ":" in model.typed:
        return model
    try:
        return replace(names.resolve(f"{model.typed}:gguf"), typed=model.typed)
    except UsageError:
        return model


def _file_to_choose(engine: Engine, model: Model, facts: ModelFacts) -> str:
    """The file of a GGUF repository to take, where the engine has to and nobody named one."""
    if model.file or facts.gguf is not None or not isinstance(engine, ChoosesFile):
        return ""
    return engine.file_of(facts.variants) if facts.variants else ""


def _with_usual_file(engine: Engine, model: Model) -> Model:
    """The same, where nobody tells which there are."""
    if not isinstance(engine, ChoosesFile) or not model.lacks_file:
        return model
    return _of_file(model, engine.file_of(()))


def _of_file(model: Model, file: str) -> Model:
    """As if the file had been named, but for what was typed."""
    name = model.location if "/" in model.typed else model.typed
    try:
        return replace(names.resolve(f"{name}:{file}"), typed=model.typed)
    except UsageError:
        return replace(model, file=file)  # it is called by its file's own name


def _name_on_hub(model: Model) -> HubName | None:
    """None for what is on the machine already, or is brought by a package."""
    return HubName(model.location, model.file) if model.source == "hub" else None


def _with_facts(model: Model, facts: ModelFacts) -> Model:
    """The model, its size and settings as its repository tells them."""
    listed = model.facts
    if "config.json" in facts.withheld:
        # A class name alone is no configuration to size a model by.
        facts = replace(facts, config={} if listed is None else listed.config)
    return replace(
        model,
        location=facts.id,
        facts=facts,
        gated=facts.gated,
        chat=_has_template(model, facts),
        shape=_shape(model.shape, facts),
        base=model.base or next((b for kind, b in facts.base_models if kind == "quantized"), ""),
        file=model.file or (facts.gguf.quantization if facts.gguf is not None else ""),
    )


def _without_hub(model: Model, name: HubName, trouble: str) -> Model:
    """The catalogue's facts, or none but the name."""
    facts = model.facts or ModelFacts(name.id, FactsSource.NAME)
    return replace(model, facts=replace(facts, trouble=trouble))


def _has_template(model: Model, facts: ModelFacts) -> bool:
    """As far as the repository can tell: what is withheld tells nothing, and some tokenizers bring
    one without a file of it."""
    if facts.chat_template is not None:
        return True
    paths = {each.path for each in facts.files}
    if facts.withheld or not paths or paths.intersection(_TOKENIZERS_WITH_TEMPLATE):
        return model.chat
    return False


def _shape(listed: ModelShape | None, facts: ModelFacts) -> ModelShape | None:
    """The size as configuration and files tell it, as a name tells little and may mislead. What
    cannot be read is said where the model is sized."""
    try:
        known = architecture_of(facts)
    except UnreadableConfigError:
        known = None
    shape = listed or ModelShape(parameters_b=0.0)
    if known is not None:
        each = loaded_bytes(known) / known.numbers if known.quantization.name else 2.0
        return replace(
            shape,
            parameters_b=known.numbers / 1e9,
            bytes_per_parameter=each,
            stored_bytes=0.0,
            max_context=known.max_context or shape.max_context,
        )
    stored = facts.weights_bytes
    if not stored:
        return listed
    numbers = sum(facts.safetensors.values())
    each = stored / numbers if numbers else 2.0
    if facts.quantization_config or facts.gguf is not None:
        # Packed numbers are counted once, whatever is packed into them.
        each = 1.0
    return replace(
        shape, parameters_b=stored / each / 1e9, bytes_per_parameter=each, stored_bytes=0.0
    )
