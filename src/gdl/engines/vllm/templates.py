"""Chat templates that a release has among its examples and not in its wheel.

They are brought from the release's own source archive, by the machine's package index, and are
never part of this program. In the container image they are already. Without one the server starts
with the model's own template, and that is said.
"""

from __future__ import annotations

import re
import shlex

from gdl.engines.base import Step
from gdl.engines.python import package_places, shell
from gdl.engines.vllm import programs, server_flags
from gdl.engines.vllm.compat import Choice
from gdl.settings import Settings

_IN_IMAGE = "/vllm-workspace/examples"
"""WORKDIR and `COPY examples examples` of the stage that vllm-openai is made from, in the
Dockerfile of every release from 0.6.3 to 0.33.0."""
_TIMEOUT_S = 300.0


def lacking(name: str, choice: Choice) -> str:
    """Why a template cannot be brought for this choice, or ""."""
    if choice.image or server_flags.archive_sha256(choice.version):
        return ""
    return f"no checksum of the source archive of vLLM {choice.version} is known"


def in_image(name: str) -> str:
    """Its path in the release's container image."""
    return f"{_IN_IMAGE}/{_checked(name)}"


def path(name: str, choice: Choice) -> str:
    """Where it is put, relative to the work folder."""
    return f"./templates/{choice.version}/{_checked(name)}"


def steps(name: str, choice: Choice, settings: Settings) -> tuple[Step, ...]:
    """What brings it, if anything has to."""
    if not name or choice.image or lacking(name, choice):
        return ()
    goal = shlex.quote(path(name, choice))
    words = shell.words(
        [
            "vllm",
            choice.version,
            server_flags.archive_sha256(choice.version),
            f"examples/{name}",
            path(name, choice),
        ]
    )
    script = f"""{shell.PREAMBLE}{package_places.exports(settings)}\
mkdir -p ./templates/{choice.version}
code=0
{shell.PYTHON} ./source_file.py {words} || code=$?
if [ "$code" -ne 0 ]; then
    echo "[gdl] the chat template {name} could not be had; the model's own will do"
    printf '%s\\n' "${{GDL_RUN-}}" > {goal}.missing
fi
"""
    check = f'[ -s {goal} ] || grep -qxF "${{GDL_RUN-}}" {goal}.missing 2>/dev/null'
    put = (shell.remote_file("pipconf.py"), programs.remote_file("source_file.py"))
    title = f"Get the chat template {name}"
    return (Step("chat-template", title, script, _TIMEOUT_S, check, files=put),)


def _checked(name: str) -> str:
    """Recipes are data: a name of theirs must not lead out of the folder."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*\.jinja", name):
        raise ValueError(f"not the name of a chat template: {ascii(name)[:60]}")
    return name
