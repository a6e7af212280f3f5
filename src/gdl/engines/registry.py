"""The engines there are, by name: those of this package, and those that other packages bring.

Nothing is imported before it is asked for. Another package brings an engine by an entry point of
the group `gdl.engines`, whose name is the engine's and whose object is called without arguments.
"""

from __future__ import annotations

import difflib
import importlib
from functools import cache
from importlib import metadata

from gdl.domain.engine import EngineInfo
from gdl.domain.errors import UsageError
from gdl.domain.text import one_line
from gdl.engines.base import Engine

GROUP = "gdl.engines"
_BUILT_IN = {
    "vllm": "gdl.engines.vllm.engine:VllmEngine",
    "llamacpp": "gdl.engines.llamacpp.engine:LlamaCppEngine",
    "sglang": "gdl.engines.sglang.engine:SglangEngine",
    "auto": "gdl.engines.auto.engine:AutoEngine",
}
"""Name -> module and class."""


def names() -> tuple[str, ...]:
    """All there are: the built-in ones first, then the others by name."""
    others = {point.name for point in metadata.entry_points(group=GROUP)}
    return (*_BUILT_IN, *sorted(others - _BUILT_IN.keys()))


@cache
def get(name: str) -> Engine:
    """An engine by name. Raises UsageError for a name that nobody has, or for a package that
    cannot be used. A built-in engine cannot be replaced."""
    if name in _BUILT_IN:
        module, _, made = _BUILT_IN[name].partition(":")
        engine: Engine = getattr(importlib.import_module(module), made)()
        return engine
    for point in metadata.entry_points(group=GROUP, name=name):
        try:
            engine = point.load()()
            return _named(engine, name)
        except Exception as error:  # somebody else's code
            raise UsageError(
                f"engine {name} cannot be used: {type(error).__name__}: {one_line(error, 200)}",
                f"it comes from {point.value.partition(':')[0]}; repair or uninstall that package",
            ) from error
    close = difflib.get_close_matches(name, names(), 1)
    meant = f"did you mean {one_line(close[0], 40)}? " if close else ""
    raise UsageError(f"unknown engine {ascii(name)[:60]}", f"{meant}known: {', '.join(names())}")


def _named(engine: Engine, name: str) -> Engine:
    if engine.info.name != name:
        raise ValueError(f"it calls itself {engine.info.name}")
    return engine


@cache
def info(name: str) -> EngineInfo:
    """What an engine is called. Never raises: a journal may name one that is not here any more."""
    try:
        return get(name).info
    except UsageError:
        shown = one_line(name, 40) or "engine"
        return EngineInfo(shown, shown)
