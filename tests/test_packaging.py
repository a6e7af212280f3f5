"""What people install: the wheel and the source distribution, built, looked through, installed into
an empty environment and used, by each Python that is here.

Needs a package index and minutes. The versions of the tools are named: theirs are the checks.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOLS = ("build==1.6.1", "twine==7.0.0")
VERSIONS = ("3.11", "3.12", "3.13", "3.14")

pytestmark = [pytest.mark.real, pytest.mark.long]


def python_of(version: str) -> Path | None:
    """An interpreter of that version: on the PATH, or among pyenv's."""
    if version == "{}.{}".format(*sys.version_info[:2]):
        return Path(sys.executable)
    if found := shutil.which(f"python{version}"):
        asked = subprocess.run([found, "-c", ""], check=False, capture_output=True)
        if asked.returncode == 0:
            return Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return next(iter(sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)), None)


def call(*words: str | Path, env: dict[str, str] | None = None) -> str:
    """What it prints. A failure is told with all that it said."""
    done = subprocess.run(
        [str(word) for word in words],
        env=os.environ | (env or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both, from a clone of this checkout, and the tools beside it."""
    folder = tmp_path_factory.mktemp("built")
    call("git", "clone", "-q", ROOT, folder / "source")
    call(sys.executable, "-m", "venv", folder / "tools")
    python = folder / "tools/bin/python"
    call(python, "-m", "pip", "install", "-q", *TOOLS)
    call(python, "-m", "build", "--outdir", folder / "dist", folder / "source")
    return folder


def of(built: Path, pattern: str) -> Path:
    (found,) = (built / "dist").glob(pattern)
    return found


def commit(built: Path) -> str:
    told = call("git", "-C", built / "source", "rev-parse", "HEAD").strip()
    return told[:9]


def test_both_pass_twine_and_their_readme_renders(built: Path) -> None:
    python = built / "tools/bin/python"
    call(python, "-m", "twine", "check", "--strict", of(built, "*.whl"), of(built, "*.tar.gz"))
    assert call("git", "-C", built / "source", "status", "--porcelain") == "", "files were left"


def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(of(built, "*.whl")) as wheel:
        inside = {name for name in wheel.namelist() if not name.endswith("/")}
        metadata = wheel.read("gdl_tui-0.1.0.dist-info/METADATA").decode()
    tracked = call("git", "-C", built / "source", "ls-files", "src/gdl").split()
    package = {name.removeprefix("src/") for name in tracked} | {"gdl/commit.txt"}
    assert {name for name in inside if ".dist-info/" not in name} == package
    known = {"METADATA", "WHEEL", "entry_points.txt", "licenses/LICENSE", "RECORD"}
    assert {name.partition(".dist-info/")[2] for name in inside - package} == known
    named = set(re.findall(r"^Provides-Extra: (\S+)", metadata, re.M))
    assert named == {"serve", "docs", "test"}


def test_the_source_distribution_holds_what_builds_and_tests_it(built: Path) -> None:
    with tarfile.open(of(built, "*.tar.gz")) as source:
        inside = {name.partition("/")[2] for name in source.getnames()}
    tracked = set(call("git", "-C", built / "source", "ls-files").split())
    assert inside - tracked == {"PKG-INFO", "src/gdl/commit.txt"}
    left = {name.partition("/")[0] for name in tracked - inside}
    assert left <= {".ci", "findings"}


def test_a_wheel_made_from_the_source_distribution_is_the_same(built: Path) -> None:
    python = built / "tools/bin/python"
    again = built / "again"
    with tarfile.open(of(built, "*.tar.gz")) as source:
        source.extractall(again, filter="data")
    (folder,) = again.iterdir()
    call(python, "-m", "build", "--wheel", "--outdir", again, folder)
    (made,) = again.glob("*.whl")
    with zipfile.ZipFile(made) as ours, zipfile.ZipFile(of(built, "*.whl")) as theirs:
        assert {e.filename: e.CRC for e in ours.infolist()} == {
            e.filename: e.CRC for e in theirs.infolist()
        }


@pytest.mark.parametrize("version", VERSIONS)
def test_the_wheel_works_in_an_empty_environment(version: str, built: Path, tmp_path: Path) -> None:
    python = python_of(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    call(python, "-m", "venv", tmp_path / "venv")
    ours = tmp_path / "venv/bin"
    call(ours / "python", "-m", "pip", "install", "-q", of(built, "*.whl"))
    alone = {"HOME": tmp_path, "GDL_DATA_DIR": tmp_path / "data", "XDG_CONFIG_HOME": tmp_path}
    env = {name: str(path) for name, path in alone.items()} | {"PYTHONWARNINGS": "error"}
    assert call(ours / "gdl-tui", "--version", env=env) == f"gdl-tui 0.1.0 ({commit(built)})\n"
    assert "qwen3-8b" in call(ours / "gdl-tui", "models", env=env)
    words = (
        "--backend",
        "sandbox",
        "deploy",
        "tinyllama",
        "--destroy",
        "--scenario",
        "calm",
        "--json",
    )
    told = call(ours / "gdl-tui", *words, env=env | {"GDL_SANDBOX__SPEED": "20"})
    assert json.loads(told.splitlines()[-1])["outcome"] == "released"


def test_what_it_needs_can_be_had_for_every_python(built: Path, tmp_path: Path) -> None:
    """Where there is no interpreter: wheels of all that is needed; nothing is to be compiled."""
    for version in VERSIONS:
        words = ("--dry-run", "--only-binary=:all:", "--python-version", version, "--target")
        python = built / "tools/bin/python"
        call(python, "-m", "pip", "install", "-q", *words, tmp_path, of(built, "*.whl"))


def test_the_extra_for_a_browser_is_what_its_message_says(built: Path, tmp_path: Path) -> None:
    call(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    call(python, "-m", "pip", "install", "-q", f"{of(built, '*.whl')}[serve]")
    call(python, "-c", "import textual_serve.server, aiohttp.web")
