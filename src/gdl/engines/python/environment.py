"""The steps that make a virtual environment: the installer uv, and a Python that fits."""

from __future__ import annotations

import re
import shlex

from gdl.domain.errors import UsageError
from gdl.domain.host import HostFacts
from gdl.engines.base import Step
from gdl.engines.python import package_places, shell, versions
from gdl.settings import Settings

_ASK_MEANWHILE = """\
# What the next step wants to know of pip.
(
{ask}) >/dev/null 2>&1 &
asking=$!
"""
_UV_INSTALLER = "https://astral.sh/uv/install.sh"


def check_python_setting(asked: str) -> None:
    """Raises UsageError for what is neither a version nor a path."""
    if asked and not re.fullmatch(r"3\.\d+(\.\d+)?|/[^\0\n]+", asked):
        raise UsageError(
            f"install.python is neither a version nor a path: {ascii(asked)[:60]}",
            'write a version such as "3.12", or the absolute path of a Python',
        )


def steps(
    host: HostFacts, bounds: tuple[str, str], settings: Settings, *, own_headers: bool
) -> tuple[Step, ...]:
    """The environment `./venv`. bounds: the least and the greatest Python, both inclusive.
    own_headers: kernels are compiled later on, for which a Python that uv brings has the headers.
    """
    venv = _venv(host, bounds, settings, own_headers=own_headers)
    return (venv,) if settings.install.installer == "pip" else (uv(settings), venv)


def first_of_all(settings: Settings) -> Step | None:
    """The step that no plan for an environment does without, whatever the machine is."""
    install = settings.install
    return None if install.runtime == "container" or install.installer == "pip" else uv(settings)


def uv(settings: Settings) -> Step:
    """Brings the installer uv, or uses one that is there."""
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
    title = "Install uv"
    return Step("uv", title, script, settings.timeouts.install, check, files=put)


def _venv(
    host: HostFacts, bounds: tuple[str, str], settings: Settings, *, own_headers: bool
) -> Step:
    low, high = bounds
    code = f"import sys; sys.exit(not {versions.parse(low)} <= sys.version_info[:2] <= "
    code += f"{versions.parse(high)})"
    asked = settings.install.python
    script = f"""{shell.PREAMBLE}\
fits() {{ "$1" -c {shlex.quote(code)} 2>/dev/null; }}
if fits {shell.PYTHON}; then exit 0; fi
rm -rf ./venv
{"" if settings.install.installer == "pip" else _uv_venvs(host, bounds, asked, own_headers)}\
for python in {_interpreters(host, bounds, asked)}; do
    fits "$python" || continue
    "$python" -m venv ./venv && exit 0
    rm -rf ./venv
    PIP_USER=0 "$python" -m pip install --quiet --no-input --upgrade --target ./virtualenv \\
        virtualenv && PYTHONPATH=./virtualenv "$python" -m virtualenv ./venv && exit 0
done
echo "[gdl] no Python {low} to {high} could be had" >&2
exit 1
"""
    title = "Make the environment"
    check = shell.python(code) + " 2>/dev/null"
    return Step("venv", title, script, settings.timeouts.install, check)


def _uv_venvs(host: HostFacts, bounds: tuple[str, str], asked: str, own_headers: bool) -> str:
    """uv's Pythons carry the headers that GPU kernels are compiled with; on the CPU the machine's
    own one needs no download."""
    if asked:
        ways = [("", asked)]
    else:
        mine = versions.fitting_python(host, bounds)
        bring = next(v for v in versions.PREFERRED_PYTHONS if versions.python_fits(v, bounds))
        ways = [("only-managed", bring)]
        if mine:
            ways.insert(1 if own_headers else 0, ("only-system", mine))
    lines = []
    for preference, version in ways:
        setting = f"UV_PYTHON_PREFERENCE={preference} " if preference else ""
        line = f"{setting}{shell.UV} venv --python {shlex.quote(version)} ./venv"
        lines.append(f"    {line} && fits {shell.PYTHON} && exit 0\n    rm -rf ./venv\n")
    return f"if [ -x {shell.UV} ]; then\n{''.join(lines)}fi\n"


def _interpreters(host: HostFacts, bounds: tuple[str, str], asked: str) -> str:
    if asked:
        return shlex.quote(asked if asked.startswith("/") else f"python{asked}")
    mine = versions.fitting_python(host, bounds)
    return shell.words([*([f"python{mine}"] if mine else []), "python3", "python"])
