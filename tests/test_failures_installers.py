"""Real pip and uv that cannot install, and what their output is said to mean.

The package index is a server on loopback, as no public one can be asked to break.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from local_ports import free_port
from made_failures import Told, on_read_only, on_small_disk, run_out, without_network
from package_index import Index, serving, source, wheel
from private_ca import PrivateCa

pytestmark = [pytest.mark.real, pytest.mark.long]
_BOTH = pytest.mark.parametrize("tool", ["pip", "uv"])
_NEED_TORCH = "import torch\nfrom setuptools import setup\n\nsetup(name='fast-attention')\n"
_IN_C = (
    "from setuptools import Extension, setup\n\n"
    "setup(name='fast-attention', version='1.0', ext_modules=[Extension('fast', ['fast.c'])])\n"
)


@dataclass(frozen=True)
class Installer:
    """folder: for its output, its cache and the environment `venv` that it installs into."""

    tools: Path
    folder: Path

    @property
    def venv(self) -> Path:
        return self.folder / "venv"

    def install(
        self,
        tool: str,
        *words: str,
        index: str = "",
        inside: Sequence[str | Path] = (),
        **env: str,
    ) -> Told:
        """`tool install WORDS` into a new environment."""
        _environment(self.venv, self.tools)
        python = str(self.venv / "bin" / "python")
        begin: list[str | Path] = [self.tools / "pip", "--python", python, "install"]
        if tool == "uv":
            begin = [self.tools / "uv", "pip", "install", "--python", python]
        named = ["--index-url", index] if index else []
        return run_out([*inside, *begin, *named, *words], self.folder, self.environment(**env))

    def environment(self, **more: str) -> dict[str, str]:
        """No index, cache or proxy of this computer."""
        own = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_"))}
        return {
            **own,
            "HOME": str(self.folder),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_CACHE_DIR": str(self.folder / "cache"),
            "PIP_RETRIES": "1",
            "PIP_TIMEOUT": "3",
            "UV_CACHE_DIR": str(self.folder / "cache"),
            "UV_HTTP_TIMEOUT": "3",
            "UV_HTTP_RETRIES": "1",
            "UV_NO_CONFIG": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            **more,
        }


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the newest pip and uv."""
    folder = tmp_path_factory.mktemp("tools")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    new = ("pip", "uv", "setuptools")
    run: list[str | Path] = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "-q",
        "--upgrade",
        *new,
    ]
    subprocess.run(run, check=True, timeout=300)
    return folder / "bin"


@pytest.fixture
def installer(tools: Path, tmp_path: Path) -> Installer:
    return Installer(tools, tmp_path)


