"""The steps that put vLLM and the model on a machine. Pure: facts and settings in, scripts out.

Everything lives in the work folder: `uv/` the installer, `venv/` the environment, `models/`.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection

from gdl.domain.errors import DeployError
from gdl.domain.host import HostFacts
from gdl.domain.model import Model
from gdl.engines.base import Step
from gdl.engines.python import environment, model_files, package_places, shell
from gdl.engines.python.ways import Way
from gdl.engines.vllm import bytecode, capacity, compat, container, programs, repairs
from gdl.engines.vllm.compat import Choice
from gdl.engines.vllm.release_limits import ANY, Limits
from gdl.settings import Settings

# Every way needs the same space, and the job's output is its log: one full disk ends them all.
_FAILED = """\
failed() {
    said="/proc/$$/fd/1"
    if [ -f "$said" ] && grep -q "No space left on device" "$said"; then
        echo "[gdl] every other way needs the same space"
        exit 1
    fi
    echo "[gdl] that did not work"
}
"""


_ANOTHER_WAY = frozenset(
    {"--revision", "--code-revision", "--load-format", "--download-dir", "--config-format",
     "--ignore-patterns", "--hf-config-path", "--runner-type"}
)  # fmt: skip
"""Flags after which vLLM fetches other files, from elsewhere or to another place."""
_ELSEWHERE = ("VLLM_USE_MODELSCOPE", "HF_HUB_OFFLINE", "RUNAI_STREAMER_CONCURRENCY")


def choose(
    host: HostFacts, settings: Settings, *, cpu_allowed: bool, limits: Limits = ANY
) -> Choice:
    """The vLLM for this machine, within the limits. Raises DeployError when nothing can run
    there."""
    environment.check_python_setting(settings.install.python)
    if host.os.casefold().startswith(("darwin", "macos", "windows")):
        raise DeployError(
            f"vLLM runs on Linux, this machine has {host.os}",
            "deploy to a Linux machine: --backend ssh or shopper",
        )
    runtime = settings.install.runtime
    if runtime == "container":
        container.require_docker(host)
        return compat.for_image(host, settings.install, limits)
    if host.has_gpu:
        try:
            return compat.for_gpu(host, settings.install, limits)
        except DeployError as error:
            if runtime != "auto" or not (host.docker and host.docker_gpus):
                raise
            try:
                return compat.for_image(host, settings.install, limits)
            except DeployError:
                raise error from None
    if cpu_allowed:
        return compat.for_cpu(settings.install, limits)
    said = " ".join(host.gpu_error.split())[:300]
    raise DeployError(
        f"no usable GPU: {said or 'nvidia-smi lists none'}",
        "take the next offer; a broken driver rarely repairs itself",
    )


def otherwise(
    host: HostFacts, model: Model, choice: Choice, settings: Settings, limits: Limits
) -> Choice | None:
    """What to try when `choice` cannot be installed: the container image, if there is space."""
    other = image_instead(host, choice, settings, limits)
    try:
        if other is not None:
            capacity.require_disk(host, model, other)
    except DeployError:
        return None
    return other


def image_instead(
    host: HostFacts, choice: Choice, settings: Settings, limits: Limits = ANY
) -> Choice | None:
    """The container image, where docker works and nobody asked for anything else."""
    if choice.image or settings.install.runtime != "auto":
        return None
    try:
        container.require_docker(host)
        return compat.for_image(host, settings.install, limits)
    except DeployError:
        return None


def steps(
    host: HostFacts,
    model: Model,
    choice: Choice,
    settings: Settings,
    arguments: Collection[str] = (),
) -> tuple[Step, ...]:
    """The installation, step by step. arguments: the full names of the flags that the user gives
    the server."""
    if choice.image:
        # Before some 10 GB are pulled.
        first = model_files.steps(model, settings) if model.source == "path" else ()
        return (*first, *container.steps(host, model, choice, settings))
    timeout = settings.timeouts.install
    made = [
        *environment.steps(host, choice.python, settings, own_headers=choice.on_gpu),
        _install(host, choice, settings),
    ]
    if not choice.on_gpu:
        made.append(_text_only(timeout))
    return (*made, *model_steps(model, settings, arguments))


def model_steps(
    model: Model, settings: Settings, arguments: Collection[str] = ()
) -> tuple[Step, ...]:
    """The model's, beside an environment that is made. arguments: as above."""
    elsewhere = bool(_ANOTHER_WAY.intersection(arguments)) or any(
        name in settings.engine.env for name in _ELSEWHERE
    )
    return model_files.steps(model, settings, beside=True, elsewhere=elsewhere)


