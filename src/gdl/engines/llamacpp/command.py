"""The server: its command line and its environment."""

from __future__ import annotations

import shlex

from gdl.domain.host import HostFacts
from gdl.domain.model import Model
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.engines import variables
from gdl.engines.base import ServerCommand, remembered_at
from gdl.engines.llamacpp import arguments as server_arguments
from gdl.engines.llamacpp import container, environment, model_files
from gdl.engines.llamacpp.builds import Build
from gdl.engines.llamacpp.fitting import Fitting
from gdl.engines.python import shell
from gdl.settings import Settings

KEY = "LLAMA_API_KEY"
_TALKATIVE = "--verbosity 4"
"""So that it tells what it holds; serve.py ends that once it serves."""


def command(
    spec: DeploymentSpec,
    host: HostFacts,
    model: Model,
    build: Build,
    fitting: Fitting,
    settings: Settings,
    *,
    api_key: Secret,
    log_path: str,
    port: int,
) -> ServerCommand:
    """The server to start. Raises UsageError for arguments or names that cannot be."""
    users = (*settings.engine.args, *spec.engine_args)
    server_arguments.check(users)
    made = decided(model, fitting, users)
    listen = container.LISTEN if build.image else settings.engine.host
    made += ["--host", listen, "--port", str(port)]
    plain, secret = environment_of(build, settings)
    secret = {KEY: api_key, **secret}
    given = frozenset(server_arguments.given(users)) | _by_the_load(spec, settings)
    remedy = remembered_at((*made, model.reference, *users), given)
    tail = f"{shell.words(made)} {shell.words(users)}".rstrip() + " $remedy"
    if build.image:
        if model.source == "hub":
            secret |= variables.hub_token(settings)
        exports = ""
        words = f"{shell.words(container.model_words(model, fitting.file))} {tail}"
        address = f"{settings.engine.host}:{port}:{port}"
        last = container.server_lines(host, model, build, plain, secret, address, words)
    else:
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in plain.items())
        talk = "" if "--verbosity" in server_arguments.given(users) else f"{_TALKATIVE} "
        last = model_files.finding(model, fitting.file)
        last += f'exec {environment.PYTHON} ./serve.py --model "$model" {talk}{tail}\n'
    script = f"""{shell.PREAMBLE}{exports}\
# What an earlier start of this very command was found to need.
remedy=""
if [ -f {remedy}.env ]; then . {remedy}.env; fi
if [ -f {remedy}.args ]; then remedy="$(cat {remedy}.args)"; fi
{last}"""
    return ServerCommand(
        script=script,
        log=log_path,
        port=port,
        served_name=model.served_name,
        secret_env=secret,
        remembered=remedy,
        given=given,
    )


def decided(model: Model, fitting: Fitting, users: tuple[str, ...]) -> list[str]:
    """What depends on model and machine, without the address."""
    given = server_arguments.given(users)
    made = ["--alias", model.served_name, "--metrics"]
    if fitting.settled and "--fit" not in given:
        made += ["--fit", "off"]  # all is decided, and to look again takes as long as to load
    if "--parallel" not in given:
        made += ["--parallel", str(fitting.slots)]
    if "--ctx-size" not in given and fitting.context:
        made += ["--ctx-size", str(fitting.context * fitting.slots)]
    return made


def environment_of(build: Build, settings: Settings) -> tuple[dict[str, str], dict[str, Secret]]:
    """(plain, secret), but the key. The user's own win."""
    plain = {"PYTHONUNBUFFERED": "1"}
    if not build.on_gpu:
        # Its threads wait by spinning: where others want the processor, that slows all of them
        # down, up to fifteenfold.
        plain["GOMP_SPINCOUNT"] = "0"
    own, secret = variables.users_own(settings, KEY)
    return plain | own, secret


def _by_the_load(spec: DeploymentSpec, settings: Settings) -> frozenset[str]:
    """The flags that settings or the load asked for decide."""
    decided_by = {
        "--ctx-size": spec.query.context or settings.engine.max_model_len,
        "--parallel": spec.query.concurrency,
    }
    return frozenset(flag for flag, value in decided_by.items() if value)
