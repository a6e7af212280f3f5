"""The model hub of the simulated market: the catalogue's models, told as the real hub tells them.

In this process and without the network, so that a demonstration needs none and waits for nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
from starlette.responses import PlainTextResponse, Response

from gdl.domain.model_facts import ModelFacts
from gdl.hub import catalogue
from gdl.hub.catalogue import Entry, Variant
from gdl.simulator.hub.app import SimulatedHub
from gdl.simulator.hub.repositories import HubFile, Repository, gguf, table, text, weights

_REPOSITORY = re.compile(r"/api/models/([^/]+/[^/]+)$")
_GGUF_BYTES = {"Q4_K_M": 0.6, "Q8_0": 1.06}
"""Per parameter, about."""


def transport() -> httpx.AsyncBaseTransport:
    """Requests go to the application itself. Of other models it says that it does not know them,
    and not that they do not exist."""
    hub = SimulatedHub.of(_repositories())
    hub.accepting = True

    def wrong(path: str) -> Response | None:
        asked = _REPOSITORY.match(path)
        if asked is None or asked.group(1).casefold() in hub.repositories:
            return None
        told = {"x-error-message": "the simulated hub has only the catalogue's models"}
        return PlainTextResponse("", 404, told)

    hub.wrong = wrong
    return httpx.ASGITransport(hub.app())


def _repositories() -> Iterator[Repository]:
    for entry in catalogue.entries():
        yield from _repository(entry, None)
        for variant in entry.variants:
            yield from _repository(entry, variant)


def _repository(entry: Entry, variant: Variant | None) -> Iterator[Repository]:
    """Nothing for a model of which too little is known to tell it as its repository would."""
    facts = entry.facts(variant)
    if variant is not None and variant.format.name == "gguf":
        info = {**_info(entry, facts), "library_name": "gguf"}
        yield Repository(facts.id, _gguf_files(entry), info)
    elif facts.config and facts.weights_bytes:
        files = {
            "config.json": table(facts.config),
            "model.safetensors": weights(facts.weights_bytes),
            "tokenizer.json": weights(11_000_000),
        }
        if entry.chat:
            files["chat_template.jinja"] = text("{{ messages }}")
        gated = "manual" if facts.gated else ""
        yield Repository(facts.id, files, _info(entry, facts), gated=gated)


def _info(entry: Entry, facts: ModelFacts) -> Mapping[str, Any]:
    tags = [f"license:{entry.license}"] if entry.license else []
    tags += [f"base_model:quantized:{base}" for _, base in facts.base_models]
    return {"pipeline_tag": "text-generation", "library_name": "transformers", "tags": tags}


def _gguf_files(entry: Entry) -> Mapping[str, HubFile]:
    header: dict[str, str | int] = {
        "general.architecture": "llama",
        "llama.block_count": entry.layers,
        "llama.context_length": entry.max_context,
        "llama.embedding_length": entry.heads * entry.head_size,
        "llama.attention.head_count": entry.heads,
        "llama.attention.head_count_kv": entry.kv_heads,
    }
    name = entry.id.rpartition("/")[2]
    original = {"config.json": table(entry.config)} if entry.config else {}
    return original | {
        f"{name}-{each}.gguf": gguf(header, round(entry.parameters_b * 1e9 * size))
        for each, size in _GGUF_BYTES.items()
    }
