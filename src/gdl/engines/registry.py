"""The engines there are. A new one is a line here."""

from __future__ import annotations

from collections.abc import Callable

from gdl.domain.errors import UsageError
from gdl.engines.base import Engine
from gdl.engines.vllm.engine import VllmEngine

ENGINES: dict[str, Callable[[], Engine]] = {"vllm": VllmEngine}


def create(name: str = "vllm") -> Engine:
    """An engine by name. Raises UsageError for a name nobody knows."""
    if name not in ENGINES:
        raise UsageError(f"unknown engine {ascii(name)[:60]}", f"known: {', '.join(ENGINES)}")
    return ENGINES[name]()
