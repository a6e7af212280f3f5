"""What a shell completes beside commands and options. Nobody is asked over a network, and little is
imported: a shell waits for it at every Tab."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

_ONE = ("--backend", "--config", "--host", "--identity")


def backend_names(begun: str) -> list[str]:
    """Who rents; others that packages bring are among them."""
    from gdl.backends import registry

    return _beginning(registry.names(), begun)


def model_names(begun: str) -> list[str]:
    """Aliases and hub ids of the program's own list."""
    from gdl.hub import catalogue

    known = [name for entry in catalogue.entries() for name in (*entry.aliases, entry.id)]
    return _beginning(known, begun)


def session_ids(begun: str) -> list[str]:
    """Sessions that are rented by the journal, newest first; then deployments."""
    from gdl.journal import ids

    file = _journal()
    return _beginning([*ids.sessions_rented(file), *ids.deployments(file)], begun)


def deployment_ids(begun: str) -> list[str]:
    """Deployments of the journal, newest first; then sessions, also those that are over."""
    from gdl.journal import ids

    file = _journal()
    return _beginning([*ids.deployments(file), *ids.sessions(file)], begun)


def scenario_names(begun: str) -> list[str]:
    """Those that come with the program."""
    from gdl.simulator import scenario

    return _beginning(scenario.names(), begun)


def filter_fields(begun: str) -> list[tuple[str, str]]:
    """The last word of a filter line as each field that begins so, with what it is. Without an
    operator: outside of quotes a shell would take < and > for its own."""
    from gdl.presentation.filter_fields import FIELDS

    before, blank, word = begun.rpartition(" ")
    return [
        (f"{before}{blank}{field.name}", f"{field.help}, as in {field.example}")
        for field in FIELDS
        if field.name.startswith(word.casefold())
    ]


def setting_names(begun: str) -> list[str]:
    """Of all settings, tables written out."""
    from gdl.settings.editing import every_name

    return _beginning(every_name(), begun)


def named_command() -> str:
    """The command whose arguments a shell completes, "" while it is not typed yet: the others need
    not be imported."""
    words = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    rest = iter(words.split()[1:])
    for word in rest:
        if word in _ONE:
            next(rest, None)
        elif not word.startswith("-"):
            return word
    return ""


def _journal() -> Path:
    return _data_dir() / "journal.sqlite"


def _data_dir() -> Path:
    """Where the settings have it; reading them all takes longer than the rest."""
    if named := os.environ.get("GDL_DATA_DIR"):
        return Path(named)
    import tomllib

    import platformdirs

    try:
        file = platformdirs.user_config_path("gdl-tui") / "config.toml"
        named = tomllib.loads(file.read_text(encoding="utf-8")).get("data_dir")
    except (OSError, ValueError):
        named = None
    return Path(named) if isinstance(named, str) else platformdirs.user_data_path("gdl-tui")


def _beginning(names: Iterable[str], begun: str) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(begun)]
