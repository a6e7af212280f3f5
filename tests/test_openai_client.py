"""The official client of the OpenAI API through the tunnel to a simulated server, and the lines
that `env` prints, run as they are. The same client on a real vLLM: test_real_deployment.py."""

from __future__ import annotations

import ast
import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import openai
import pytest

from deployment_support import last, told
from gdl.domain.client_snippets import Call
from gdl.domain.decisions import AfterServing
from gdl.domain.spec import DeploymentSpec
from market_support import held
from sandbox_support import isolate, sandbox, settings

ASKED: Any = {
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "temperature": 0,
    "max_tokens": 16,
}


async def output(*words: str, **environment: str) -> str:
    """What a program prints; it has to end well."""
    child = await asyncio.create_subprocess_exec(
        *words,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await child.communicate()
    assert child.returncode == 0, err.decode()
    return out.decode()


async def serves_the_official_client(call: Call, key: str) -> None:
    """Models, a chat, the same as a stream, and 401 for a wrong key."""
    client = openai.AsyncOpenAI(base_url=call.url, api_key=key, max_retries=0)
    async with client:
        assert [model.id async for model in client.models.list()] == [call.model]
        whole = await client.chat.completions.create(model=call.model, **ASKED)
        assert whole.usage is not None and whole.usage.completion_tokens > 0
        pieces = [
            piece
            async for piece in await client.chat.completions.create(
                model=call.model, stream=True, stream_options={"include_usage": True}, **ASKED
            )
        ]
    streamed = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
    assert whole.choices[0].message.content == streamed and "Paris" in streamed
    assert pieces[-1].usage == whole.usage
    async with openai.AsyncOpenAI(base_url=call.url, api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.models.list()


async def the_lines_to_paste_work(call: Call, key: str) -> None:
    """As they are: none of them holds the key, and each gets an answer."""
    texts = {form: call.lines(form) for form in ("sh", "curl", "python", "litellm")}
    assert not any(key in text for text in texts.values())
    said = await output("sh", "-c", f'{texts["sh"]}\necho "$OPENAI_BASE_URL $OPENAI_API_KEY"')
    assert said.split() == [call.url, key]
    assert '"choices"' in await output("sh", "-c", f"{texts['curl']} -sS")
    assert await output(sys.executable, "-c", texts["python"], NO_PROXY="127.0.0.1")
    ast.parse(texts["litellm"])


@pytest.mark.long
async def test_the_endpoint_is_one_of_openais_kind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    isolate(monkeypatch, tmp_path)
    async with sandbox(settings(tmp_path, "calm")) as (orchestrator, _):
        ident = await orchestrator.deployments.deploy(
            DeploymentSpec("tinyllama", "sandbox", bench=False)
        )
        await held(orchestrator, ident)
        tunnel = orchestrator.deployments.state(ident).tunnel
        assert tunnel is not None and tunnel.mode == "forward"
        key = Path(tunnel.api_key_file).read_text().strip()
        call = Call(
            tunnel.endpoint, orchestrator.deployments.state(ident).served_name, tunnel.api_key_file
        )
        await serves_the_official_client(call, key)
        await the_lines_to_paste_work(call, key)
        await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        assert last(await told(orchestrator, ident)).outcome == "released"
