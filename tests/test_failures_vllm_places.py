"""The real vLLM in a broken place: no hub, foreign packages, no memory, a port that is taken.

Run with `pytest -m 'real and long' -n 0 tests/test_failures_*.py`; each start takes half a minute.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from local_ports import free_port
from made_failures import on_small_disk, without_network
from real_vllm import SERVES, Vllm
from web_servers import refusing

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(900)]


# -- the hub --------------------------------------------------------------------------------------


def test_a_gated_model(vllm: Vllm) -> None:
    message = "Access to model org/zebra is restricted and you are not in the authorized list."
    with refusing(403, "GatedRepo", message) as url:
        told = vllm.fails(model="org/zebra", HF_ENDPOINT=url, HF_HUB_OFFLINE="0")
    told.says("gated-model", cause="licence", remedy="licence")


def test_a_hub_that_limits_its_answers(vllm: Vllm) -> None:
    with refusing(429, message="Too Many Requests") as url:
        told = vllm.fails(model="org/zebra", HF_ENDPOINT=url, HF_HUB_OFFLINE="0")
    told.says("hub-rate-limit", cause="limits", action="wait")


def test_a_hub_whose_name_is_not_resolved(vllm: Vllm) -> None:
    place = {"HF_ENDPOINT": "https://hub.example.org", "HF_HUB_OFFLINE": "0"}
    told = vllm.fails(model="org/zebra", inside=without_network(), **place)
    told.says("dns", cause="cannot be resolved")


def test_a_proxy_that_is_dead(vllm: Vllm) -> None:
    proxy = f"http://127.0.0.1:{free_port()}"
    place = {"HF_ENDPOINT": "https://hub.example.org", "HF_HUB_OFFLINE": "0"}
    told = vllm.fails(model="org/zebra", HTTPS_PROXY=proxy, https_proxy=proxy, **place)
    told.says("proxy-refused", "proxy", "hub-refused", cause="https_proxy", remedy="https_proxy")


def test_a_model_that_is_not_in_the_cache(vllm: Vllm) -> None:
    told = vllm.fails(model="org/zebra")
    told.says("hub-offline", "hub-not-cached", cause="cache", remedy="HF_HUB_OFFLINE|offline")


# -- packages -------------------------------------------------------------------------------------


def test_a_torchvision_for_another_torch(vllm: Vllm) -> None:
    """PyPI's, which is built for CUDA, beside the CPU's torch."""
    beside = vllm.folder / "packages"
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        beside,
    ]
    subprocess.run([*pip, "torchvision"], check=True, timeout=300)
    told = vllm.fails(PYTHONPATH=str(beside))
    told.says("torchvision-mismatch", cause="another torch", action="repair")


def test_a_vllm_that_is_not_there(vllm: Vllm) -> None:
    """The Python of these tests in place of the one that has it."""
    told = replace(vllm, python=sys.executable).fails()
    told.says(
        "no-vllm",
        "import-failed",
        "torch-missing",
        "module-missing",
        cause="not installed|imported",
    )


# -- the machine ----------------------------------------------------------------------------------


def test_an_engine_that_is_killed_while_it_serves(vllm: Vllm) -> None:
    with vllm.serving() as server:
        server.until(SERVES)
        killed = _processes(server.process.pid, "EngineCore")
        assert killed
        for process in killed:
            process.kill()
        told = server.ends()
    assert told.status == 0, "what vLLM does today, and why no status is believed"
    told.says("engine-killed", cause="killed", remedy="memory|RAM|again")


def test_a_port_that_is_taken(vllm: Vllm) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", vllm.port))
        taken.listen()
        vllm.fails().says("port-in-use", cause="port .* already", remedy="port|older server")


def test_an_address_that_is_not_the_machines(vllm: Vllm) -> None:
    vllm.fails("--host", "203.0.113.7").says("address-not-ours", cause="address")


def test_shared_memory_that_is_too_small(vllm: Vllm) -> None:
    small = on_small_disk(Path("/dev/shm"), "64k")
    told = vllm.fails("--tensor-parallel-size", "2", inside=small)
    told.says(
        "dev-shm-full", "shm-semaphores", "memory-page", cause="/dev/shm", remedy="shm|shared"
    )


def _processes(leader: int, name: str) -> list[psutil.Process]:
    children = psutil.Process(leader).children(recursive=True)
    return [each for each in children if name in " ".join(each.cmdline())]
