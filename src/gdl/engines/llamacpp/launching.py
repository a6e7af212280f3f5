"""What the plan starts, as data for other tools: see `gdl.domain.launch`. Pure."""

from __future__ import annotations

from gdl.domain.launch import Launch
from gdl.domain.model import Model
from gdl.domain.spec import DeploymentSpec
from gdl.engines.llamacpp import arguments, builds, command
from gdl.engines.llamacpp.builds import Build
from gdl.engines.llamacpp.fitting import Fitting
from gdl.settings import Settings
from gdl.settings.hiding import omitting_secrets, without_login

_PROGRAM = ("llama-server",)
_IN_IMAGE = ("/app/llama-server",)
"""The images' entry point; their PATH does not lead there."""


def launch(
    spec: DeploymentSpec,
    model: Model,
    build: Build,
    fitting: Fitting,
    settings: Settings,
    port: int,
) -> Launch:
    """The project's own program and image: elsewhere nobody has our way of starting the package.
    What came out of a package here comes from the hub there."""
    users = (*settings.engine.args, *spec.engine_args)
    own, omitted = omitting_secrets(users, arguments.NAMES)
    plain, secret = command.environment_of(build, settings)
    # A token of the user's is nobody's business where the model is free to be had.
    secrets = [name for name in secret if name != "HF_TOKEN"]
    secrets += ["HF_TOKEN"] if model.gated else []
    given = {n: without_login(v) for n, v in settings.engine.env.items() if n in plain}
    repository = model.reference
    here = f"in the image {build.image}" if build.image else f"{builds.PACKAGE} {build.version}"
    notes = [f"here it is {here}; without an image llama-server has to be there"]
    if model.source == "packaged" and model.facts is not None:
        repository = f"{model.facts.id}-GGUF"
        notes.append(f"here the file came from {model.packaged}: name a GGUF repository of it")
    local = model.source == "path"
    image = build.image or builds.image_like(build)
    return Launch(
        engine="llamacpp",
        version=build.version,
        program=_PROGRAM,
        program_in_image=_IN_IMAGE,
        model=model.location if local else repository,
        model_flag="--model" if local else "--hf-repo",
        arguments=(*command.decided(model, fitting, users), *own),
        local=local,
        environment=tuple((n, without_login(v)) for n, v in plain.items()),
        secrets=(command.KEY, *secrets),
        key=command.KEY,
        port=port,
        image=image,
        own_arguments=own,
        own_environment=tuple(given.items()),
        notes=(*notes, *omitted),
    )
