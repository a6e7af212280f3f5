"""The names that we keep of SGLang, held against the release's own code, and its own parser.

The whole package needs a GPU's libraries; its argument parser does not: it is imported beside the
CPU build of torch of vllm_environment.py. GDL_TEST_SGLANG_PYTHON names an interpreter that has it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine_support import gpu_host
from gdl.domain.host import Gpu
from gdl.domain.offers import OfferQuery
from gdl.domain.spec import DeploymentSpec
from gdl.engines.registry import get
from gdl.engines.sglang import command, memory, server_flags
from gdl.orchestrator.leasing.model_lookup import known
from gdl.settings import Settings

pytestmark = [pytest.mark.real, pytest.mark.long]

# What its parser imports, and the CPU build of vLLM does not bring.
BESIDE = """
    orjson pybase64 python-multipart uvloop interegular partial_json_parser openai==2.8.0
    openai-harmony==0.0.4 tiktoken llguidance compressed-tensors==0.18.0 msgspec
    apache-tvm-ffi==0.1.11 setproctitle blobfile==3.0.0 xxhash easydict watchfiles ipython
    traitlets gguf distro soundfile
"""
READS = """
import argparse, json, sys
from sglang.srt.arg_groups.cuda_graph_hook import generate_prefill_cuda_graph_batch_sizes as sizes
from sglang.srt.function_call.parser_names import TOOL_CALL_PARSER_NAMES
from sglang.srt.parser.reasoning_parser_names import REASONING_PARSER_NAMES
from sglang.srt.server_args import ServerArgs
parser = argparse.ArgumentParser()
ServerArgs.add_cli_args(parser)
given, sizes_of = json.load(open(sys.argv[1]))
for name, words in given.items():
    parser.parse_args(["--model-path", name, *words])
first, other = set(), {}
for action in parser._actions:
    names = [o for o in action.option_strings if o.startswith("--")]
    first.update(names[:1])
    other.update((o, names[0]) for o in names[1:] if not o.startswith("--no-"))
json.dump(
    [sorted(first), other, sorted(TOOL_CALL_PARSER_NAMES), sorted(REASONING_PARSER_NAMES),
     {n: len(sizes(n)) for n in sizes_of}],
    open(sys.argv[2], "w"),
)
"""
CLASSES = """
import ast, importlib.util, json
from pathlib import Path
folder = Path(importlib.util.find_spec("sglang").origin).parent / "srt/models"
found = set()
for file in folder.rglob("*.py"):
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EntryClass":
            one = node.value
            for each in one.elts if isinstance(one, (ast.List, ast.Tuple)) else [one]:
                found.add(getattr(each, "id", ""))
print(json.dumps(sorted(found)))
"""


@pytest.fixture(scope="session")
def sglang_python(vllm_python: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    if named := os.environ.get("GDL_TEST_SGLANG_PYTHON"):
        return named
    folder = tmp_path_factory.mktemp("sglang") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    theirs = subprocess.run([vllm_python, "-c", asked], check=True, capture_output=True, text=True)
    (site,) = folder.glob("lib/python3*/site-packages")
    (site / "torch-of-vllm.pth").write_text(theirs.stdout)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--no-deps"]
    release = f"sglang=={server_flags.release()}"
    subprocess.run([*pip, release, *BESIDE.split()], check=True, timeout=600)
    return str(python)


def test_flags_parsers_and_command_lines_are_those_of_the_release(
    sglang_python: str, tmp_path: Path
) -> None:
    host = gpu_host(*[Gpu("NVIDIA B200", 183359, "10.0")] * 8)
    query = OfferQuery(text_only=True, context=2048, concurrency=8)
    engine, lines = get("sglang"), {}
    for model in known(engine):
        spec = DeploymentSpec(model.typed, "ssh", query, trust_remote_code=True, engine="sglang")
        chosen = command.choose(spec, model, Settings())
        words = command.arguments(host, model, Settings(), (), 30000, query, chosen)
        lines[model.location] = words
    assert len(lines) > 90
    chunks = (2048, 4096, 8192, 16384)
    given, answer = tmp_path / "given.json", tmp_path / "answer.json"
    given.write_text(json.dumps([lines, chunks]))
    subprocess.run([sglang_python, "-c", READS, given, answer], check=True, timeout=300)
    flags, others, tools, reasoning, sizes = json.loads(answer.read_text())
    assert {"--help", *server_flags.flags()} == {"--help", *flags}
    assert {flag: server_flags.full_name(flag) for flag in others} == others
    assert sorted(server_flags.tool_parsers()) == tools
    assert sorted(server_flags.reasoning_parsers()) == reasoning
    assert {str(n): memory.captured(n) for n in chunks} == sizes


def test_the_classes_are_those_of_the_release(sglang_python: str) -> None:
    run = [sglang_python, "-c", CLASSES]
    told = subprocess.run(run, check=True, capture_output=True, text=True, timeout=300)
    assert server_flags.architectures() <= set(json.loads(told.stdout))
