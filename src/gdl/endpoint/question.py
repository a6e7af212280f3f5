"""The two ways to the served model, asked alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from gdl.endpoint.protocol import StreamResult
from gdl.endpoint.ssh_curl import SshCurl

if TYPE_CHECKING:
    from gdl.endpoint.client import EndpointClient

Endpoint: TypeAlias = "EndpointClient | SshCurl"
"""Through a tunnel, or by commands on the machine."""


async def ask(endpoint: Endpoint, model: str, prompt: str, *, max_tokens: int) -> StreamResult:
    """One question. Never raises for what the network or the server does."""
    if isinstance(endpoint, SshCurl):
        return await endpoint.chat(model, prompt, max_tokens=max_tokens)
    return await endpoint.chat_stream(model, prompt, max_tokens=max_tokens)
