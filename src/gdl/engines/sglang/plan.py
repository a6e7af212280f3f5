"""The steps that put SGLang and the model on a machine. Pure: facts and settings in, scripts out.

Everything lives in the work folder: `uv/` the installer, `venv/` the environment, `models/`.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path

from gdl.domain.errors import DeployError
from gdl.domain.host import HostFacts
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.engines.base import Step
from gdl.engines.python import environment, gpu_group, model_files, package_places, shell, space
from gdl.engines.python.ways import Way
from gdl.engines.sglang.memory import SglangMemory
from gdl.engines.sglang.releases import Release
from gdl.settings import Settings

REMOTE = Path(__file__).parent / "remote"
LAUNCH = "sglang_launch.py"
MEMORY = SglangMemory()
SHARE = "--mem-fraction-static"
QUANTIZERS = {"bitsandbytes": "bitsandbytes>=0.46.1"}
"""What SGLang does not bring itself, by the quantization that needs it."""
_INSTALL_GB = 14.0
"""The environment with what was unpacked for it: an estimate."""
_ANOTHER_WAY = frozenset(
    {"--revision", "--load-format", "--download-dir", "--model-config-parser", "--tokenizer-path"}
)
"""Flags after which SGLang fetches other files, or to another place."""
_ELSEWHERE = ("SGLANG_USE_MODELSCOPE", "HF_HUB_OFFLINE")


def way(release: Release) -> Way:
    """The index's wheel with the index's torch, which agree."""
    return Way(f"sglang=={release.version}")


def steps(
    host: HostFacts,
    model: Model,
    release: Release,
    settings: Settings,
    query: OfferQuery,
    arguments: Collection[str] = (),
) -> tuple[Step, ...]:
    """The installation, step by step. arguments: the full names of the flags that the user gives
    the server."""
    elsewhere = bool(_ANOTHER_WAY.intersection(arguments)) or any(
        name in settings.engine.env for name in _ELSEWHERE
    )
    return (
        *environment.steps(host, release.python, settings, own_headers=True),
        _install(release, settings, QUANTIZERS.get(query.quantization, "")),
        *model_files.steps(model, settings, beside=True, elsewhere=elsewhere),
    )


def _install(release: Release, settings: Settings, more: str) -> Step:
    install = settings.install
    what = shell.words([way(release).requirement, *([more] if more else [])])
    # One of its packages has nothing but releases before its first.
    by_uv = shell.uv_line(way(release), ["--prerelease=allow"], what)
    by_pip = shell.pip_line(way(release), [], what)
    last = "    exit 1\n" if install.installer == "uv" else ""
    uv = f"""\
if [ -x {shell.UV} ]; then
    echo {shlex.quote(f"[gdl] trying uv: {way(release).words}")}
    {by_uv} && exit 0
    echo "[gdl] that did not work"
{last}fi
"""
    script = f"""{shell.PREAMBLE}{package_places.exports(settings)}\
{"" if install.installer == "pip" else uv}\
{shell.PYTHON} -m pip --version >/dev/null 2>&1 || {shell.PYTHON} -m ensurepip \\
    || {shell.UV} pip install --python {shell.PYTHON} pip
echo {shlex.quote(f"[gdl] trying pip: {way(release).words}")}
exec {by_pip}
"""
    names = ["sglang", *([more.partition(">")[0]] if more else [])]
    code = f"""
import sys
from importlib.metadata import version
found = [version(name) for name in {names!r}]
sys.exit(found[0].partition("+")[0] != {release.version!r})
"""
    check = f"{shell.is_current(REMOTE, LAUNCH)} && {shell.python(code)} 2>/dev/null"
    put = (shell.uploaded(REMOTE, LAUNCH), shell.remote_file("pipconf.py"))
    title = f"Install SGLang {release.version}"
    return Step("install", title, script, settings.timeouts.install, check, files=put)


def require(
    host: HostFacts, model: Model, query: OfferQuery, arguments: Collection[str] = ()
) -> None:
    """Raises DeployError when disk or memory cannot hold the environment and the model. arguments:
    as above; one of them may decide how much of a GPU is claimed."""
    space.require_disk(host, model, 0.0 if host.engine.installed else _INSTALL_GB)
    found = gpu_group.allocation(MEMORY, host, model, query)
    if SHARE not in arguments and found is not None and found.weights_bytes > found.usable_bytes:
        raise DeployError(
            f"not enough GPU memory: {found.usable_bytes / 1e9:.1f} GB of each GPU can be used,"
            f" {model.served_name} puts {found.weights_bytes / 1e9:.1f} GB on it",
            "take a bigger machine, a smaller or quantized model; or claim more of the GPU: "
            f"--engine-arg={SHARE}=0.9",
        )
