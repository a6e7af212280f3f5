"""The compatibility table, what it says of every driver and GPU, and `doctor --plan`.

tests/data/choices holds one line for each pair of GPU and vLLM version, a file for each driver.
After a wanted change: GDL_TEST_UPDATE_PLANS=1 pytest tests/test_engine_compat.py, then read the
diff.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import pytest

from engine_support import L4, V100, gpu_host
from gdl.cli.app import run
from gdl.domain.errors import DeployError, UsageError
from gdl.domain.host import Gpu
from gdl.engines.python import nvidia
from gdl.engines.python.versions import PREFERRED_PYTHONS, parse, python_fits
from gdl.engines.vllm import compat, compat_table
from gdl.engines.vllm.preview import line, preview
from gdl.settings import Install, Settings

CHOICES = Path(__file__).parent / "data" / "choices"
DRIVERS = (
    *("440.118.02", "470.57.02", "510.47.03", "525.60.13", "525.53", "535.183.01", "550.54.14"),
    *("560.35.03", "570.124.06", "575.51.03", "580.65.06", "590.44", "595.45.04", "none"),
)
GPUS = ("6.1", "7.0", "7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0")
VERSIONS = (
    *("", "0.4.3", "0.6.3", "0.7.3", "0.8.5", "0.9.2", "0.10.2", "0.11.0", "0.11.2", "0.14.0"),
    *("0.19.1", "0.20.0", "0.24.0", "0.30.0", "0.32.0", "0.33.0", "0.34.0"),
)


def settings(version: str = "", installer: Literal["auto", "uv", "pip"] = "auto") -> Settings:
    return Settings(install=Install(version=version, installer=installer))


def page(driver: str) -> str:
    """All that the table says of one driver. uv's ways alone: pip's are the same."""
    lines = [f"# driver {driver}: GPU, vLLM asked for, what would be installed\n"]
    for gpu in GPUS:
        lines.append("\n")
        for version in VERSIONS:
            told = line(preview(driver, gpu, settings(version, installer="uv")))
            told = re.sub(r"vllm-[\d.]+(\+cu\d+)-cp38-abi3-", r"\1 ", told)
            told = re.sub(r"_x86_64\.whl with PyTorch for (cu\d+)", r" [\1]", told)
            told = told.replace(" with PyTorch for ", " torch ")
            lines.append(f"{gpu:<5}{version or 'newest':<8}{told}\n")
    return "".join(lines)


# -- golden files --------------------------------------------------------------------------------


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_every_gpu_and_version_gets(driver: str) -> None:
    path = CHOICES / f"driver-{driver}.txt"
    made = page(driver)
    if os.environ.get("GDL_TEST_UPDATE_PLANS"):
        CHOICES.mkdir(exist_ok=True)
        path.write_text(made)
    assert made == path.read_text()


def test_no_file_is_left_over() -> None:
    assert {p.stem for p in CHOICES.glob("*.txt")} == {f"driver-{d}" for d in DRIVERS}


# -- what must hold for all of them --------------------------------------------------------------


def major(cuda: str) -> int:
    return parse(cuda)[0]


@pytest.mark.parametrize("driver", DRIVERS[:-1])
@pytest.mark.parametrize("gpu", GPUS)
def test_wheel_torch_and_driver_agree_in_every_way(driver: str, gpu: str) -> None:
    """No way mixes two CUDA majors, asks more than the driver can do, or leaves the GPU out."""
    host = gpu_host(Gpu("x", 24576, gpu), driver=driver, docker="docker", docker_gpus=True)
    for version in VERSIONS:
        try:
            choice = compat.for_gpu(host, Install(version=version))
        except DeployError as refusal:
            assert refusal.message and refusal.hint and "\n" not in refusal.message
            continue
        row = compat_table.row_of(choice.version)
        assert choice.ways, "something to do"
        for way in choice.ways:
            wheel = re.search(r"\+cu(\d+)\d", way.requirement)
            built_for = int(wheel[1]) if wheel else major(row.cuda)
            asked = int(way.backend[2:-1]) if way.backend else built_for
            assert asked == built_for, way
            floor = next(r["floor"] for r in nvidia.raw()["driver"] if r["cuda"] == str(asked))
            assert parse(driver) >= parse(floor), way
            if way.backend and not wheel:
                assert way.backend in row.torch_variants, way
        assert float(gpu) >= row.min_capability
        assert choice.half == (float(gpu) < 8.0)


@pytest.mark.parametrize(
    ("driver", "version", "first"),
    [
        # What uv's own choice of torch would break, both ways, and what is done instead.
        ("580.65.06", "0.11.0", ("vllm==0.11.0", "cu128")),
        ("580.65.06", "0.11.2", ("vllm==0.11.2", "cu128")),
        ("580.65.06", "0.12.0", ("vllm==0.12.0", "cu129")),
        ("580.65.06", "0.17.0", ("vllm==0.17.0", "cu129")),
        ("595.45.04", "0.19.0", ("vllm==0.19.0", "cu129")),
        ("579.99", "0.20.0", ("+cu129", "cu129")),
        ("525.60.13", "0.24.0", ("+cu129", "cu129")),
        ("570.124.06", "0.30.0", ("+cu129", "cu129")),
    ],
)
def test_what_breaks_both_ways(driver: str, version: str, first: tuple[str, str]) -> None:
    way = compat.for_gpu(gpu_host(L4, driver=driver), Install(version=version)).ways[0]
    assert (first[0] in way.requirement, way.backend) == (True, first[1])


@pytest.mark.parametrize("version", ["0.33.0", "0.34.0", "0.31.0", "0.32.0"])
def test_and_where_only_an_older_release_helps(version: str) -> None:
    host = gpu_host(L4, driver="570.124.06")
    with pytest.raises(DeployError, match=r"driver 570\.124\.06 is too old for vLLM") as caught:
        compat.for_gpu(host, Install(version=version))
    assert "leave install.version empty" in caught.value.hint
    assert compat.for_gpu(host, Install()).version == "0.19.1"


# -- the table -----------------------------------------------------------------------------------


def test_the_table_agrees_with_itself() -> None:
    rows = compat_table.releases()
    versions = [parse(r.version) for r in rows]
    assert versions == sorted(set(versions)), "oldest first, none twice"
    for earlier, later in itertools.pairwise(rows):
        assert parse(earlier.torch) <= parse(later.torch)
        assert parse(earlier.cuda) <= parse(later.cuda)
        assert earlier.min_capability <= later.min_capability
        assert parse(earlier.python[0]) <= parse(later.python[0])
        assert parse(earlier.python[1]) <= parse(later.python[1])
    for row in rows:
        assert parse(row.python[0]) < parse(row.python[1])
        for variant in (row.backend, row.blackwell):
            assert not variant or variant in row.torch_variants, row
            assert not variant or int(variant[2:-1]) == major(row.cuda), row
        assert any(int(v[2:-1]) == major(row.cuda) for v in row.torch_variants), row
        assert parse(nvidia.driver_floor(row.cuda))
        # What runs on the oldest GPU that a release takes.
        assert nvidia.knows(row.cuda, row.min_capability), row
        assert any(python in _between(row.python) for python in PREFERRED_PYTHONS)
        assert parse(row.glibc)[0] == 2
        needed_by_torch = [c for c in row.constraints if c.startswith("numpy")]
        assert needed_by_torch == (["numpy<2"] if parse(row.version) <= (0, 7, 3) else [])


def _between(bounds: tuple[str, str]) -> list[str]:
    return [v for v in PREFERRED_PYTHONS if python_fits(v, bounds)]


def test_the_other_wheels_have_a_torch_and_a_driver() -> None:
    for wheel in compat_table.wheels():
        assert parse(wheel.first) <= parse(wheel.last) and wheel.tags
        assert parse(nvidia.driver_floor(wheel.cuda))
        inside = [r for r in compat_table.releases() if wheel.has(r.version)]
        assert inside or wheel.first != wheel.last
        for row in inside:
            assert wheel.variant in row.torch_variants, (wheel.variant, row.version)
            assert wheel.cuda != row.cuda
    floors = [(int(r["cuda"]), parse(r["floor"])) for r in nvidia.raw()["driver"]]
    assert floors == sorted(floors, reverse=True)


def test_no_version_breaks_the_choice() -> None:
    for version in ("0.0.1", "0.4.0.post1", "0.19.2rc1", "1.0", "99.0.0.dev3"):
        assert compat.for_gpu(gpu_host(), Install(version=version)).version == version


# -- libc and processors -------------------------------------------------------------------------


def test_an_old_libc_gets_an_older_release_or_a_container() -> None:
    assert compat.for_gpu(gpu_host(libc="glibc 2.31"), Install()).version == "0.33.0"
    assert compat.for_gpu(gpu_host(libc="glibc 2.27"), Install()).version == "0.7.3"
    with pytest.raises(DeployError, match=r"glibc 2\.31 is too old for vLLM 0\.20\.0 \(2\.35"):
        compat.for_gpu(gpu_host(libc="glibc 2.31"), Install(version="0.20.0"))
    with pytest.raises(DeployError, match="musl"):
        compat.for_gpu(gpu_host(libc="musl"), Install())
    assert compat.for_image(gpu_host(libc="musl"), Install()).image == "vllm/vllm-openai:v0.33.0"


def test_foreign_processors_are_refused() -> None:
    with pytest.raises(DeployError, match="no vLLM for riscv64"):
        compat.for_gpu(gpu_host(arch="riscv64"), Install())


@pytest.mark.parametrize(
    ("host", "version", "words"),
    [
        (gpu_host(V100), "0.10.2", "needs 7.5"),
        (gpu_host(driver="470.57.02"), "", "too old"),
        (gpu_host(driver="570.1"), "0.24.0", "CUDA 13.0 needs 580"),
        (gpu_host(), "0.3.0", "no container image"),
    ],
)
def test_images_have_limits_of_their_own(host: object, version: str, words: str) -> None:
    with pytest.raises(DeployError, match=words):
        compat.for_image(host, Install(version=version))  # type: ignore[arg-type]


# -- doctor --plan -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def gdl_tui(*arguments: str) -> Done:
    """The command line, on a backend that would fail whoever opened it."""

    def opener(*_: object, **__: object) -> NoReturn:
        raise AssertionError("nothing is to be opened for a plan")

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(arguments, opener=opener)
    return Done(code, out.getvalue(), err.getvalue())


def test_the_plan_is_shown_without_any_backend() -> None:
    done = gdl_tui("doctor", "--plan", "570.124", "--gpu", "8.6")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split() == ["driver", "570.124"]
    assert "0.19.1 for CUDA 12.9" in done.out and "transformers<5" in done.out
    assert [line.split(None, 2)[-1] for line in lines if "1. " in line]
    assert "docker: vllm/vllm-openai:v0.19.1" in lines[-1]


def test_the_plan_as_json_and_refusals() -> None:
    done = gdl_tui("doctor", "--plan", "580", "--vllm", "0.14.0", "--gpu", "7.0", "--json")
    told = json.loads(done.out)
    assert done.code == 0 and told["vllm"] == "0.14.0" and told["dtype"] == "half"
    assert told["ways"][0] == "uv: vllm==0.14.0 with PyTorch for cu129" and not told["refusal"]
    done = gdl_tui("doctor", "--plan", "470", "--vllm", "0.33.0", "--json")
    told = json.loads(done.out)
    assert done.code == 5 and "driver 470 is too old" in told["refusal"] and told["hint"]
    assert "error: driver 470 is too old" in done.err and "hint: " in done.err
    done = gdl_tui("doctor", "--plan", "none")
    assert done.code == 5 and "no usable GPU" in done.err
    done = gdl_tui("doctor", "--plan", "580", "--runtime", "container")
    assert done.code == 0 and "1. docker: vllm/vllm-openai:v0.33.0" in done.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--plan", "latest"),
        ("--plan", "580; id"),
        ("--plan", "580", "--gpu", "RTX 3090"),
        ("--plan", "580", "--vllm", "newest"),
        ("--vllm", "0.33.0"),
        ("--gpu", "8.6"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert gdl_tui("doctor", *arguments).code == 2


def test_what_is_neither_driver_nor_capability() -> None:
    for driver, gpu in (("5", ""), ("580.", ""), ("580", "8"), ("580", "x" * 99)):
        with pytest.raises(UsageError):
            preview(driver, gpu, Settings())


@pytest.mark.parametrize(
    ("flag", "runtime"), [((), "venv"), (("--runtime", "container"), "container")]
)
def test_the_runtime_of_a_deployment(
    flag: tuple[str, ...], runtime: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The flag wins over the environment, and leaves the other settings of its group alone."""
    seen: list[Settings] = []

    def opener(settings: Settings, **_: object) -> NoReturn:
        seen.append(settings)
        raise UsageError("enough", "")

    monkeypatch.setenv("GDL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("GDL_INSTALL__RUNTIME", "venv")
    monkeypatch.setenv("GDL_INSTALL__INSTALLER", "pip")
    with contextlib.redirect_stderr(io.StringIO()):
        assert run(["deploy", "tinyllama", "--backend", "local", *flag], opener=opener) == 2
    assert (seen[0].install.runtime, seen[0].install.installer) == (runtime, "pip")
