"""The server: its command line and its environment. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import replace

from gdl.domain.engine import Capabilities
from gdl.domain.errors import UsageError
from gdl.domain.host import HostFacts
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.domain.text import one_line
from gdl.engines import checks, variables
from gdl.engines.base import ServerCommand, remembered_at
from gdl.engines.python import gpu_group, model_files, shell
from gdl.engines.sglang import server_flags
from gdl.engines.sglang.plan import LAUNCH, MEMORY
from gdl.engines.sglang.recipes import recipe_of
from gdl.settings import Settings

READY, METRICS = "/ready", "/metrics"
KEY = "SGLANG_API_KEY"
"""Read by our own start of the server (remote/sglang_launch.py); SGLang has no variable for it."""
TRUST = "--trust-remote-code"
_TOOLS, _REASONING = "--tool-call-parser", "--reasoning-parser"
_TEXT_ONLY = "--language-model-only"
_OURS = {
    "--model-path": "name it as the model to deploy",
    "--served-model-name": "the name is the alias or the hub id",
    "--port": "set engine.port instead",
    "--api-key": "a key is made for every deployment; an argument would show it to everyone",
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a model's recipe becomes beside what the user decided. words: of the command line.
    notes: what was omitted and why, a sentence each."""

    words: tuple[str, ...]
    capabilities: Capabilities
    notes: tuple[str, ...] = ()

    @property
    def lessened(self) -> tuple[tuple[str, Capabilities], ...]:
        """(flag of a remedy in the rules, what the server can be asked for with it)."""
        without = replace(self.capabilities, reasoning=False, reasoning_parser="")
        return ((f"{_REASONING}=", without),) if self.capabilities.reasoning else ()


def check_arguments(arguments: tuple[str, ...], version: str) -> None:
    """Raises UsageError for what the deployment decides itself, for NUL bytes, and for flags that
    the release does not have, as its server would end at once. version: "" for the newest."""
    checks.check_arguments(arguments, server_flags.given(arguments), _OURS)
    unknown = server_flags.unknown(arguments)
    if unknown and version in ("", server_flags.release()):
        raise UsageError(
            f"SGLang {server_flags.release()} has no argument {one_line(unknown[0], 60)}",
            "its names differ from other engines': see `python -m sglang.launch_server --help`",
        )


def choose(spec: DeploymentSpec, model: Model, settings: Settings) -> Chosen:
    """The parsers and the trust, by the recipe and the user's own arguments, which win."""
    given = server_flags.given((*settings.engine.args, *spec.engine_args))
    recipe = recipe_of(model)
    words: list[str] = []
    notes: list[str] = []
    tools = given.get(_TOOLS, recipe.tool_parser if spec.tools else "")
    if tools and _TOOLS not in given:
        words += [_TOOLS, tools]
    reasoning = given.get(_REASONING, recipe.reasoning_parser)
    if reasoning and _REASONING not in given:
        words += [_REASONING, reasoning]
    if TRUST not in given and spec.trust_remote_code:
        words.append(TRUST)
    elif TRUST not in given and recipe.trust_remote_code:
        notes.append(
            f"omitted {TRUST}: running the model's own code was not allowed, "
            "and the model may not start without it"
        )
    if spec.query.text_only and _reads_images(model) and _TEXT_ONLY not in given:
        words.append(_TEXT_ONLY)
    capabilities = Capabilities(
        chat=model.chat,
        tools=bool(tools),
        reasoning=bool(reasoning),
        tool_parser=tools,
        reasoning_parser=reasoning,
        remote_code=TRUST in words or TRUST in given,
    )
    return Chosen(tuple(words), capabilities, tuple(notes))


def _reads_images(model: Model) -> bool:
    config = model.facts.config if model.facts is not None else {}
    return bool(config.get("vision_config") or config.get("audio_config"))


def command(
    spec: DeploymentSpec,
    host: HostFacts,
    model: Model,
    settings: Settings,
    *,
    api_key: Secret,
    log_path: str,
    port: int,
    chosen: Chosen,
) -> ServerCommand:
    """The server to start. Raises UsageError for arguments or names that cannot be."""
    users = (*settings.engine.args, *spec.engine_args)
    check_arguments(users, settings.install.version)
    given = server_flags.given(users)
    words = arguments(host, model, settings, given, port, spec.query, chosen)
    plain, secret = environment(model, settings, api_key)
    tail = shell.words(users)
    decided = frozenset(given) | _by_the_load(settings, spec.query)
    remedy = remembered_at((*words, model.location, tail), decided)
    exports = "".join(f"export {name}={shlex.quote(v)}\n" for name, v in plain.items())
    line = " ".join(
        part
        for part in (
            f"exec {shell.PYTHON} ./{LAUNCH} --model-path {model_files.location(model)}",
            shell.words(words),
            tail,
            "$remedy",
        )
        if part
    )
    script = f"""{shell.PREAMBLE}{exports}\
# What an earlier start of this very command was found to need.
remedy=""
if [ -f {remedy}.env ]; then . {remedy}.env; fi
if [ -f {remedy}.args ]; then remedy="$(cat {remedy}.args)"; fi
{line}
"""
    return ServerCommand(
        script=script,
        log=log_path,
        port=port,
        served_name=model.served_name,
        secret_env=secret,
        repairs=(("fresh-environment", f"{shell.PREAMBLE}rm -rf ./venv\n"),),
        remembered=remedy,
        given=decided,
    )


def arguments(
    host: HostFacts,
    model: Model,
    settings: Settings,
    given: Collection[str],
    port: int,
    query: OfferQuery,
    chosen: Chosen,
) -> list[str]:
    """What is decided for the user. given: what they decide themselves, by full name."""
    made = ["--served-model-name", model.served_name]
    if "--enable-metrics" not in given:
        made.append("--enable-metrics")
    if "--uvicorn-access-log-exclude-prefixes" not in given:
        # Asked every few seconds: 17 MB a day in the log.
        made += ["--uvicorn-access-log-exclude-prefixes", READY, METRICS]
    made += ["--host", settings.engine.host, "--port", str(port)]
    context = query.context or settings.engine.max_model_len
    # Where the cache is too small for the model's own length, SGLang starts all the same, and
    # refuses what is too long only when it comes.
    context = context or gpu_group.fitting_context(MEMORY, host, model, query)
    parallel = gpu_group.parallel(MEMORY, len(host.gpus), model)
    wanted = {
        "--context-length": context,
        "--max-running-requests": query.concurrency,
        "--quantization": query.quantization,
        "--tp-size": parallel if parallel > 1 else None,
    }
    for flag, value in wanted.items():
        if value and flag not in given:
            made += [flag, str(value)]
    return [*made, *chosen.words]


def _by_the_load(settings: Settings, query: OfferQuery) -> frozenset[str]:
    """The flags that settings or the load asked for decide."""
    decided = {
        "--context-length": query.context or settings.engine.max_model_len,
        "--max-running-requests": query.concurrency,
        "--quantization": query.quantization,
    }
    return frozenset(flag for flag, value in decided.items() if value)


def environment(
    model: Model, settings: Settings, api_key: Secret
) -> tuple[dict[str, str], dict[str, Secret]]:
    """(plain, secret). Names that sound secret never stand in the script. The user's own win."""
    plain = {"DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1"}
    secret = {KEY: api_key}
    if model.source == "hub":
        plain["HF_XET_HIGH_PERFORMANCE"] = "1"
        secret |= variables.hub_token(settings)
    else:
        plain["HF_HUB_OFFLINE"] = "1"
    own, own_secret = variables.users_own(settings, KEY)
    return plain | own, secret | own_secret
