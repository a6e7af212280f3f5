"""What of the settings is not shown. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gdl.settings.names import sounds_like_secret_option

HIDDEN = "(set, not shown)"
"""Stands for a secret."""


def safe(text: str) -> str:
    """Without the login that an address in it may hold."""
    return re.sub(r"//[^/@\s]+@", "//***@", text)


def without_secrets(arguments: Iterable[str]) -> list[str]:
    """With every value of an option that sounds secret hidden."""
    told, secret = [], False
    for word in arguments:
        if secret and not word.startswith("-"):
            told.append(HIDDEN)
            continue
        option, _equals, value = word.partition("=")
        secret = sounds_like_secret_option(option)
        told.append(f"{option}={HIDDEN}" if secret and value else safe(word))
    return told
