"""Pieces of POSIX shell that the plan's scripts are made of."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from gdl.engines.python.ways import Way

PYTHON = "./venv/bin/python"
UV = "./uv/bin/uv"
TORCH_INDEX = "https://download.pytorch.org/whl"
_REMOTE = Path(__file__).parent / "remote"

# Without bytecode every import of an engine compiles anew, three times slower; the other two would
# let packages from outside into the environment.
CLEAN = "unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME UV_TORCH_BACKEND"

PREAMBLE = f"set -eu\n{CLEAN}\n"


def words(parts: Iterable[str]) -> str:
    """Words for a shell line, quoted where they need it."""
    return " ".join(shlex.quote(part) for part in parts)


def python(code: str, *, interpreter: str = PYTHON) -> str:
    """A command that runs Python code."""
    return f"{interpreter} -c {shlex.quote(code.strip())}"


@cache
def uploaded(folder: Path, name: str) -> tuple[str, str]:
    """(name in the work folder, text) of a file of ours that runs on the machine. Its last line
    tells its content, so that `is_current` can tell an older one."""
    text = folder.joinpath(name).read_text("utf-8")
    return name, f"{text}\n# {_fingerprint(text)}\n"


def remote_file(name: str) -> tuple[str, str]:
    """The same, for what every engine in Python can use."""
    return uploaded(_REMOTE, name)


def is_current(folder: Path, name: str) -> str:
    """A test: the file on the machine (`name`, perhaps in a folder) is the one of this program."""
    last = name.rpartition("/")[2]
    text = folder.joinpath(last).read_text("utf-8")
    return f"grep -qx '# {_fingerprint(text)}' ./{name} 2>/dev/null"


def _fingerprint(text: str) -> str:
    return f"fingerprint {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def like_pip(find_links: Iterable[str] = (), indexes: Iterable[str] = ()) -> str:
    """Tells uv what pip is told on this machine (indexes, certificates), and both of them our own
    places. What it prints goes to the shell alone and stays on the machine: in `./places`, for
    the later steps of the same run, because to ask pip takes half a second."""
    own = {"GDL_FIND_LINKS": " ".join(find_links), "GDL_EXTRA_INDEX_URL": " ".join(indexes)}
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in own.items() if value]
    mark = f'"# ${{GDL_RUN-}} {_fingerprint("".join(lines))}"'
    return (
        "".join(lines)
        + f'if [ -n "${{GDL_RUN-}}" ] && grep -qxF {mark} ./places 2>/dev/null; then\n'
        + "    . ./places\n"
        + "else for reader in python3 ./venv/bin/python; do\n"
        + '    if command -v "$reader" >/dev/null 2>&1; then\n'
        + '        said=$("$reader" ./pipconf.py) || said=\n'
        + '        eval "$said"\n'
        + f"        ( umask 077; printf '%s\\n' {mark} \"$said\" > ./places.new \\\n"
        + "            && mv -f ./places.new ./places ) || :\n"
        + "        break\n    fi\ndone; fi\n"
    )


def pip_install(*requirements: str) -> str:
    """Install into the environment by uv where it is, else by pip."""
    what = words(requirements)
    return (
        f"if [ -x {UV} ]; then {UV} pip install --python {PYTHON} {what}\n"
        f"else {PYTHON} -m pip install --disable-pip-version-check --no-input {what}; fi\n"
    )


def pip_uninstall(*names: str) -> str:
    """Uninstall from the environment; names that are not there are no error."""
    what = words(names)
    return (
        f"if [ -x {UV} ]; then {UV} pip uninstall --python {PYTHON} {what}\n"
        f"else {PYTHON} -m pip uninstall --yes {what}; fi\n"
    )


def uv_line(way: Way, shared: list[str], what: str = "") -> str:
    """One attempt by uv. Several indexes: the best version of all counts, as for pip. what: shell
    words to install in place of what the way is for."""
    parts = [UV, "pip", "install", "--python", PYTHON, *shared]
    if way.backend:
        parts.append(f"--torch-backend={way.backend}")
    line = f"{words(parts)} {what or shlex.quote(way.requirement)}"
    if not way.indexes:
        return line
    more = shlex.quote(" ".join(way.indexes))
    return f'UV_INDEX={more}" ${{UV_INDEX-}}" UV_INDEX_STRATEGY=unsafe-best-match {line}'


def pip_line(way: Way, shared: list[str], what: str = "") -> str:
    """One attempt by pip, which knows PyTorch's variants only as an index. what: as above."""
    parts = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    parts += ["--progress-bar", "off", *shared]
    for index in (*way.indexes, *([f"{TORCH_INDEX}/{way.backend}"] if way.backend else [])):
        parts += ["--extra-index-url", index]
    return f"{words(parts)} {what or shlex.quote(way.requirement)}"
