"""What follows from a deployment's engine, and needs more than the engine itself."""

from __future__ import annotations

import shlex

from gdl.diagnosis.rule_engine import RuleSet, rule_set
from gdl.domain.engine import EngineInfo
from gdl.domain.errors import UsageError
from gdl.domain.volumes import MOUNT_PATH, Volume
from gdl.engines.base import Engine

SESSION_CACHE = "GDL_SESSION_CACHE"
USER_CACHE = "GDL_USER_CACHE"
VOLUME = "GDL_VOLUME"
"""Variables of a machine's environment, where its backend has such folders: one that goes with the
session, one that serves the next as well, and where a volume is mounted, if not at its usual
place."""


def rules_of(engine: Engine) -> RuleSet:
    """What its failures are explained by. Raises UsageError when its own rules cannot be read."""
    try:
        return rule_set((engine.info.name, engine.rules()))
    except ValueError as error:
        raise UsageError(
            f"the diagnosis rules of {engine.info.display_name} cannot be read: {error}",
            "see gdl/diagnosis/rules/README.md for their form; update or repair that engine",
        ) from None


def volume_exports(volume: Volume | None) -> str:
    """POSIX shell that lets weights and lasting caches be kept on a volume, where it is mounted as
    its backend said: GDL_MOUNTED is set then. Nothing without one."""
    if volume is None:
        return ""
    return f"""\
GDL_MOUNTED=
if [ -n "${VOLUME}" ]; then GDL_MOUNTED=1; else
  {VOLUME}={MOUNT_PATH}
  at=$(df -Pk {MOUNT_PATH} 2>/dev/null | awk 'NR==2 {{print $6}}')
  if [ "$at" = {MOUNT_PATH} ]; then GDL_MOUNTED=1; fi
fi
if [ -n "$GDL_MOUNTED" ] && mkdir -p "${VOLUME}/gdl-tui"; then
  unset HF_HUB_CACHE
  HF_HOME="${VOLUME}/gdl-tui/huggingface"; {USER_CACHE}="${VOLUME}/gdl-tui"
  export {VOLUME} HF_HOME {USER_CACHE}
else GDL_MOUNTED=; fi
"""


def cache_exports(info: EngineInfo, volume: Volume | None = None) -> str:
    """POSIX shell that tells the engine where to keep what it works out, as far as the machine has
    such folders; on a volume where there is one. What the user set himself for a lasting one
    stays."""
    lines = [volume_exports(volume)]
    for each in info.caches:
        name, folder = each.name, shlex.quote(each.folder)
        if each.lasting:
            test, value = f'[ -n "${USER_CACHE}" ] && [ -z "${name}" ]', f'"${USER_CACHE}"/{folder}'
        else:
            test, value = f'[ -n "${SESSION_CACHE}" ]', f'"${SESSION_CACHE}"/{folder}'
        lines.append(f"if {test}; then {name}={value}; export {name}; fi\n")
    return "".join(lines)
