"""What the plan starts, as data for other tools: see `gdl.domain.launch`. Pure."""

from __future__ import annotations

from gdl.domain.host import HostFacts
from gdl.domain.launch import Launch
from gdl.domain.model import Model
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.engines.python import handing_over, shell
from gdl.engines.python.versions import PREFERRED_PYTHONS, python_fits
from gdl.engines.sglang import command, server_flags
from gdl.engines.sglang.command import Chosen
from gdl.engines.sglang.plan import QUANTIZERS, way
from gdl.engines.sglang.releases import Release
from gdl.settings import Settings
from gdl.settings.hiding import omitting_secrets, without_login

_PROGRAM = ("python3", "-m", "sglang.launch_server")


def launch(
    spec: DeploymentSpec,
    host: HostFacts,
    model: Model,
    release: Release,
    settings: Settings,
    port: int,
    chosen: Chosen,
) -> Launch:
    """chosen: what `command.choose` says. Raises UsageError as `command.command` does."""
    model, notes = handing_over.of_the_hub(model)
    users = (*settings.engine.args, *spec.engine_args)
    own, omitted = omitting_secrets(users)
    given = server_flags.given(users)
    made = command.arguments(host, model, settings, given, port, spec.query, chosen)
    plain, secret = command.environment(model, settings, Secret(""))
    # A token of the user's is nobody's business where the model is free to be had.
    secrets = [name for name in secret if name != "HF_TOKEN" or model.gated]
    theirs = {n: without_login(v) for n, v in settings.engine.env.items() if n in plain}
    package = QUANTIZERS.get(spec.query.quantization)
    return Launch(
        engine="sglang",
        version=release.version,
        program=_PROGRAM,
        model=model.reference,
        model_flag="--model-path",
        arguments=(*handing_over.without_address(made), *own),
        local=model.source == "path",
        environment=tuple((n, without_login(v)) for n, v in plain.items()),
        secrets=tuple(secrets),
        key=command.KEY,
        key_flag="--api-key",
        port=port,
        health=command.READY,
        python=next(v for v in PREFERRED_PYTHONS if python_fits(v, release.python)),
        install=(
            "uv pip install --prerelease=allow "
            + shell.words([way(release).requirement, *([package] if package else [])]),
        ),
        own_arguments=own,
        own_environment=tuple(theirs.items()),
        notes=(*notes, *omitted, *handing_over.places(settings)),
    )
