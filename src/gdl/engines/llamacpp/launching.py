"""What the plan starts, as data for other tools: see `gdl.domain.launch`. Pure."""

from __future__ import annotations

import re

from gdl.domain.launch import Launch
from gdl.domain.model import Model
from gdl.domain.spec import DeploymentSpec
from gdl.engines.llamacpp import builds, command
from gdl.engines.llamacpp.builds import Build
from gdl.engines.llamacpp.fitting import Fitting
from gdl.settings import Settings

_PROGRAM = ("llama-server",)
_IN_IMAGE = ("/app/llama-server",)
"""The images' entry point; their PATH does not lead there."""
_SECRET_FLAG = re.compile(r"--[\w-]*(token|secret|password|credentials?)", re.IGNORECASE)


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
    own = tuple(word for word in users if not _SECRET_FLAG.match(word))
    plain, secret = command.variables(build, settings)
    repository = model.reference
    notes = [f"here it is {builds.PACKAGE} {build.version}; elsewhere llama-server has to be there"]
    if model.source == "packaged" and model.facts is not None:
        repository = f"{model.facts.id}-GGUF"
        notes.append(f"here the file came out of {model.packaged}: name a GGUF repository of it")
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
        environment=tuple(plain.items()),
        secrets=(command.KEY, *secret),
        key=command.KEY,
        port=port,
        image=image,
        own_arguments=own,
        own_environment=tuple((n, v) for n, v in settings.engine.env.items() if n in plain),
        notes=tuple(notes),
    )
