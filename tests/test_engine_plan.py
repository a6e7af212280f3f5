"""Plans as golden files, and the decisions behind them.

After a wanted change: GDL_TEST_UPDATE_PLANS=1 pytest tests/test_engine_plan.py, then read the diff.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from engine_support import (
    B200,
    KEY,
    L4,
    P100,
    T4,
    V100,
    as_text,
    cpu_host,
    gpu_host,
    make_plan,
)
from gdl.domain.errors import DeployError, GdlError, UsageError
from gdl.domain.host import Gpu, HostFacts
from gdl.domain.offers import OfferQuery
from gdl.engines.base import Plan
from gdl.engines.python.versions import parse
from gdl.engines.python.ways import Way
from gdl.engines.vllm import compat, compat_table
from gdl.settings import Engine, Install

PLANS = Path(__file__).parent / "data" / "plans"
NASTY = '/data/it\'s $(touch /tmp/pwned) `id` "x"; rm -rf ~'


def docker_host(*gpus: Gpu, **changes: Any) -> HostFacts:
    return gpu_host(*gpus, **{"docker": "docker", "docker_gpus": True, **changes})


@cache
def golden() -> dict[str, Plan]:
    return {
        "cpu-packaged": make_plan("smollm2-135m", cpu_host(), cpu_allowed=True),
        "cpu-path": make_plan(NASTY, cpu_host(), cpu_allowed=True),
        "gpu-newest": make_plan("llama-3.1-8b", gpu_host(), hf_token="hf_secret"),
        "gpu-older-driver": make_plan("qwen2.5-7b", gpu_host(T4, T4, T4, driver="535.183.01")),
        "gpu-cuda-118": make_plan("mistral-7b", gpu_host(V100, driver="470.57.02")),
        "gpu-given-cu129-wheel": make_plan(
            "org/some-3b", gpu_host(driver="550.54"), install=Install(version="0.24.0")
        ),
        "gpu-given-older": make_plan(
            "phi-2", gpu_host(driver="580.95.05"), install=Install(version="0.14.0")
        ),
        "container-hub": make_plan(
            "llama-3.1-8b",
            docker_host(L4, L4),
            install=Install(runtime="container"),
            engine=Engine(env={"GREETING": "it's $HOME", "MY_TOKEN": "s3cret"}),
            hf_token="hf_secret",
        ),
        "container-path": make_plan(
            "~/it's $(touch pwned) `id`",
            docker_host(docker="sudo -n docker"),
            install=Install(runtime="container"),
        ),
        "pip-and-places": make_plan(
            "~/my models/x",
            gpu_host(pythons=("3.13.1", "3.12.3")),
            install=Install(
                installer="pip",
                python="3.12",
                find_links=("/srv/wheels",),
                extra_index_url=("https://mirror.example/simple",),
            ),
            engine=Engine(
                env={"VLLM_LOGGING_LEVEL": "DE BUG'", "AWS_SECRET_ACCESS_KEY": "s3cret"},
                args=("--max-model-len", "4096"),
            ),
            engine_args=("--seed=1", "--chat-template", "it's {{ x }}"),
        ),
    }


@pytest.mark.parametrize("name", list(golden()))
def test_golden(name: str) -> None:
    path = PLANS / f"{name}.txt"
    made = as_text(golden()[name])
    if os.environ.get("GDL_TEST_UPDATE_PLANS"):
        path.write_text(made)
    assert made == path.read_text()


def test_there_is_no_golden_file_without_a_plan() -> None:
    assert {path.stem for path in PLANS.glob("*.txt")} == set(golden())


@pytest.mark.parametrize("plan", golden().values(), ids=list(golden()))
def test_every_script_is_posix_shell(plan: Plan) -> None:
    scripts = [s.script for s in plan.steps] + [s.check for s in plan.steps if s.check]
    scripts += [plan.server.script, *(script for _, script in plan.server.repairs)]
    for script in scripts:
        done = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr + script


@pytest.mark.parametrize("plan", golden().values(), ids=list(golden()))
def test_no_secret_stands_in_a_script(plan: Plan) -> None:
    text = as_text(plan)
    for secret in (KEY.reveal(), "hf_secret", "s3cret"):
        assert secret not in text
    assert plan.server.secret_env["VLLM_API_KEY"] == KEY


# -- which release -------------------------------------------------------------------------------


def chosen(host: HostFacts, **install: Any) -> compat.Choice:
    return compat.for_gpu(host, Install(**install))


@pytest.mark.parametrize(
    ("host", "version", "first_requirement", "backend"),
    [
        (gpu_host(driver="580.65.06"), "0.33.0", "vllm==0.33.0", ""),
        (gpu_host(driver="595.45"), "0.33.0", "vllm==0.33.0", ""),
        (gpu_host(driver="579.99"), "0.19.1", "vllm==0.19.1", ""),
        (gpu_host(driver="525.60.13"), "0.19.1", "vllm==0.19.1", ""),
        (gpu_host(driver="", cuda="12.4"), "0.19.1", "vllm==0.19.1", ""),
        (gpu_host(driver="", cuda="13.0"), "0.33.0", "vllm==0.33.0", ""),
        # No bare default torch where the driver would take another CUDA's.
        (gpu_host(V100, driver="580.65"), "0.19.1", "vllm==0.19.1", "cu129"),
        (gpu_host(L4, V100, driver="580.65"), "0.19.1", "vllm==0.19.1", "cu129"),
        (gpu_host(B200, driver="570.1"), "0.19.1", "vllm==0.19.1", ""),
        (gpu_host(Gpu("odd", 8000, ""), driver="580"), "0.33.0", "vllm==0.33.0", ""),
    ],
)
def test_the_newest_release_that_fits(
    host: HostFacts, version: str, first_requirement: str, backend: str
) -> None:
    choice = chosen(host)
    assert choice.version == version
    assert choice.ways[0] == Way(first_requirement, backend)


@pytest.mark.parametrize(
    ("version", "driver", "requirement", "backend"),
    [
        ("0.11.2", "580.65", "vllm==0.11.2", "cu128"),
        ("0.19.1", "580.65", "vllm==0.19.1", "cu129"),
        ("0.19.1", "535.1", "vllm==0.19.1", ""),
        ("0.10.2", "580.65", "vllm==0.10.2", ""),
        ("0.28.0", "580.65", "vllm==0.28.0", ""),
        ("0.34.1", "580.65", "vllm==0.34.1", ""),
    ],
)
def test_a_given_release_gets_the_torch_of_its_cuda(
    version: str, driver: str, requirement: str, backend: str
) -> None:
    way = chosen(gpu_host(driver=driver), version=version).ways[0]
    assert (way.requirement, way.backend) == (requirement, backend)


def test_a_given_release_for_a_newer_cuda_comes_from_its_other_wheel() -> None:
    ways = chosen(gpu_host(driver="550.54"), version="0.30.0").ways
    assert all("+cu129" in way.requirement and way.backend == "cu129" for way in ways)
    assert "manylinux_2_31_x86_64.whl" in ways[0].requirement
    arm = chosen(gpu_host(driver="550.54", arch="aarch64"), version="0.30.0").ways
    assert "_aarch64.whl" in arm[0].requirement


def test_an_old_driver_gets_cuda_118() -> None:
    choice = chosen(gpu_host(V100, driver="450.80.02"))
    assert (choice.version, choice.cuda) == ("0.9.2", "11.8")
    assert choice.half


@pytest.mark.parametrize(
    ("host", "install", "words"),
    [
        (gpu_host(driver="440.33"), {}, "too old"),
        (gpu_host(P100), {}, "compute capability 6.0"),
        (gpu_host(driver="550.54"), {"version": "0.33.0"}, "needs 580"),
        (gpu_host(T4), {"installer": "pip", "version": "0.33.0"}, "Python 3.11 to 3.14"),
        (gpu_host(V100), {"version": "0.24.0"}, "needs 7.5"),
        (gpu_host(B200), {"version": "0.8.5"}, "newer CUDA"),
        (gpu_host(), {"python": "3.9", "version": "0.20.0"}, "Python 3.10 to 3.14"),
    ],
)
def test_what_cannot_run_is_refused_with_a_hint(
    host: HostFacts, install: dict[str, str], words: str
) -> None:
    with pytest.raises(DeployError, match=words) as caught:
        chosen(host, **install)
    assert caught.value.hint


def test_pip_takes_a_release_for_the_python_there_is() -> None:
    assert chosen(gpu_host(pythons=("3.10.12",)), installer="pip").version == "0.30.0"


def test_constraints_only_where_a_release_needs_them() -> None:
    for release in compat_table.releases():
        old = parse(release.version) <= (0, 7, 3)
        assert ("numpy<2" in release.constraints) == old
        is_before_5 = parse(release.version) < (0, 20)
        assert any("transformers" in c for c in release.constraints) == is_before_5


# -- what cannot be ------------------------------------------------------------------------------


def test_no_gpu_speaks_in_nvidia_smis_words() -> None:
    host = cpu_host(gpu_error="NVIDIA-SMI has failed because\nit couldn't communicate")
    with pytest.raises(DeployError, match="has failed because it couldn't") as caught:
        make_plan("tinyllama", host)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("model", "host", "words"),
    [
        ("mistral-7b", gpu_host(disk_free_gib=12.0), "13 of 26 GB disk free"),
        ("smollm2-135m", cpu_host(disk_free_gib=1.0), "1 of 5 GB disk free"),
        ("mistral-7b", cpu_host(ram_gib=8.0), "not enough memory"),
        ("qwen2.5-32b", gpu_host(L4), "not enough GPU memory"),
        ("tinyllama", cpu_host(os="Darwin"), "Linux"),
    ],
)
def test_too_small_or_foreign_machines_are_refused(model: str, host: HostFacts, words: str) -> None:
    with pytest.raises(DeployError, match=words):
        make_plan(model, host, cpu_allowed=True)


@pytest.mark.parametrize(
    ("install", "words"),
    [
        ({"version": "latest; id"}, "version"),
        ({"python": "python3; id"}, "install.python"),
        ({"find_links": ("/srv/my wheels",)}, "not a place"),
        ({"extra_index_url": ("--index-url=x",)}, "not a place"),
    ],
)
def test_settings_that_cannot_be(install: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_plan("tinyllama", gpu_host(), install=Install(**install))


# -- in a container ------------------------------------------------------------------------------


def test_the_image_is_the_last_way_where_docker_works_and_there_is_room() -> None:
    with_docker = make_plan("mistral-7b", docker_host())
    assert with_docker.otherwise is not None and with_docker.otherwise.otherwise is None
    assert with_docker.otherwise.summary == (
        "vllm 0.33.0 (CUDA 13.0) in container vllm/vllm-openai:v0.33.0; tools (mistral)"
    )
    for host, install in (
        (gpu_host(), Install()),
        (docker_host(docker_gpus=False), Install()),
        (docker_host(disk_free_gib=30.0), Install()),
        (docker_host(V100), Install()),
        (docker_host(), Install(runtime="venv")),
    ):
        assert make_plan("mistral-7b", host, install=install).otherwise is None
    here = docker_host(disk_free_gib=30.0, images=("vllm/vllm-openai:v0.33.0",))
    assert make_plan("mistral-7b", here).otherwise is not None


def test_where_no_wheel_runs_the_image_does() -> None:
    plan = make_plan("mistral-7b", docker_host(libc="musl"))
    assert "in container" in plan.summary and plan.otherwise is None
    with pytest.raises(DeployError, match="musl"):
        make_plan("mistral-7b", docker_host(libc="musl"), install=Install(runtime="venv"))


@pytest.mark.parametrize(
    ("host", "model", "words"),
    [
        (cpu_host(docker="docker"), "tinyllama", "needs a GPU"),
        (gpu_host(), "tinyllama", "docker does not work"),
        (docker_host(docker_gpus=False), "tinyllama", "toolkit is missing"),
        (docker_host(), "/data/a,b", "comma"),
    ],
)
def test_what_no_container_can_do(host: HostFacts, model: str, words: str) -> None:
    with pytest.raises(GdlError, match=words) as caught:
        make_plan(model, host, install=Install(runtime="container"), cpu_allowed=True)
    assert caught.value.hint


def test_a_path_that_no_container_can_mount_still_has_the_other_ways() -> None:
    plan = make_plan("/data/a,b", docker_host())
    assert "by uv" in plan.summary and plan.otherwise is None


def test_only_remedies_that_the_next_start_reads_are_for_containers() -> None:
    """Nothing is installed into an image; what is remembered comes last, and so wins."""
    server = golden()["container-hub"].server
    assert server.repairs == () and server.remembered
    assert any("$remedy" in line for line in server.script.splitlines()[-12:])
    assert f"{server.remembered}.args" in server.script


# -- the server ----------------------------------------------------------------------------------


def arguments(plan: Plan) -> list[str]:
    line = plan.server.script.rstrip().splitlines()[-1]
    return shlex.split(line)


def after(words: list[str], flag: str) -> str:
    """The word after a flag."""
    return words[words.index(flag) + 1]


def test_users_arguments_come_last_and_displace_our_defaults() -> None:
    plan = make_plan(
        "tinyllama",
        cpu_host(),
        cpu_allowed=True,
        engine=Engine(args=("--no-enforce-eager",)),
        engine_args=("--max_model_len=512",),
    )
    words = arguments(plan)
    # What a start was found to need comes after them: it is there by the user's leave.
    assert words[-3:] == ["--no-enforce-eager", "--max_model_len=512", "$remedy"]
    assert "--enforce-eager" not in words and "2048" not in words


@pytest.mark.parametrize(
    "argument", ["--port=1", "--port", "--api-key", "--api_key=x", "--model", "--served-model-name"]
)
def test_what_the_deployment_decides_cannot_be_given(argument: str) -> None:
    with pytest.raises(UsageError, match="cannot be given") as caught:
        make_plan("tinyllama", gpu_host(), engine_args=(argument, "x"))
    assert "=x" not in caught.value.message


@pytest.mark.parametrize("name", ["BAD NAME", "1X", "A;B", "", "VLLM_API_KEY"])
def test_environment_names_are_checked(name: str) -> None:
    with pytest.raises(UsageError, match=r"engine\.env"):
        make_plan("tinyllama", gpu_host(), engine=Engine(env={name: "x"}))


@pytest.mark.parametrize(
    ("model", "gpus", "parallel"),
    [
        ("mistral-7b", 1, None),
        ("mistral-7b", 3, "2"),
        ("mistral-7b", 4, "4"),
        # 28, 14 and 9 attention heads.
        ("qwen2-7b", 8, "4"),
        ("qwen2.5-0.5b", 8, "2"),
        ("org/unknown-7b", 6, "4"),
    ],
)
def test_tensor_parallel(model: str, gpus: int, parallel: str | None) -> None:
    words = arguments(make_plan(model, gpu_host(*[L4] * gpus)))
    flag = "--tensor-parallel-size"
    assert (words[words.index(flag) + 1] if flag in words else None) == parallel


def test_the_context_is_shortened_only_where_it_does_not_fit() -> None:
    def length(model: str, gpu: Gpu, **more: Any) -> str | None:
        words = arguments(make_plan(model, gpu_host(gpu), **more))
        return words[words.index("--max-model-len") + 1] if "--max-model-len" in words else None

    older = Install(version="0.13.0")
    assert length("mistral-7b", B200, install=older) is None
    assert length("org/unknown", L4, install=older) is None
    short = length("llama-3.1-8b", L4, install=older)
    assert short is not None and 1024 <= int(short) < 131072
    assert length("llama-3.1-8b", L4, engine=Engine(max_model_len=777)) == "777"


def test_newer_releases_fit_the_context_by_themselves() -> None:
    def words(version: str, **more: Any) -> list[str]:
        install = Install(version=version)
        return arguments(make_plan("org/unknown", gpu_host(), install=install, **more))

    assert after(words("0.14.0"), "--max-model-len") == "auto"
    assert "--max-model-len" not in words("0.13.0")
    asked = words("0.32.0", query=OfferQuery(context=8192))
    assert after(asked, "--max-model-len") == "8192"


def test_bfloat16_is_avoided_where_the_gpu_has_none() -> None:
    assert after(arguments(make_plan("tinyllama", gpu_host(T4))), "--dtype") == "half"
    plan = make_plan("tinyllama", gpu_host(T4), engine_args=("--dtype=float32",))
    assert "half" not in arguments(plan)
    assert "--dtype" not in arguments(make_plan("tinyllama", gpu_host(L4)))
