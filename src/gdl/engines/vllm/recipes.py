"""How vLLM is to serve a model so that chat, tools and reasoning work (recipes.toml)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gdl.domain.model import Model


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a model needs beyond its name. The empty one: nothing is known.

    name: as recipes.toml has it. tool_parser, reasoning_parser: as vLLM's registries have them;
    "" for none. chat_template: file in the examples folder of the release's source, needed for
    tools, or "": the model's own will do. arguments: further flags in words. modalities: what the
    model takes beside text: "image", "audio", "video".

    min_vllm: the first release that knows it, "" when that is not known; min_vllm_guessed: it is
    taken to be so, and nothing is refused for it. traps: what goes wrong, a sentence each.
    source: where this is from; dated: as of; verified: seen to work, or read in vLLM's own code.
    """

    name: str = ""
    tool_parser: str = ""
    reasoning_parser: str = ""
    chat_template: str = ""
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    trust_remote_code: bool = False
    modalities: tuple[str, ...] = ()
    min_vllm: str = ""
    min_vllm_guessed: bool = False
    traps: tuple[str, ...] = ()
    source: str = ""
    dated: str = ""
    verified: bool = False


def recipe_of(model: Model) -> Recipe:
    """By its id, by the model that it is a variant of, by its architecture; else the empty one."""
    return Recipe()
