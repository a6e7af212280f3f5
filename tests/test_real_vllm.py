"""The recipes and the memory model beside the real vLLM's own registries and code.

See vllm_environment.py for where it comes from. The newest release's wheel (336 MB) is downloaded
and read, not installed, unless GDL_TEST_VLLM_WHEEL names one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import releases_data
from test_vllm_releases import recipes, wanted
from vllm_environment import told

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("vllm"), pytest.mark.timeout(1800)]

BENCH = Path(__file__).resolve().parent.parent / "bench"
VERSION = "0.32.0"
"""Of the CPU build."""
A_FEW = (
    "gemma-3-27b-tp2-fp8kv-batch2048",
    "gpt-oss-20b-4090",
    "jamba-v0.1-tp2",
    "llama4-scout-tp4",
    "qwen3-next-tp4",
    "deepseek-v32-tp8-h200",
    "gemma4_e4b",
    "whisper_large",
)
"""Cases of the memory model: windows, experts, states, chunks, sparse MLA, sharing, an encoder."""
REGISTRIES = """
import json
from typing import get_args
from vllm import envs
from vllm.config import model as models
from vllm.config.cache import CacheDType
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS
from vllm.model_executor.model_loader import LoadFormats
from vllm.model_executor.models.registry import ModelRegistry
from vllm.reasoning import ReasoningParserManager
from vllm.tokenizers.registry import _VLLM_TOKENIZERS
from vllm.tool_parsers import ToolParserManager
from vllm.transformers_utils.config import ConfigFormat
from vllm.utils.argparse_utils import FlexibleArgumentParser
flags = make_arg_parser(FlexibleArgumentParser())._actions
print(json.dumps({
    "architectures": sorted(ModelRegistry.get_supported_archs()),
    "tool_parsers": sorted(ToolParserManager.list_registered()),
    "reasoning_parsers": sorted(ReasoningParserManager.list_registered()),
    "tokenizer_modes": sorted({*get_args(models.TokenizerMode), *_VLLM_TOKENIZERS}),
    "config_formats": sorted(get_args(ConfigFormat)),
    "load_formats": sorted(get_args(LoadFormats)),
    "kv_cache_dtypes": sorted(get_args(CacheDType)),
    "quantizations": sorted(QUANTIZATION_METHODS),
    "flags": sorted({o for a in flags for o in a.option_strings if o.startswith("--")}),
    "environment": sorted(envs.environment_variables),
}))
"""


@pytest.fixture(scope="module")
def registries(vllm_python: str) -> dict[str, list[str]]:
    """What the installed vLLM registers, by kind."""
    return told(vllm_python, REGISTRIES)


def test_all_that_the_catalogues_recipes_name_is_registered(
    registries: dict[str, list[str]],
) -> None:
    unknown = {
        (ident, kind, name)
        for ident, recipe in recipes().items()
        for kind, name in wanted(recipe)
        if name not in registries[kind]
    }
    unknown |= {
        (ident, "environment", name)
        for ident, recipe in recipes().items()
        for name in recipe.environment
        if name.startswith("VLLM_") and name not in registries["environment"]
    }
    unknown |= {
        (ident, "architectures", recipe.architecture)
        for ident, recipe in recipes().items()
        if recipe.architecture and not recipe.last_vllm
        if releases_data.numbers(recipe.min_vllm or "0") <= releases_data.numbers(VERSION)
        if recipe.architecture not in registries["architectures"]
    }
    assert unknown == set()


def test_the_wheels_data_is_what_this_release_registers(
    registries: dict[str, list[str]],
) -> None:
    for kind, names in registries.items():
        if kind == "environment":
            continue
        # Python's argparse adds the first, and vLLM the negations.
        own = {n for n in names if n != "--help" and not n.startswith("--no-")}
        read = {n for n in releases_data.names(kind) if releases_data.knows(kind, n, VERSION)}
        assert own == {n for n in read if not n.startswith("--no-")}, kind


@pytest.mark.long
def test_the_newest_release_knows_what_its_data_says(tmp_path: Path) -> None:
    sys.path.insert(0, str(BENCH))
    try:
        import vllm_releases
    finally:
        sys.path.pop(0)
    newest = releases_data.releases()[-1]
    named = os.environ.get("GDL_TEST_VLLM_WHEEL")
    wheel = Path(named) if named else vllm_releases.download(newest, tmp_path)
    for kind, found in vllm_releases.known(wheel).items():
        recorded = [n for n in releases_data.names(kind) if releases_data.knows(kind, n, newest)]
        assert found == recorded, kind


@pytest.mark.long
def test_memory_is_what_vllm_would_allocate(vllm_python: str) -> None:
    script = [sys.executable, str(BENCH / "memory_truth.py"), "--vllm", vllm_python, "--json"]
    asked = [word for name in A_FEW for word in ("--case", name)]
    answered = subprocess.run([*script, *asked], capture_output=True, text=True, timeout=900)
    assert answered.returncode == 0, answered.stdout + answered.stderr
    found = json.loads(answered.stdout)
    assert sorted(row["case"] for row in found) == sorted(A_FEW)
    for row in found:
        assert abs(row["off_weights_percent"]) <= 3 and abs(row["off_cache_percent"]) <= 2, row
    # vLLM says today what is written down.
    assert answered.stderr == ""
