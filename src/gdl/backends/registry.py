"""The backends by name: built-in ones, and those of other packages by their entry points."""

from __future__ import annotations

import asyncio
import difflib
import importlib
from typing import TYPE_CHECKING

from gdl.backends.base import Backend, BackendContext, BackendEntry
from gdl.domain.backend import BackendSource
from gdl.domain.errors import GdlError, UsageError
from gdl.domain.text import one_line

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from gdl.settings import Settings

GROUP = "gdl.backends"
"""The entry point group in which other packages name a `BackendEntry`."""
_DISCOVERY_S = 8.0
"""Longer than any of the backends takes by itself."""

# A new one is a folder beside this file and a line here. Imported when asked for: each brings a
# library that the others do not need.
_BUILT_IN = {
    "vastai": "gdl.backends.vastai.entry",
    "runpod": "gdl.backends.runpod.entry",
    "shopper": "gdl.backends.shopper.entry",
    "ssh": "gdl.backends.ssh.entry",
    "local": "gdl.backends.local.entry",
    "sandbox": "gdl.backends.sandbox.entry",
}
_STAND_INS = {
    "sandbox-vastai": "gdl.backends.sandbox.vastai_entry",
    "sandbox-runpod": "gdl.backends.sandbox.runpod_entry",
}
"""Found by name, and not among `names`: `gdl-tui demo --market` is the way there."""


def names() -> list[str]:
    """All backends there are: the built-in ones first, then those of other packages by name."""
    return [*_BUILT_IN, *sorted(set(_installed()) - set(_BUILT_IN))]


def entry(name: str) -> BackendEntry:
    """Raises UsageError when there is none of that name, or when its package is broken."""
    module = _BUILT_IN.get(name) or _STAND_INS.get(name)
    if module is not None:
        found = importlib.import_module(module).ENTRY
        assert isinstance(found, BackendEntry)
        return found
    installed = _installed().get(name)
    if installed is None:
        close = difflib.get_close_matches(name, names(), 1)
        meant = f"did you mean {one_line(close[0], 40)}? " if close else ""
        known = one_line(", ".join(names()), 400)
        raise UsageError(
            f"unknown backend {one_line(name, 40) or '(empty)'}", f"{meant}known backends: {known}"
        )
    return _loaded(installed)


def create(name: str, context: BackendContext) -> Backend:
    """The backend of that name. Raises UsageError when there is none, or when something of
    `context` cannot be used."""
    return entry(name).create(context)


def options_of(backends: str) -> frozenset[str]:
    """What can be given for this run alone to one of these backends, which are separated by commas.
    Raises as `entry`."""
    each = (entry(name.strip()).options for name in backends.split(","))
    return frozenset[str]().union(*each)


def taking(option: str) -> str | None:
    """The built-in backend that reads this option."""
    return next((name for name in _BUILT_IN if option in entry(name).options), None)


def at_hand(settings: Settings) -> list[str]:
    """The built-in backends that can be used here though nobody chose one, in the order of
    `names`."""
    return [name for name in _BUILT_IN if entry(name).at_hand(settings)]


async def discover(context: BackendContext) -> list[BackendSource]:
    """What there is of every backend on this computer, in the order of `names`. Never raises for
    what is out there, or for a broken package; takes seconds at most."""
    listed = await asyncio.to_thread(names)
    return list(await asyncio.gather(*(_discover(name, context) for name in listed)))


async def _discover(name: str, context: BackendContext) -> BackendSource:
    try:
        found = await asyncio.to_thread(entry, name)
        async with asyncio.timeout(_DISCOVERY_S):
            return await found.discover(context)
    except TimeoutError:
        detail = f"no answer within {_DISCOVERY_S:g} s"
    except GdlError as error:
        detail = error.message
    except Exception as error:  # another package's code
        detail = f"{type(error).__name__}: {error}"
    return BackendSource(name, False, one_line(name, 40), one_line(detail))


def _installed() -> dict[str, EntryPoint]:
    from importlib.metadata import entry_points  # for this alone

    return {found.name: found for found in entry_points(group=GROUP)}


def _loaded(installed: EntryPoint) -> BackendEntry:
    """Another package's entry. Raises UsageError for whatever goes wrong in it."""
    name = one_line(installed.name, 40)
    package = one_line(installed.dist.name if installed.dist else installed.module, 60)
    hint = f"update or uninstall {package}"
    try:
        found = installed.load()
    except Exception as error:
        why = one_line(f"{type(error).__name__}: {error}", 200)
        raise UsageError(f"the {name} backend cannot be loaded: {why}", hint) from None
    if not isinstance(found, BackendEntry):
        what = one_line(installed.value, 100)
        raise UsageError(f"the {name} backend cannot be loaded: {what} is not a BackendEntry", hint)
    return found
