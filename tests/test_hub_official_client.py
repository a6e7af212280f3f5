"""The hub's own client works with the simulated hub: it is no invention of ours.

In a process of its own, as it reads its environment when it is imported.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub_server import (
    LLAMA_HEADER,
    TOKEN,
    Repository,
    Running,
    SimulatedHub,
    gguf,
    running_hub,
    text_model,
)

QWEN = "Qwen/Qwen3-0.6B"
GATED = "meta-llama/Llama-3.1-8B-Instruct"

SCRIPT = """
import json, sys
from huggingface_hub import HfApi, hf_hub_download, errors

api = HfApi()


def tried(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__


info = api.model_info("Qwen/Qwen3-0.6B", files_metadata=True)
renamed = api.model_info("facebook/old-name")
out = {
    "id": info.id,
    "sha": info.sha,
    "sizes": {each.rfilename: each.size for each in info.siblings},
    "lfs": [each.rfilename for each in info.siblings if each.lfs],
    "gated": info.gated,
    "parameters": info.safetensors.total,
    "renamed": renamed.id,
    "config": json.load(open(hf_hub_download("Qwen/Qwen3-0.6B", "config.json"))),
    "gguf": open(hf_hub_download("acme/one", "model.gguf"), "rb").read(4).decode(),
    "search": [each.id for each in api.list_models(search="qwen", sort="downloads", limit=5)],
    "expanded": next(iter(api.list_models(search="qwen", expand=["gated", "tags"]))).tags,
    "missing": tried(lambda: api.model_info("acme/none")),
    "revision": tried(lambda: api.model_info("Qwen/Qwen3-0.6B", revision="v9")),
    "entry": tried(lambda: hf_hub_download("Qwen/Qwen3-0.6B", "no.json")),
    "open": api.model_info("meta-llama/Llama-3.1-8B-Instruct").gated,
    "closed": tried(
        lambda: hf_hub_download("meta-llama/Llama-3.1-8B-Instruct", "config.json", token=False)
    ),
    "stranger": tried(
        lambda: hf_hub_download(
            "meta-llama/Llama-3.1-8B-Instruct", "config.json", token="hf_stranger"
        )
    ),
    "mine": tried(
        lambda: hf_hub_download(
            "meta-llama/Llama-3.1-8B-Instruct", "config.json", token=sys.argv[1]
        )
    ).endswith("config.json"),
    "disabled": tried(lambda: api.model_info("acme/disabled")),
    "expired": tried(lambda: api.model_info("Qwen/Qwen3-0.6B", token="hf_expired")),
}
print(json.dumps(out))
"""


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    simulated = SimulatedHub.of(
        [
            text_model(QWEN),
            text_model(GATED, gated="manual"),
            Repository("facebook/old-name", moved_to=QWEN),
            Repository("acme/one", {"model.gguf": gguf(LLAMA_HEADER, 500_000)}),
            Repository("acme/disabled", disabled=True),
        ]
    )
    simulated.tokens = {TOKEN: frozenset({GATED}), "hf_stranger": frozenset()}
    async with running_hub(simulated, tmp_path) as running:
        yield running


async def asked(hub: Running, home: Path) -> dict[str, Any]:
    environment = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "*",
    }
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "HOME", "TMPDIR")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, TOKEN,
        env=kept | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-2000:]
    told: dict[str, Any] = json.loads(out)
    return told


async def test_the_official_client_works_with_the_simulated_hub(
    hub: Running, tmp_path: Path
) -> None:
    told = await asked(hub, tmp_path / "home")
    facts = await hub.facts(QWEN)
    assert (told["id"], told["sha"]) == (QWEN, facts.revision)
    assert told["sizes"] == {each.path: each.size_bytes for each in facts.files}
    assert told["lfs"] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "tokenizer.json",
    ]
    assert (told["gated"], told["open"]) == (False, "manual")
    assert told["parameters"] == 596_000_000
    assert told["renamed"] == QWEN
    assert told["config"] == facts.config
    assert told["gguf"] == "GGUF"
    assert told["search"] == [QWEN]
    assert told["expanded"] == ["safetensors", "license:apache-2.0"]
    errors = {
        name: told[name]
        for name in (
            "missing", "revision", "entry", "closed", "stranger", "mine", "disabled", "expired",
        )
    }  # fmt: skip
    assert errors == {
        "missing": "RepositoryNotFoundError",
        "revision": "RevisionNotFoundError",
        "entry": "RemoteEntryNotFoundError",
        "closed": "GatedRepoError",
        "stranger": "GatedRepoError",
        "mine": True,
        "disabled": "DisabledRepoError",
        "expired": "HfHubHTTPError",
    }