def _environment(folder: Path, tools: Path) -> None:
    """A new one, which has the setuptools of the tools'."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (own,) = folder.glob("lib/python*/site-packages")
    (theirs,) = tools.parent.glob("lib/python*/site-packages")
    for part in (*theirs.glob("setuptools*"), theirs / "_distutils_hack"):
        (own / part.name).symlink_to(part)


def offering(*files: tuple[str, bytes]) -> Index:
    return Index(dict(files))


@_BOTH
def test_packages_that_exclude_each_other(installer: Installer, tool: str) -> None:
    index = offering(
        wheel("engine", needs=("torch==2.9",)),
        wheel("kernels", needs=("torch==2.8",)),
        wheel("torch", "2.8"),
        wheel("torch", "2.9"),
    )
    with serving(index) as url:
        told = installer.install(tool, "engine", "kernels", index=url)
    told.says("resolution-impossible", cause="cannot be installed together")


@_BOTH
def test_a_package_that_is_not_what_the_index_says(installer: Installer, tool: str) -> None:
    index = offering(wheel("engine"))
    index.lies = True
    with serving(index) as url:
        installer.install(tool, "engine", index=url).says(
            "hash-mismatch", cause="not what the index"
        )


@_BOTH
def test_a_wheel_for_another_platform_alone(installer: Installer, tool: str) -> None:
    with serving(offering(wheel("engine", tag="cp311-cp311-macosx_11_0_arm64"))) as url:
        told = installer.install(tool, "engine", index=url)
    told.says("wrong-platform", "wheel-elsewhere", "index-lists-nothing", cause="system|processor")


@_BOTH
def test_a_release_for_another_python(installer: Installer, tool: str) -> None:
    index = offering(wheel("engine"))
    index.requires = dict.fromkeys(index.files, ">=3.99")
    with serving(index) as url:
        told = installer.install(tool, "engine", index=url)
    told.says("wrong-python", cause="Python", remedy="Python")


@_BOTH
def test_a_package_that_needs_a_newer_python(installer: Installer, tool: str) -> None:
    """One that another package asks for."""
    index = offering(wheel("engine", needs=("kernels",)), wheel("kernels"))
    index.requires = {name: ">=3.99" for name in index.files if name.startswith("kernels")}
    with serving(index) as url:
        told = installer.install(tool, "engine", index=url)
    told.says("wrong-python", cause="Python", remedy="Python")


@_BOTH
def test_a_package_that_nobody_has(installer: Installer, tool: str) -> None:
    with serving(offering()) as url:
        told = installer.install(tool, "engine==0.32.7", index=url)
    told.says("no-such-release", "package-gone", "index-lists-nothing", cause="engine")


@_BOTH
def test_an_index_that_does_not_run(installer: Installer, tool: str) -> None:
    told = installer.install(tool, "engine", index=f"http://127.0.0.1:{free_port()}/simple")
    told.says("unreachable-network", "pip-index-unreachable", cause="reach the package index")


@_BOTH
def test_an_index_whose_name_is_not_resolved(installer: Installer, tool: str) -> None:
    url = "https://packages.example.org/simple"
    told = installer.install(tool, "engine", index=url, inside=without_network())
    told.says("dns", cause=r"cannot be resolved \(packages\.example\.org\)")


@_BOTH
def test_a_proxy_that_does_not_run(installer: Installer, tool: str) -> None:
    proxy = f"http://127.0.0.1:{free_port()}"
    url = "https://packages.example.org/simple"
    told = installer.install(tool, "engine", index=url, HTTPS_PROXY=proxy, https_proxy=proxy)
    told.says(
        "proxy", "pip-index-unreachable", cause=f"proxy|port {proxy[-5:]}", remedy="https_proxy"
    )


@_BOTH
@pytest.mark.parametrize("when", ["expired", "not yet valid"])
def test_a_clock_that_is_wrong(installer: Installer, tool: str, when: str) -> None:
    days = (-9, -2) if when == "expired" else (2, 9)
    ca = PrivateCa.made(installer.folder / "ca")
    begins, ends = (timedelta(days=each) for each in days)
    with serving(offering(wheel("engine")), ca.server(begins=begins, ends=ends)) as url:
        trust = {"PIP_CERT": str(ca.file), "SSL_CERT_FILE": str(ca.file)}
        told = installer.install(tool, "engine", index=url, **trust)
    told.says("certificate-time", cause="clock", remedy="clock|time")


@_BOTH
def test_a_certificate_that_nobody_trusts(installer: Installer, tool: str) -> None:
    ca = PrivateCa.made(installer.folder / "ca")
    with serving(offering(wheel("engine")), ca.server()) as url:
        told = installer.install(tool, "engine", index=url)
    told.says("certificate", cause="not trusted")


@_BOTH
def test_a_disk_that_is_full(installer: Installer, tool: str) -> None:
    """Of the cache and of what is unpacked."""
    disk = installer.folder / "disk"
    inside = on_small_disk(disk, "2m")
    with serving(offering(wheel("engine", size=8 << 20))) as url:
        places = {"TMPDIR": str(disk), "PIP_CACHE_DIR": str(disk), "UV_CACHE_DIR": str(disk)}
        told = installer.install(tool, "engine", index=url, inside=inside, **places)
    told.says("no-space", cause="disk is full")


@_BOTH
def test_an_environment_that_cannot_be_written(installer: Installer, tool: str) -> None:
    installer.venv.mkdir()
    inside = on_read_only(installer.venv)
    with serving(offering(wheel("engine"))) as url:
        told = installer.install(tool, "engine", index=url, inside=inside)
    told.says("install-permission", cause=str(installer.venv), remedy="virtual environment")


def test_a_cache_of_uv_that_cannot_be_written(installer: Installer) -> None:
    cache = installer.folder / "cache"
    cache.mkdir()
    with serving(offering(wheel("engine"))) as url:
        told = installer.install("uv", "engine", index=url, inside=on_read_only(cache))
    told.says("uv-cache-unwritable", cause=str(cache), remedy="UV_CACHE_DIR")


@_BOTH
def test_a_download_that_is_cut_off(installer: Installer, tool: str) -> None:
    index = offering(wheel("engine", size=1 << 20))
    index.cut = True
    with serving(index) as url:
        told = installer.install(tool, "engine", index=url)
    told.says("pip-cut-off", "archive-broken", "download-cut-off", cause="cut off|broke off")


@_BOTH
def test_a_wheel_that_is_no_archive(installer: Installer, tool: str) -> None:
    name, data = wheel("engine", size=1 << 20)
    with serving(offering((name, data[: len(data) // 2]))) as url:
        told = installer.install(tool, "engine", index=url)
    told.says("archive-broken", cause="cut off or corrupt")


@_BOTH
@pytest.mark.parametrize("status", [401, 403])
def test_an_index_that_wants_credentials(installer: Installer, tool: str, status: int) -> None:
    index = offering(wheel("engine"))
    index.status = status
    with serving(index) as url:
        told = installer.install(tool, "engine", index=url)
    # pip does not say what refused it, so that neither can the answer.
    silent = (tool, status) == ("pip", 403)
    told.says("index-lists-nothing" if silent else "index-credentials", cause="refuse")


@_BOTH
@pytest.mark.parametrize("status", [503, 429])
def test_an_index_with_a_fault_of_its_own(installer: Installer, tool: str, status: int) -> None:
    index = offering(wheel("engine"))
    index.status = status
    with serving(index) as url:
        told = installer.install(tool, "engine", index=url)
    silent = tool == "pip"
    told.says("index-lists-nothing" if silent else "index-server-error", cause=str(status))


@_BOTH
def test_a_build_that_needs_what_is_not_there(installer: Installer, tool: str) -> None:
    index = offering(source("fast-attention", _NEED_TORCH))
    with serving(index) as url:
        told = installer.install(tool, "fast-attention", "--no-build-isolation", index=url)
    told.says("build-isolation", cause="needs torch")


@_BOTH
def test_a_build_without_a_compiler(installer: Installer, tool: str) -> None:
    programs = installer.folder / "programs"
    programs.mkdir()
    for name in ("sh", "uname", "env"):
        (programs / name).symlink_to(str(shutil.which(name)))
    index = offering(source("fast-attention", _IN_C, fast_c="#include <Python.h>\n"))
    with serving(index) as url:
        told = installer.install(
            tool, "fast-attention", "--no-build-isolation", index=url, PATH=str(programs)
        )
    told.says("python-headers", cause="compiler", remedy="gcc")


@_BOTH
def test_a_build_that_does_not_compile(installer: Installer, tool: str) -> None:
    index = offering(source("fast-attention", _IN_C, fast_c="#include <no/such/header.h>\n"))
    with serving(index) as url:
        told = installer.install(tool, "fast-attention", "--no-build-isolation", index=url)
    told.says("header-missing", cause="no/such/header.h", remedy="no/such/header.h")


@_BOTH
def test_a_package_whose_own_version_is_another(installer: Installer, tool: str) -> None:
    """Its file says 1.0, and its metadata another one."""
    setup = "from setuptools import setup\n\nsetup(name='fast-attention', version='2.0')\n"
    with serving(offering(source("fast-attention", setup))) as url:
        told = installer.install(tool, "fast-attention", "--no-build-isolation", index=url)
    told.says("inconsistent-metadata", cause="fast-attention.* another", remedy="version")


def test_a_python_that_the_system_manages(installer: Installer) -> None:
    told = run_out(
        [installer.tools / "pip", "--python", _managed(installer.folder), "install", "engine"],
        installer.folder,
        installer.environment(),
    )
    told.says("managed-environment", cause="system's Python", remedy="virtual environment|venv")


def _managed(folder: Path) -> Path:
    """A Python of this version that is marked as its distribution's."""
    for path in ("/usr/bin/python3", "/usr/local/bin/python3"):
        if list(Path("/usr/lib").glob("python3*/EXTERNALLY-MANAGED")) and Path(path).exists():
            return Path(path)
    pytest.skip("no Python here is its distribution's")


def test_a_python_that_uv_does_not_find(installer: Installer) -> None:
    told = run_out(
        [installer.tools / "uv", "venv", "--python", "3.99", installer.venv],
        installer.folder,
        installer.environment(),
    )
    told.says("python-not-found", cause="3.99", remedy="uv python install")
