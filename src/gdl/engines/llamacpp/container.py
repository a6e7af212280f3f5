"""The project's own container image, where docker works. Pure.

`container/` in the work folder is the home folder in there, with what the server downloads.
https://github.com/ggml-org/llama.cpp/blob/master/docs/docker.md
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterable

from gdl.domain.errors import UsageError
from gdl.domain.host import HostFacts
from gdl.domain.model import Model
from gdl.engines.base import Step
from gdl.engines.llamacpp import model_files
from gdl.engines.llamacpp.builds import Build
from gdl.engines.llamacpp.fitting import File
from gdl.engines.python import shell
from gdl.engines.python.model_files import location
from gdl.settings import Settings

LISTEN = "0.0.0.0"  # noqa: S104 - inside; only a port of the machine's loopback leads there
_HOME = "/gdl"
_MODELS = "/model"
_ENV_FILE = "./container.env"


def check(model: Model) -> None:
    """Raises UsageError for a model that cannot be had in there."""
    if model.source == "packaged":
        raise UsageError(
            f"{model.served_name} comes from a Python package, which the image cannot unpack",
            "omit --runtime",
        )
    if model.source == "path" and any(sign in model.location for sign in ',"\n\0'):
        raise UsageError(
            "docker cannot mount a model whose path has a comma, a quote or a newline",
            "rename it on the machine, or use --runtime venv",
        )


def steps(host: HostFacts, model: Model, build: Build, settings: Settings) -> tuple[Step, ...]:
    """The image; a model of the hub is fetched by the server."""
    image = shlex.quote(build.image)
    pull = Step(
        "image",
        f"Pull {build.image}",
        f"{shell.PREAMBLE}exec {host.docker} pull {image}\n",
        settings.timeouts.install,
        f"{host.docker} image inspect {image} >/dev/null 2>&1",
    )
    look = model_files.steps(model, File(), settings) if model.source == "path" else ()
    return (*look, pull)


def model_words(model: Model, file: File) -> list[str]:
    """How the server in there is told its model."""
    if model.source == "path":
        return ["--model", f"{_MODELS}/{posixpath.basename(model.location)}"]
    if file.paths:
        return ["--hf-repo", model.location, "--hf-file", file.paths[0]]
    return ["--hf-repo", model.reference]


def server_lines(
    host: HostFacts,
    model: Model,
    build: Build,
    plain: dict[str, str],
    secret: Iterable[str],
    address: str,
    words: str,
) -> str:
    """Shell that runs the server in the foreground of its job and ends as it ends.

    secret: names of variables that the job has; they reach the container by a file of mode 0600
    that is removed as soon as it is read. address: such as "127.0.0.1:8000:8000". words: of the
    server, `$remedy` among them. The container is ours by its label, which names the work folder:
    one that an earlier run left is removed first.
    """
    docker, names = host.docker, tuple(secret)
    given = [word for name, value in plain.items() for word in ("--env", f"{name}={value}")]
    kept = "".join(f"printf '%s=%s\\n' {name} \"${name}\"\n" for name in names)
    gpus = "--gpus all " if build.on_gpu else ""
    mounts = f'--mount type=bind,source="$PWD"/container,target={_HOME}'
    if model.source == "path":
        folder = f'"$(dirname {location(model)})"'
        mounts += f" --mount type=bind,source={folder},target={_MODELS},readonly"
    home = f"--env HOME={_HOME} --env LLAMA_CACHE={_HOME}/models"
    return f"""\
mkdir -p ./container/models
left() {{ {docker} ps --all --quiet --filter "label=gdl-tui=$PWD"; }}
remove() {{ for id in $(left); do {docker} rm --force "$id" >/dev/null 2>&1 || :; done; }}
remove
rm -f {_ENV_FILE}
trap 'rm -f {_ENV_FILE}' EXIT
code=0 ended= id=
trap 'ended=1; [ -z "$id" ] || {docker} stop -t 5 "$id" >/dev/null 2>&1 || :' TERM INT HUP
( umask 077; {{
{kept}}} > {_ENV_FILE} )
id=$({docker} create --rm --label "gdl-tui=$PWD" --user "$(id -u):$(id -g)" --init \\
    --security-opt no-new-privileges --publish {shlex.quote(address)} {gpus}{mounts} {home} \\
    --env-file {_ENV_FILE} --env GDL_JOB="${{GDL_JOB-}}" {shell.words(given)} \\
    {shlex.quote(build.image)} {words})
rm -f {_ENV_FILE}
unset {" ".join(names)}
if [ -n "$ended" ]; then remove; exit 143; fi
{docker} start --attach "$id" &
child=$!
wait "$child" || code=$?
if [ -n "$ended" ]; then wait "$child" || :; fi
remove
exit "$code"
"""
