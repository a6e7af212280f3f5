"""The steps that put vLLM and the model on a machine. Pure: facts and settings in, scripts out.

Everything lives in the work folder: `uv/` the installer, `venv/` the environment, `models/`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection

from gdl.domain.errors import DeployError, UsageError
from gdl.domain.host import HostFacts
from gdl.domain.model import Model
from gdl.engines.base import Step
from gdl.engines.vllm import (
    bytecode,
    capacity,
    compat,
    compat_table,
    container,
    model_files,
    package_places,
    repairs,
    shell,
)
from gdl.engines.vllm.compat import Choice
from gdl.engines.vllm.release_limits import ANY, Limits
from gdl.engines.vllm.wheel_choice import Way
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
_ASK_MEANWHILE = """\
# What the next step wants to know of pip.
(
{ask}) >/dev/null 2>&1 &
asking=$!
"""
_UV_INSTALLER = "https://astral.sh/uv/install.sh"


def choose(
    host: HostFacts, settings: Settings, *, cpu_allowed: bool, limits: Limits = ANY
) -> Choice:
    """The vLLM for this machine, within the limits. Raises DeployError when nothing can run
    there."""
    _check_python_setting(settings.install.python)
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
        "take the next offer; a machine with a broken driver rarely heals",
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


def _check_python_setting(asked: str) -> None:
    if asked and not re.fullmatch(r"3\.\d+(\.\d+)?|/[^\0\n]+", asked):
        raise UsageError(
            f"install.python is neither a version nor a path: {ascii(asked)[:60]}",
            'write a version such as "3.12", or the absolute path of a Python',
        )


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
    made = [_venv(host, choice, settings), _install(host, choice, settings)]
    if settings.install.installer != "pip":
        made.insert(0, _uv(settings))
    if not choice.on_gpu:
        made.append(_text_only(timeout))
    return (*made, *model_files.steps(model, settings, beside=True, arguments=arguments))


def first_of_all(settings: Settings) -> Step | None:
    """The step that no plan for an environment does without, whatever the machine is."""
    install = settings.install
    return None if install.runtime == "container" or install.installer == "pip" else _uv(settings)


def _uv(settings: Settings) -> Step:
    required = settings.install.installer == "uv"
    own = bool(settings.install.find_links or settings.install.extra_index_url)
    otherwise = (
        'echo "[gdl] uv could not be had" >&2\nexit 1\n'
        if required
        else 'echo "[gdl] uv could not be had; pip will do"\nmkdir -p ./uv\n: > ./uv/missing\n'
    )
    script = f"""{shell.PREAMBLE}\
usable() {{ "$1" pip install --help 2>/dev/null | grep -q -e --torch-backend; }}
rm -f ./uv/missing
{package_places.exports(settings) if own else ""}\
for there in "$(command -v uv || true)" "$HOME/.local/bin/uv" "$HOME/.cargo/bin/uv"; do
    if [ -x "$there" ] && usable "$there"; then
        mkdir -p ./uv/bin
        ln -sf "$there" {shell.UV}
        exec {shell.UV} --version
    fi
done
{"" if own else _ASK_MEANWHILE.format(ask=package_places.exports(settings))}\
if PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 python3 -m pip install --quiet --no-input \\
    --disable-pip-version-check --upgrade --no-deps --target ./uv uv && usable {shell.UV}; then
    {"" if own else 'wait "$asking" || :'}
    exec {shell.UV} --version
fi
site={_UV_INSTALLER}
if {{ curl -LsSf "$site" -o ./uv-install.sh || wget -qO ./uv-install.sh "$site"; }} \\
    && UV_UNMANAGED_INSTALL="$PWD/uv/bin" sh ./uv-install.sh && usable {shell.UV}; then
    exec {shell.UV} --version
fi
{otherwise}"""
    check = f"{shell.UV} --version >/dev/null 2>&1"
    if not required:
        check += " || [ -e ./uv/missing ]"
    put = (shell.remote_file("pipconf.py"),)
    title = "Bring the installer uv"
    return Step("uv", title, script, settings.timeouts.install, check, files=put)


def _venv(host: HostFacts, choice: Choice, settings: Settings) -> Step:
    low, high = choice.python
    code = f"import sys; sys.exit(not {compat_table.parse(low)} <= sys.version_info[:2] <= "
    code += f"{compat_table.parse(high)})"
    asked = settings.install.python
    script = f"""{shell.PREAMBLE}\
fits() {{ "$1" -c {shlex.quote(code)} 2>/dev/null; }}
if fits {shell.PYTHON}; then exit 0; fi
rm -rf ./venv
{"" if settings.install.installer == "pip" else _uv_venvs(host, choice, asked)}\
for python in {_interpreters(host, choice, asked)}; do
    fits "$python" || continue
    "$python" -m venv ./venv && exit 0
    rm -rf ./venv
    PIP_USER=0 "$python" -m pip install --quiet --no-input --upgrade --target ./virtualenv \\
        virtualenv && PYTHONPATH=./virtualenv "$python" -m virtualenv ./venv && exit 0
done
echo "[gdl] no Python {low} to {high} could be had" >&2
exit 1
"""
    title = "Make a virtual environment"
    check = shell.python(code) + " 2>/dev/null"
    return Step("venv", title, script, settings.timeouts.install, check)


def _uv_venvs(host: HostFacts, choice: Choice, asked: str) -> str:
    """uv's Pythons carry the headers that GPU kernels are compiled with; on the CPU the machine's
    own one needs no download."""
    if asked:
        ways = [("", asked)]
    else:
        mine = compat.fitting_python(host, choice.python)
        bring = next(v for v in compat.PREFERRED_PYTHONS if compat.python_fits(v, choice.python))
        ways = [("only-managed", bring)]
        if mine:
            ways.insert(1 if choice.on_gpu else 0, ("only-system", mine))
    lines = []
    for preference, version in ways:
        setting = f"UV_PYTHON_PREFERENCE={preference} " if preference else ""
        line = f"{setting}{shell.UV} venv --python {shlex.quote(version)} ./venv"
        lines.append(f"    {line} && fits {shell.PYTHON} && exit 0\n    rm -rf ./venv\n")
    return f"if [ -x {shell.UV} ]; then\n{''.join(lines)}fi\n"


def _interpreters(host: HostFacts, choice: Choice, asked: str) -> str:
    if asked:
        return shlex.quote(asked if asked.startswith("/") else f"python{asked}")
    mine = compat.fitting_python(host, choice.python)
    return shell.words([*([f"python{mine}"] if mine else []), "python3", "python"])


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
    check = f"{shell.starts_are_current()} && {shell.python(_installed(choice))} 2>/dev/null"
    put = [shell.remote_file(name) for name in (*shell.STARTS, "pipconf.py", "bytecode.py")]
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
    title = "Remove vision packages built for CUDA"
    return Step("text-only", title, script, timeout, shell.python(code))
