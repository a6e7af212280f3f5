"""What a launch that others are given does without: see `gdl.domain.launch`. Pure."""

from __future__ import annotations

from dataclasses import replace

from gdl.domain.model import Model
from gdl.settings import Settings


def of_the_hub(model: Model) -> tuple[Model, tuple[str, ...]]:
    """The model as others can have it: what came out of a package, from the hub."""
    if model.source != "packaged" or model.facts is None:
        return model, ()
    note = f"here the weights came from the package {model.packaged}, which has the same model"
    return replace(model, source="hub", location=model.facts.id), (note,)


def without_address(arguments: list[str]) -> list[str]:
    """Without where the server listens."""
    kept, left = [], iter(arguments)
    for word in left:
        if word in ("--host", "--port"):
            next(left)
        else:
            kept.append(word)
    return kept


def places(settings: Settings) -> tuple[str, ...]:
    """Package places of one's own may hold passwords: they are named by their variables alone."""
    install = settings.install
    told = (
        (install.extra_index_url, "UV_INDEX", "install.extra_index_url"),
        (install.find_links, "UV_FIND_LINKS", "install.find_links"),
    )
    return tuple(
        f"here packages also came from {setting}: set {variable} to the same"
        for there, variable, setting in told
        if there
    )
