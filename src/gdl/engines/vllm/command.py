"""The server: its command line, its environment, and what fixes a known failed start."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import replace

from gdl.domain.host import HostFacts
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.engines import checks, variables
from gdl.engines.base import ServerCommand, remembered_at
from gdl.engines.python import gpu_group, model_files, package_places, shell
from gdl.engines.spanning import Rank
from gdl.engines.vllm import container, flags, ranks, repairs, server_flags, templates
from gdl.engines.vllm.compat import Choice
from gdl.engines.vllm.flags import Flags
from gdl.engines.vllm.memory import MEMORY
from gdl.engines.vllm.recipes import recipe_of
from gdl.settings import Settings

KEY = "VLLM_API_KEY"
_CPU_CONTEXT = 2048
_TOWERS = {"vision_config": "image", "audio_config": "audio"}
"""Parts of config.json -> what they are for."""
_OURS = {
    "--model": "name it as the model to deploy",
    "--served-model-name": "the name is the alias or the hub id",
    "--port": "set engine.port instead",
    "--api-key": "a key is made for every deployment; an argument would show it to everyone",
    "--uds": "the tunnel needs a TCP port",
}


def command(
    spec: DeploymentSpec,
    host: HostFacts,
    model: Model,
    choice: Choice,
    settings: Settings,
    *,
    api_key: Secret,
    log_path: str,
    port: int,
    chosen: Flags,
    rank: Rank | None = None,
) -> ServerCommand:
    """The server to start. chosen: what `chosen_flags` says. Raises UsageError for arguments or
    names that cannot be."""
    users = (*settings.engine.args, *spec.engine_args)
    check_arguments(users)
    before = arguments(spec, host, model, choice, settings, port, chosen, rank)
    inside = container.model_inside(model) if choice.image else model_files.location(model)
    needed = {**chosen.environment, **(ranks.environment(rank) if rank is not None else {})}
    plain, secret = environment(model, choice, settings, api_key, needed)
    if rank is not None and rank.number:
        del secret[KEY]  # it serves nobody
    tail = shell.words(users)
    template, found = _template(chosen.template, choice)
    given = frozenset(server_flags.given(users)) | _by_the_load(settings, spec.query)
    remedy = remembered_at((*before, chosen.template, model.location, tail), given)
    parts = (f"--model {inside}", shell.words(before), template, tail, "$remedy")
    words = " ".join(part for part in parts if part)
    if choice.image:
        container.check_secrets({name: value.reveal() for name, value in secret.items()})
        published = f"{settings.engine.host}:{port}:{port}"
        args = f"{container.HOME}/launch.py {words}"
        exports = source = found = ""
        last = container.server_lines(
            host.docker,
            model,
            plain,
            tuple(secret),
            f"{remedy}.env",
            shlex.quote(published),
            args,
        )
    else:
        exports = "".join(f"export {name}={shlex.quote(v)}\n" for name, v in plain.items())
        source = f"if [ -f {remedy}.env ]; then . {remedy}.env; fi\n"
        last = f"exec {shell.PYTHON} ./launch.py {words}\n"
    script = f"""{shell.PREAMBLE}{exports}\
# What an earlier start of this very command was found to need.
remedy=""
{source}{found}\
if [ -f {remedy}.args ]; then remedy="$(cat {remedy}.args)"; fi
{last}"""
    return ServerCommand(
        script=script,
        log=log_path,
        port=port,
        served_name=model.served_name,
        secret_env=secret,
        # Nothing is installed into an image.
        repairs=() if choice.image else repairs.scripts(choice, package_places.exports(settings)),
        remembered=remedy,
        given=given,
    )


def arguments(
    spec: DeploymentSpec,
    host: HostFacts,
    model: Model,
    choice: Choice,
    settings: Settings,
    port: int,
    chosen: Flags,
    rank: Rank | None = None,
) -> list[str]:
    """All that is decided for the user: his own arguments come behind."""
    users = (*settings.engine.args, *spec.engine_args)
    given = {*server_flags.given(users), *server_flags.given(chosen.arguments)}
    made = _arguments(host, model, choice, settings, given, port, spec.query, rank)
    return [*made, *chosen.arguments]


def check_arguments(arguments: tuple[str, ...]) -> None:
    """Raises UsageError for what the deployment decides itself, and for NUL bytes."""
    checks.check_arguments(arguments, server_flags.given(arguments), _OURS)


def chosen_flags(spec: DeploymentSpec, model: Model, choice: Choice, settings: Settings) -> Flags:
    """What the model's recipe becomes on this release, beside what the user decided."""
    users = (*settings.engine.args, *spec.engine_args)
    chosen = flags.choose(
        flags.Asked(
            recipe_of(model),
            choice.version,
            server_flags.given(users),
            _by_the_load(settings, spec.query),
            spec.tools,
            spec.trust_remote_code,
            model.chat,
            _modalities(model) if spec.query.text_only else (),
        )
    )
    reason = templates.lacking(chosen.template, choice) if chosen.template else ""
    if not reason:
        return chosen
    note = f"omitted --chat-template {chosen.template}: {reason}"
    return replace(chosen, template="", notes=(*chosen.notes, note))


