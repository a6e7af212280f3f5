"""What a launch that others are given does without: see `gdl.domain.launch`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from gdl.domain.model import Model
from gdl.settings import Settings
from gdl.settings.names import sounds_like_secret_option

_USER_IN_URL = re.compile(r"(?<=://)[^/\s@]+@")


def of_the_hub(model: Model) -> tuple[Model, tuple[str, ...]]:
    """The model as others can have it: what came out of a package, from the hub."""
    if model.source != "packaged" or model.facts is None:
        return model, ()
    note = f"here the weights came out of the package {model.packaged}, which has the same model"
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


def without_secrets(
    arguments: tuple[str, ...], names: Mapping[str, str] = MappingProxyType({})
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(arguments, notes): without those whose values are nobody else's business. names: short
    names of flags -> the one in full."""
    kept: list[str] = []
    notes: list[str] = []
    secret = False
    for word in arguments:
        flag = word.partition("=")[0]
        flag = names.get(flag, flag)
        if secret and not word.startswith("-"):
            secret = False
            continue
        secret = sounds_like_secret_option(flag)
        if secret:
            notes.append(f"{flag} is omitted, as its value is a secret: add it again")
            secret = "=" not in word
        else:
            kept.append(url(word))
    return tuple(kept), tuple(notes)


def url(value: str) -> str:
    """Without the name and password that an address may hold."""
    return _USER_IN_URL.sub("", value)


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
