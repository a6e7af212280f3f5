"""Where packages are, beside the places that a machine's pip knows."""

from __future__ import annotations

import re

from gdl.domain.errors import UsageError
from gdl.engines.python import shell
from gdl.settings import Settings


def exports(settings: Settings) -> str:
    """Shell that tells uv and pip where the packages are. Raises UsageError."""
    install = settings.install
    for place in (*install.find_links, *install.extra_index_url):
        if not re.fullmatch(r"[^\s\0,-][^\s\0,]*", place):
            raise UsageError(
                f"not a place for packages: {ascii(place)[:60]}",
                "give a path or URL without spaces and commas",
            )
    return shell.like_pip(install.find_links, install.extra_index_url)