def _install(host: HostFacts, choice: Choice, settings: Settings) -> Step:
    install = settings.install
    limits = ["--constraint", "./constraints.txt"] if choice.constraints else []
    without = [] if choice.on_gpu else ["--overrides", f"./{bytecode.UNUSABLE[0]}"]
    lines = [(way, bytecode.by_uv(way, [*limits, *without])) for way in choice.ways]
    by_uv = _tries("uv", lines, choice, "    ")
    by_pip = _tries("pip", [(w, shell.pip_line(w, limits)) for w in choice.ways], choice)
    last = "    exit 1\n" if install.installer == "uv" else ""
    with_uv = f"if [ -x {shell.UV} ]; then\n{bytecode.EARLY}{by_uv}{last}fi\n"
    script = f"""{shell.PREAMBLE}{package_places.exports(settings)}\
{_FAILED}{repairs.builds(host)}\
{"" if install.installer == "pip" else with_uv}\
{shell.PYTHON} -m pip --version >/dev/null 2>&1 || {shell.PYTHON} -m ensurepip \\
    || {shell.UV} pip install --python {shell.PYTHON} pip
{by_pip}\
exit 1
"""
    check = f"{programs.starts_are_current()} && {shell.python(_installed(choice))} 2>/dev/null"
    put = [*map(programs.remote_file, (*programs.STARTS, "bytecode.py"))]
    put.insert(2, shell.remote_file("pipconf.py"))
    if not choice.on_gpu:
        put.append(bytecode.UNUSABLE)
    if choice.constraints:
        put.append(("constraints.txt", "".join(f"{line}\n" for line in choice.constraints)))
    title = f"Install {choice.distribution} {choice.version}"
    return Step("install", title, script, settings.timeouts.install, check, files=tuple(put))


def _tries(tool: str, lines: list[tuple[Way, str]], choice: Choice, indent: str = "") -> str:
    """One line after the other until one succeeds, each named before, without builds that are
    known not to run on this machine. On the CPU, where the
    machine has package places of its own they come first, else PyTorch's index for CPUs does."""

    def in_turn(tried: list[tuple[Way, str]], inset: str) -> str:
        return "".join(
            f"{inset}if build {shlex.quote(way.build)}; then\n"
            f"{inset}    echo {shlex.quote(f'[gdl] trying {tool}: {way.words}')}\n"
            f"{inset}    {line} && exit 0\n"
            f"{inset}    failed\n{inset}fi\n"
            for way, line in tried
        )

    if choice.on_gpu:
        return in_turn(lines, indent)
    deeper = indent + "    "
    return (
        f'{indent}if [ -n "${{GDL_INDEXES-}}" ]; then\n{in_turn(lines, deeper)}'
        f"{indent}else\n{in_turn(lines[::-1], deeper)}{indent}fi\n"
    )


def _installed(choice: Choice) -> str:
    return f"""
import re, sys
from importlib.metadata import version
import numpy
def plain(text): return re.sub(r"(\\.0)+$", "", text.partition("+")[0])
sys.exit(plain(version("{choice.distribution}")) != plain("{choice.version}"))
"""


def _text_only(timeout: float) -> Step:
    """The CPU build of vLLM draws in vision and audio packages built for CUDA, whose import then
    fails; models of text need none of them."""
    code = f"""
import sys
from importlib.metadata import PackageNotFoundError, version
def variant(name):
    try: return version(name).partition("+")[2]
    except PackageNotFoundError: return None
wrong = [n for n in {repairs.VISION_PACKAGES!r} if variant(n) not in (None, "cpu")]
sys.exit(variant("torch") == "cpu" and bool(wrong))
"""
    script = shell.PREAMBLE + shell.pip_uninstall(*repairs.VISION_PACKAGES)
    title = "Remove vision packages"
    return Step("text-only", title, script, timeout, shell.python(code))
