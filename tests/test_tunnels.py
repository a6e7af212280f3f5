"""Tunnels in processes of their own, from the command line, to a real SSH host."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest

from gdl.domain.agent_settings import CLIENTS
from gdl.orchestrator.api.views import TunnelRow
from gdl.orchestrator.sessions.tunnels import usual_port
from gdl.ssh.openssh import there_is_one
from market_support import Place
from waiting import wait_until


async def answer(row: TunnelRow, key: str | None = None) -> int | str:
    """The status of a question through the tunnel, or how it failed."""
    key = Path(row.api_key_file).read_text().strip() if key is None else key
    headers = {"Authorization": f"Bearer {key}"}
    try:
        async with httpx.AsyncClient(timeout=3, trust_env=False) as client:
            return (await client.get(f"{row.endpoint}/models", headers=headers)).status_code
    except httpx.HTTPError as error:
        return type(error).__name__


@pytest.mark.long
@pytest.mark.parametrize("by", ["built-in", "openssh"])
async def test_a_tunnel_stays_open_while_no_program_of_ours_runs(
    place: Place, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if by == "openssh" and not there_is_one():
        pytest.skip("this computer has no ssh")
    monkeypatch.setenv("GDL_TUNNEL", by)
    row = await place.open()
    assert row.by == by
    assert row.endpoint == f"http://127.0.0.1:{usual_port(place.session)}/v1"
    assert await answer(row) == 200
    assert await answer(row, "wrong") == 401
    # There is one per session: asked for again, it is shown.
    assert await place.open() == row
    taken = await place.gdl("tunnel", "--foreground", place.session, code=2)
    assert "already open" in taken

    script = await place.gdl("env")
    shell = await asyncio.create_subprocess_exec(
        *("sh", "-c", f'{script}\nprintf "%s %s" "$OPENAI_BASE_URL" "$OPENAI_API_KEY"'),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await shell.communicate()
    key = Path(row.api_key_file).read_text().strip()
    assert out.decode() == f"{row.endpoint} {key}"
    assert key not in script
    record = place.simulation.folder / "data" / "tunnels" / f"{place.session}.json"
    assert stat.S_IMODE(record.stat().st_mode) == 0o600

    sessions = json.loads(await place.gdl("sessions", "--json"))
    assert sessions["endpoint"] == row.endpoint

    await place.gdl("tunnel", place.session, "--stop")
    assert await answer(row) == "ConnectError"
    assert "no tunnel is open" in await place.gdl("env", code=2)
    again = await place.open()
    assert (again.endpoint, again.pid != row.pid) == (row.endpoint, True)
    assert await answer(again) == 200


@pytest.mark.long
async def test_coding_agents_get_what_the_endpoint_tells(place: Place) -> None:
    row = await place.open()
    key = Path(row.api_key_file).read_text().strip()
    texts = {form: await place.gdl("env", "--format", form) for form in CLIENTS}
    assert not any(key in text for text in texts.values())
    context = json.loads(texts["opencode"])["provider"]["gdl"]["models"][row.model]["limit"]
    assert context["output"] == context["context"] // 4
    assert tomllib.loads(texts["codex"])["model_context_window"] == context["context"]
    shown = 'printf "%s %s" "$ANTHROPIC_BASE_URL" "$ANTHROPIC_AUTH_TOKEN"'
    shell = await asyncio.create_subprocess_exec(
        *("sh", "-c", f"{texts['claude']}\n{shown}"),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await shell.communicate()
    url, token = out.decode().split()
    http = anthropic.DefaultAsyncHttpxClient(trust_env=False)
    client = anthropic.AsyncAnthropic(
        base_url=url, auth_token=token, api_key=None, http_client=http
    )
    async with client:
        asked: Any = [{"role": "user", "content": "What is 2 + 2?"}]
        said = await client.messages.create(model=row.model, max_tokens=32, messages=asked)
    assert "4" in str(said.content)


@pytest.mark.long
async def test_a_tunnel_heals_and_ends_with_its_session(place: Place) -> None:
    row = await place.open()
    await place.cable.pull()

    async def answers() -> bool:
        return await answer(row) == 200

    async def is_silent() -> bool:
        return not await answers()

    await wait_until(is_silent)
    await place.cable.plug()
    await wait_until(answers)
    # The fixture destroys the session, and waits until the tunnel is gone by itself.


@pytest.mark.long
async def test_a_killed_tunnel_leaves_no_trace_that_deceives(place: Place) -> None:
    row = await place.open()
    os.kill(row.pid, 9)
    await wait_until(place.has_no_tunnel)
    assert (await place.open()).endpoint == row.endpoint


@pytest.mark.long
async def test_what_cannot_be_opened_is_explained(place: Place) -> None:
    assert "no session" in await place.gdl("tunnel", "nothing-of-that-name", code=2)
    assert "which tunnel" in await place.gdl("tunnel", "--stop", code=2)
    assert "unknown format" in await place.gdl("env", "--format", "fish", code=2)
    with contextlib.closing(await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)) as taken:
        port = taken.sockets[0].getsockname()[1]
        said = await place.gdl("tunnel", place.session, "--port", str(port), code=4)
    assert "cannot listen" in said
