"""A model hub on loopback for the tests: the simulated one, with repositories of their own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn

from gdl.domain.model_facts import ModelFacts
from gdl.domain.model_names import hub_name
from gdl.hub.lookup import Hub
from gdl.settings import Hub as HubSettings
from gdl.settings import Settings
from gdl.simulator.hub.app import SimulatedHub
from gdl.simulator.hub.repositories import HubFile, Repository, gguf, table, text, weights

TOKEN = "hf_test_token"
QWEN_CONFIG: dict[str, Any] = {
    "architectures": ["Qwen3ForCausalLM"],
    "head_dim": 128,
    "hidden_size": 1024,
    "max_position_embeddings": 40960,
    "model_type": "qwen3",
    "num_attention_heads": 16,
    "num_hidden_layers": 28,
    "num_key_value_heads": 8,
    "torch_dtype": "bfloat16",
    "vocab_size": 151936,
}
LLAMA_HEADER: dict[str, str | int] = {
    "general.architecture": "llama",
    "general.file_type": 15,
    "llama.block_count": 30,
    "llama.context_length": 8192,
    "llama.embedding_length": 576,
    "llama.attention.head_count": 9,
    "llama.attention.head_count_kv": 3,
}


def text_model(
    ident: str,
    *,
    config: dict[str, Any] | None = None,
    more: dict[str, HubFile] | None = None,
    info: dict[str, Any] | None = None,
    size: int = 1_192_000_000,
    gated: str = "",
    private: bool = False,
) -> Repository:
    """A repository as most are: configuration, tokenizer, two files of weights."""
    files = {
        "README.md": text("# A model"),
        "config.json": table(QWEN_CONFIG if config is None else config),
        "tokenizer_config.json": table({"tokenizer_class": "Qwen2Tokenizer", "eos_token": "</s>"}),
        "chat_template.jinja": text("{{ messages }}"),
        "generation_config.json": table({"temperature": 0.6, "top_p": 0.95}),
        "tokenizer.json": weights(11_000_000),
        "model-00001-of-00002.safetensors": weights(size // 2),
        "model-00002-of-00002.safetensors": weights(size - size // 2),
    }
    told = {
        "pipeline_tag": "text-generation",
        "library_name": "transformers",
        "tags": ["safetensors", "license:apache-2.0"],
        "safetensors": {"parameters": {"BF16": size // 2}, "total": size // 2},
        "downloads": 29_646_527,
    }
    return Repository(
        ident, files | (more or {}), told | (info or {}), gated=gated, private=private
    )


@dataclass(slots=True)
class Running:
    """The hub, where it listens, and a client of the program's for it."""

    hub: SimulatedHub
    url: str
    data_dir: Path
    clients: list[Hub] = field(default_factory=list)

    def settings(self, *, token: str = "", **hub: Any) -> Settings:
        flags: dict[str, Any] = {"hf_token": token} if token else {}
        asked = HubSettings(endpoint=self.url, **hub)
        return Settings(data_dir=self.data_dir, hub=asked, **flags)

    def client(
        self,
        *,
        token: str = "",
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        **hub: Any,
    ) -> Hub:
        """Closed with the server."""
        made = Hub(self.settings(token=token, **hub), clock)
        self.clients.append(made)
        return made

    async def facts(self, typed: str, *, token: str = "") -> ModelFacts:
        """As a program would learn them that has asked nothing so far."""
        name = hub_name(typed)
        assert name is not None, typed
        return await self.client(token=token).facts(name)

    @property
    def paths(self) -> list[str]:
        return [each.path for each in self.hub.asked]


@asynccontextmanager
async def running_hub(hub: SimulatedHub, data_dir: Path) -> AsyncIterator[Running]:
    """Listens on 127.0.0.1; large files come from the same port by another host name."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    hub.cdn = hub.cdn or f"http://localhost:{port}"
    config = uvicorn.Config(
        hub.app(), ws="none", lifespan="off", log_config=None, log_level="critical"
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=[listener])
    running = Running(hub, f"http://127.0.0.1:{port}", data_dir)
    try:
        yield running
    finally:
        for client in running.clients:
            await client.aclose()
        connections: list[Any] = list(server.server_state.connections)
        for connection in connections:
            connection.transport.abort()
        for task in list(server.server_state.tasks):
            task.cancel()
        for open_server in server.servers:
            open_server.close()
        listener.close()
        while server.server_state.connections:
            await asyncio.sleep(0)


__all__ = [
    "LLAMA_HEADER",
    "QWEN_CONFIG",
    "TOKEN",
    "HubFile",
    "Repository",
    "Running",
    "SimulatedHub",
    "gguf",
    "running_hub",
    "table",
    "text",
    "text_model",
    "weights",
]
