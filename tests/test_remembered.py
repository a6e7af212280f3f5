"""What a machine still has of an earlier deployment's remedies: read as it was written, and nothing
else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdl.domain.remedies import Remedy, RemedyKind
from gdl.engines.base import ServerCommand
from gdl.orchestrator.machine.remembered import is_told, read, telling

REMEDIES = [
    Remedy(RemedyKind.FLAG, "--max-model-len", "4096"),
    Remedy(RemedyKind.FLAG, "--enforce-eager"),
    Remedy(RemedyKind.FLAG, "--reasoning-parser="),
    Remedy(RemedyKind.FLAG, "-ngl", "0"),
    Remedy(RemedyKind.ENV, "VLLM_USE_FLASHINFER_SAMPLER", "0"),
    Remedy(RemedyKind.ENV, "GREETING", "it's a 'b' $HOME"),
]


def test_it_is_told_as_it_was_written(tmp_path: Path) -> None:
    server = ServerCommand("", "/log", 1, "m")
    script = telling(server.remembered)
    assert shell(script, tmp_path) == [], "nothing is remembered"
    for remedy in REMEDIES:
        shell(server.remembering(remedy), tmp_path)
    told = shell(f"set -eu\n{script}echo serves", tmp_path)
    assert [read(line) for line in told if is_told(line)] == REMEDIES
    assert not is_told(told[-1])


def shell(script: str, folder: Path) -> list[str]:
    done = subprocess.run(
        ["sh"], input=script, cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "said",
    ["", "rm -rf ~", "; reboot", "export", "export A", "set A=1", "export A=1 B=2", "export 1A=2"],
)
def test_what_else_stands_there_is_nothing(said: str) -> None:
    assert read(f"[gdl] remembered {said}") is None
    assert read("[gdl] remembered export A='x") is None


@given(st.text())
def test_whatever_a_machine_says_is_read(text: str) -> None:
    remedy = read(text)
    assert remedy is None or (remedy.name and "\n" not in remedy.value)
