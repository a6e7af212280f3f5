"""What the plan starts, as data for other tools: see `gdl.domain.launch`. Pure."""

from __future__ import annotations

from gdl.domain.host import HostFacts
from gdl.domain.launch import Launch
from gdl.domain.model import Model
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.engines.python import handing_over, shell, versions
from gdl.engines.python.ways import Way
from gdl.engines.vllm import command, compat_table, load_limits, repairs, templates
from gdl.engines.vllm.compat import Choice
from gdl.engines.vllm.flags import Flags
from gdl.settings import Settings
from gdl.settings.hiding import omitting_secrets, without_login

_PROGRAM = ("python3", "-m", "vllm.entrypoints.openai.api_server")
_SOURCES = "https://raw.githubusercontent.com/vllm-project/vllm"
_OURS = "GDL_"
"""Variables for our own way of starting it."""


def launch(
    spec: DeploymentSpec,
    host: HostFacts,
    model: Model,
    choice: Choice,
    settings: Settings,
    port: int,
    chosen: Flags,
) -> Launch:
    """chosen: what `command.chosen_flags` says. Raises UsageError as `command.command` does."""
    model, notes = handing_over.of_the_hub(model)
    own, omitted = omitting_secrets((*settings.engine.args, *spec.engine_args))
    made = command.arguments(spec, host, model, choice, settings, port, chosen)
    plain, secret = command.environment(model, choice, settings, Secret(""), chosen.environment)
    # A token of the user's is nobody's business where the model is free to be had.
    secrets = [name for name in secret if name != "HF_TOKEN" or model.gated]
    template = chosen.template
    given = {n: without_login(v) for n, v in settings.engine.env.items() if n in plain}
    return Launch(
        engine="vllm",
        version=choice.version,
        program=_PROGRAM,
        model=model.reference,
        model_flag="--model",
        arguments=(*handing_over.without_address(made), *own),
        arguments_in_image=("--chat-template", templates.in_image(template)) if template else (),
        arguments_installed=("--chat-template", f"./{template}") if template else (),
        local=model.source == "path",
        environment=tuple(
            (n, without_login(v)) for n, v in plain.items() if not n.startswith(_OURS)
        ),
        secrets=tuple(secrets),
        key=command.KEY,
        port=port,
        image=_image(choice),
        python=_python(choice),
        install=_install(spec, choice, template),
        own_arguments=own,
        own_environment=tuple(given.items()),
        notes=(*notes, *omitted, *handing_over.places(settings)),
    )


def _image(choice: Choice) -> str:
    """The release's own image: with the same CUDA, or none."""
    known = compat_table.image()
    row = compat_table.row_of(choice.version)
    same = choice.on_gpu and choice.cuda == row.cuda
    if choice.image or not same:
        return choice.image
    if versions.parse(choice.version) < versions.parse(known.first):
        return ""
    return f"{known.name}:v{choice.version}"


def _python(choice: Choice) -> str:
    return next(v for v in versions.PREFERRED_PYTHONS if versions.python_fits(v, choice.python))


def _install(spec: DeploymentSpec, choice: Choice, template: str) -> tuple[str, ...]:
    """By uv; several ways are tried in turn, as here."""
    package = load_limits.PACKAGES.get(spec.query.quantization)
    more = [package] if package else []
    limits = ["--constraint", "constraints.txt"] if choice.constraints else []
    lines = []
    if limits:
        lines.append(f"printf '%s\\n' {shell.words(choice.constraints)} > constraints.txt")
    ways = choice.ways or (Way(f"{choice.distribution}=={choice.version}"),)
    # Elsewhere no package place of one's own holds PyTorch for CPUs: its index comes first.
    ways = ways if choice.on_gpu else ways[::-1]
    lines.append(" ||\n    ".join(_by_uv(way, limits, more) for way in ways))
    if not choice.on_gpu:
        lines.append(f"uv pip uninstall {shell.words(repairs.VISION_PACKAGES)}")
    if template:
        at = f"{_SOURCES}/v{choice.version}/examples/{template}"
        lines.append(f"curl -LsSf -o ./{template} {shell.words([at])}")
    return tuple(lines)


def _by_uv(way: Way, limits: list[str], more: list[str]) -> str:
    words = ["uv", "pip", "install", *limits]
    if way.backend:
        words.append(f"--torch-backend={way.backend}")
    for index in way.indexes:
        words += ["--extra-index-url", index, "--index-strategy", "unsafe-best-match"]
    return shell.words([*words, way.requirement, *more])