def _modalities(model: Model) -> tuple[str, ...]:
    """What it takes beside text, as far as its recipe or its configuration tells it."""
    config = model.facts.config if model.facts is not None else {}
    told = tuple(kind for key, kind in _TOWERS.items() if config.get(key))
    return recipe_of(model).modalities or told


def _by_the_load(settings: Settings, query: OfferQuery) -> frozenset[str]:
    """The flags that settings or the load asked for decide."""
    decided = {
        "--max-model-len": query.context or settings.engine.max_model_len,
        "--max-num-seqs": query.concurrency,
        "--quantization": query.quantization,
    }
    return frozenset(flag for flag, value in decided.items() if value)


def _template(name: str, choice: Choice) -> tuple[str, str]:
    """(words of the command line, shell that comes before it) for a chat template."""
    if not name:
        return "", ""
    if choice.image:
        return f"--chat-template {templates.in_image(name)}", ""
    path = templates.path(name, choice)
    # Where it could not be had, the model's own does.
    return "$template", (
        f'template=""\nif [ -s {path} ]; then template="--chat-template {path}"; fi\n'
    )


def _arguments(
    host: HostFacts,
    model: Model,
    choice: Choice,
    settings: Settings,
    given: Collection[str],
    port: int,
    query: OfferQuery,
    rank: Rank | None,
) -> list[str]:
    """What depends on machine and load. given: what the user or the recipe decides, by full name.
    A later argument of the user's wins in any case."""
    made = ["--served-model-name", model.served_name]
    listen = container.LISTEN if choice.image else settings.engine.host
    made += ["--host", listen, "--port", str(port)]
    if rank is not None:
        made += ranks.arguments(rank, choice, given)
    elif not choice.on_gpu and "--enforce-eager" not in given:
        made.append("--enforce-eager")
    if "--max-model-len" not in given:
        asked = query.context or settings.engine.max_model_len
        if rank is not None and choice.on_gpu:
            asked = asked or ranks.context(rank, model, query)
            made += ["--max-model-len", str(asked)] if asked else []
        else:
            made += _context_words(asked, host, model, choice, query)
    if query.concurrency and "--max-num-seqs" not in given:
        made += ["--max-num-seqs", str(query.concurrency)]
    if query.quantization and "--quantization" not in given:
        made += ["--quantization", query.quantization]
    parallel = gpu_group.parallel(MEMORY, len(host.gpus), model)
    if parallel > 1 and "--tensor-parallel-size" not in given:
        made += ["--tensor-parallel-size", str(parallel)]
    if choice.half and "--dtype" not in given:
        made += ["--dtype", "half"]
    return made


def _context_words(
    asked: int | None, host: HostFacts, model: Model, choice: Choice, query: OfferQuery
) -> tuple[str, ...]:
    """The context length: what was asked for, else what vLLM finds to fit where the release can
    do that, else what is computed to fit."""
    if asked:
        return "--max-model-len", str(asked)
    if choice.on_gpu and server_flags.knows("value", "--max-model-len auto", choice.version):
        return "--max-model-len", "auto"
    computed = _context(host, model, choice, query)
    return ("--max-model-len", str(computed)) if computed else ()


def _context(host: HostFacts, model: Model, choice: Choice, query: OfferQuery) -> int | None:
    """Context length to ask for; None leaves it to vLLM, which takes the model's own."""
    if choice.on_gpu:
        return gpu_group.fitting_context(MEMORY, host, model, query)
    longest = model.shape.max_context if model.shape is not None else 0
    return min(_CPU_CONTEXT, longest or _CPU_CONTEXT)


def _architectures(model: Model) -> list[str]:
    """The model's classes, which are looked at beside the server's imports."""
    told = model.facts.config.get("architectures") if model.facts is not None else None
    names = told if isinstance(told, list | tuple) else ()
    return [n for n in names if isinstance(n, str) and re.fullmatch(r"[A-Za-z]\w{0,99}", n, re.A)]


def environment(
    model: Model, choice: Choice, settings: Settings, api_key: Secret, recipe: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, Secret]]:
    """(plain, secret). Names that sound secret never stand in the script. recipe: what the model
    needs; the user's own wins."""
    plain = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1", **recipe}
    secret = {KEY: api_key}
    if choice.on_gpu:
        plain["GDL_CUDA"] = "1"
    else:
        plain["VLLM_CPU_KVCACHE_SPACE"] = "1"
    if model.source == "hub":
        plain["HF_XET_HIGH_PERFORMANCE"] = "1"
        if names := _architectures(model):
            plain["GDL_ARCHITECTURES"] = " ".join(names)
        secret |= variables.hub_token(settings)
    else:
        plain["HF_HUB_OFFLINE"] = "1"
    own, own_secret = variables.users_own(settings, KEY)
    return plain | own, secret | own_secret
