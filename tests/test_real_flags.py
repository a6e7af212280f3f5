"""The command line of every model of the catalogue, read by the real vLLM's own parser.

See vllm_environment.py for where it comes from.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from engine_support import gpu_host
from gdl.domain.offers import OfferQuery
from gdl.domain.spec import DeploymentSpec
from gdl.engines.registry import get
from gdl.engines.vllm import command, compat, server_flags
from gdl.orchestrator.leasing.model_lookup import known
from gdl.settings import Install, Settings

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("vllm")]

READS = """
import json, sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = make_arg_parser(FlexibleArgumentParser())
found = {}
for name, words in json.load(open(sys.argv[1])).items():
    read = parser.parse_args(["--model", name, *words])
    tool, reasoning = read.tool_call_parser, read.reasoning_parser
    found[name] = [
        not tool or tool in ToolParserManager.list_registered(),
        not reasoning or reasoning in ReasoningParserManager.list_registered(),
    ]
found[""] = sorted(f for action in parser._actions for f in action.option_strings if f[:2] == "--")
json.dump(found, open(sys.argv[2], "w"))
"""


def test_every_models_flags_are_read_by_the_real_server(vllm_python: str, tmp_path: Path) -> None:
    choice = compat.for_gpu(gpu_host(), Install(version="0.32.0"))
    query = OfferQuery(text_only=True)
    lines = {}
    for model in known(get("vllm")):
        spec = DeploymentSpec(model.typed, "ssh", query, trust_remote_code=True)
        flags = command.chosen_flags(spec, model, choice, Settings())
        assert flags.notes == (), model.typed
        lines[model.location] = list(flags.arguments)
    assert len(lines) > 90
    given, answer = tmp_path / "given.json", tmp_path / "answer.json"
    given.write_text(json.dumps(lines))
    subprocess.run([vllm_python, "-c", READS, given, answer], check=True, timeout=300)
    found = json.loads(answer.read_text())
    flags_of_the_server = found.pop("")
    assert found == {name: [True, True] for name in lines}
    unknown = {
        flag
        for flag in flags_of_the_server
        if not server_flags.knows("flag", flag, "0.32.0")
        and not server_flags.knows("flag", f"--{flag[5:]}", "0.32.0")
    }
    assert unknown <= {"--help"}
