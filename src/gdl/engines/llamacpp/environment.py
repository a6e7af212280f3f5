"""The environment of the package, and the shell that its steps are made of. Pure.

`llamacpp/` in the work folder is a virtual environment without pip of its own; packages come by uv,
or by the machine's pip, which is quicker than to bring uv first.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from gdl.domain.host import HostFacts
from gdl.engines.base import Step
from gdl.engines.llamacpp.builds import FIRST_PYTHON, PACKAGE, Build
from gdl.engines.python import environment, package_places, shell
from gdl.settings import Settings

HOME = "./llamacpp"
PYTHON = f"{HOME}/bin/python"
words = shell.words
FILES = (shell.remote_file("pipconf.py"),)
_REMOTE = Path(__file__).parent / "remote"
_BUILD = f"{HOME}/build"
"""Tells which build is installed."""
_ASK_PIP = f"import pip, sys; sys.version_info < {FIRST_PYTHON} or print(pip.__version__)"
_FITS = f"import sys; sys.exit(sys.version_info < {FIRST_PYTHON})"
PROBE = f"""\
for f in "$GDL_DIR"/llamacpp/lib/python3*/site-packages/{PACKAGE}; do
  if [ -d "$f" ]; then echo installed=1; fi
done
if v=$(within 20 python3 -c {shlex.quote(_ASK_PIP)} \\
    2>/dev/null) && [ -n "$v" ]; then echo "pip=$v"; fi
"""


def remote_file(name: str) -> tuple[str, str]:
    """(name in the work folder, text) of one of this engine's programs for the machine."""
    return shell.uploaded(_REMOTE, name)


def preamble(settings: Settings) -> str:
    """What a step's script begins with, where it installs something. pip knows its own places, and
    puts files together where they are to lie: elsewhere they would be copied."""
    own = package_places.exports(settings)
    asked = settings.install.find_links or settings.install.extra_index_url
    told = own if asked else f"if [ -x {shell.UV} ]; then\n{own}fi\n"
    return f'{shell.PREAMBLE}{told}mkdir -p ./tmp\nexport TMPDIR="$PWD/tmp"\n'


def get(
    folder: str, packages: Sequence[str], *, index: str = "", dependencies: bool = False
) -> str:
    """Shell that puts packages into a folder. index: the only one that is asked, or "" """
    alone = [] if dependencies else ["--no-deps"]
    by_uv = ["--target", folder, *alone]
    by_pip = ["--target", folder, "--upgrade", *alone]
    if index:
        by_uv += ["--index", index, "--index-strategy", "first-index"]
        by_pip += ["--index-url", index]
    pip = ["python3", "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    pip += ["--progress-bar", "off", *by_pip, *packages]
    uv_line = [shell.UV, "pip", "install", "--python", PYTHON, *by_uv, *packages]
    return (
        f"if [ -x {shell.UV} ]; then {words(uv_line)}\n"
        f"else PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 {words(pip)}; fi"
    )


def has_pip(host: HostFacts) -> bool:
    """Whether the machine's own Python and pip will do."""
    return bool(dict(host.engine.told).get("pip"))


def steps(host: HostFacts, build: Build, settings: Settings) -> tuple[Step, ...]:
    """Installer where it is needed, environment, package."""
    install = settings.install
    brings = install.installer == "uv" or (install.installer == "auto" and not has_pip(host))
    first = (environment.uv(settings),) if brings else ()
    return (*first, _venv(settings), _package(build, settings))


def _venv(settings: Settings) -> Step:
    asked = settings.install.python
    own = shlex.quote(asked if asked.startswith("/") else f"python{asked}") if asked else ""
    bring = shlex.quote(asked or "3.12")
    first = ".".join(map(str, FIRST_PYTHON))
    script = f"""{shell.PREAMBLE}\
fits() {{ "$1" -c {shlex.quote(_FITS)} 2>/dev/null; }}
if fits {PYTHON}; then exit 0; fi
rm -rf {HOME}
for python in {own or "python3 python"}; do
    fits "$python" || continue
    "$python" -m venv --without-pip {HOME} && exit 0
    rm -rf {HOME}
done
if [ -x {shell.UV} ]; then {shell.UV} venv --python {bring} {HOME} && exit 0; fi
echo "[gdl] no Python {first} or newer could be had" >&2
exit 1
"""
    check = f"{shell.python(_FITS, interpreter=PYTHON)} 2>/dev/null"
    title = "Make the environment"
    return Step("venv", title, script, settings.timeouts.install, check)


def _package(build: Build, settings: Settings) -> Step:
    mark = shlex.quote(f"{build.version} {build.words}")
    installed = f"""
import sys
from importlib.metadata import version
sys.exit(version("{PACKAGE}") != "{build.version}")
"""
    there = f"{shell.python(installed, interpreter=PYTHON)} 2>/dev/null"
    site = shell.python(
        'import sysconfig; print(sysconfig.get_path("purelib"))', interpreter=PYTHON
    )
    one = get("$site", [f"{PACKAGE}=={build.version}"], index=build.index)
    script = f"""{preamble(settings)}\
site=$({site})
rm -f {_BUILD}
{one.replace("'$site'", '"$site"')}
{there}
printf '%s\\n' {mark} > {_BUILD}
"""
    current = shell.is_current(_REMOTE, "serve.py")
    check = f'{current} && [ "$(cat {_BUILD} 2>/dev/null)" = {mark} ] && {there}'
    title = f"Install {PACKAGE} {build.version}"
    return Step(
        "install", title, script, settings.timeouts.install, check,
        files=(*FILES, remote_file("serve.py")),
    )  # fmt: skip
