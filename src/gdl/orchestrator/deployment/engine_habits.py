"""What follows from a deployment's engine, and needs more than the engine itself."""

from __future__ import annotations

import shlex

from gdl.diagnosis.rule_engine import RuleSet, rule_set
from gdl.domain.engine import EngineInfo
from gdl.domain.errors import UsageError
from gdl.engines.base import Engine

SESSION_CACHE = "GDL_SESSION_CACHE"
USER_CACHE = "GDL_USER_CACHE"
"""Variables of a machine's environment, where its backend has such folders: one that goes with the
session, and one that serves the next as well."""


def rules_of(engine: Engine) -> RuleSet:
    """What its failures are explained by. Raises UsageError when its own rules cannot be read."""
    try:
        return rule_set(engine.rules())
    except ValueError as error:
        raise UsageError(
            f"the diagnosis rules of {engine.info.display_name} cannot be read: {error}",
            "see gdl/diagnosis/rules.toml for their form; update or repair that engine",
        ) from None


def cache_exports(info: EngineInfo) -> str:
    """POSIX shell that tells the engine where to keep what it works out, as far as the machine has
    such folders. What the user set himself for a lasting one stays."""
    lines = []
    for each in info.caches:
        name, folder = each.name, shlex.quote(each.folder)
        if each.lasting:
            test, value = f'[ -n "${USER_CACHE}" ] && [ -z "${name}" ]', f'"${USER_CACHE}"/{folder}'
        else:
            test, value = f'[ -n "${SESSION_CACHE}" ]', f'"${SESSION_CACHE}"/{folder}'
        lines.append(f"if {test}; then {name}={value}; export {name}; fi\n")
    return "".join(lines)
