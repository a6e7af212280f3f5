"""The way without forwarding: real commands in a real shell against a real HTTP server."""

from __future__ import annotations

import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gdl.domain.errors import SshError, VerificationError
from gdl.domain.host import CommandResult
from gdl.domain.secret import Secret
from gdl.endpoint.ssh_curl import SshCurl
from local_ports import free_port
from local_shell import Shell, put_script
from vllm_support import FakeVllm

KEY = 'sk-"odd\\key'
HARD_PROMPT = 'say "hi" & $(touch {0}) `touch {0}` \\n äöü\n%{{http_code}} \U0001f600'


@pytest.fixture
async def server() -> AsyncIterator[FakeVllm]:
    async with FakeVllm(model="tiny", api_key=KEY) as running:
        yield running


@pytest.fixture(params=["curl", "python"])
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Shell:
    if request.param == "curl":
        if shutil.which("curl") is None:
            pytest.skip("no curl here")
        return Shell()
    put_script(tmp_path, "python3", f'exec "{sys.executable}" "$@"\n')
    return Shell(tmp_path)


async def test_health_models_and_an_answer(server: FakeVllm, shell: Shell, tmp_path: Path) -> None:
    prompt = HARD_PROMPT.format(tmp_path / "never")
    curl = SshCurl(shell, server.port, Secret(KEY))
    assert await curl.health() == 200
    assert await curl.models() == {"tiny": 2**20}
    result = await curl.chat("tiny", prompt, max_tokens=3)
    assert result.ok and result.text == "one two three"
    assert (result.finish_reason, result.output_tokens) == ("length", 3)
    assert result.ttft_ms is None and result.itls_ms == () and 0 < result.e2el_ms < 5000
    assert server.requests[-1].prompt == prompt
    assert not (tmp_path / "never").exists()
    assert "stream" not in server.requests[-1].json


async def test_key_and_prompt_are_in_no_command_line(server: FakeVllm, shell: Shell) -> None:
    await SshCurl(shell, server.port, Secret(KEY)).chat("tiny", "a-prompt", max_tokens=3)
    assert server.requests[-1].headers["authorization"] == f"Bearer {KEY}"
    assert shell.commands
    for command in shell.commands:
        assert "sk-" not in command and "a-prompt" not in command


async def test_proxies_and_curlrc_of_the_machine_are_ignored(
    server: FakeVllm, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".curlrc").write_text('url = "http://127.0.0.1:9/"\nfail\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CURL_HOME", str(tmp_path))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert await SshCurl(shell, server.port, Secret(KEY)).health() == 200


async def test_errors(server: FakeVllm, shell: Shell) -> None:
    wrong = SshCurl(shell, server.port, Secret("sk-wrong"))
    with pytest.raises(VerificationError, match="HTTP 401"):
        await wrong.models()
    assert (await wrong.chat("tiny", "go", max_tokens=3)).kind == "http_401"
    server.statuses["/v1/chat/completions"] = (400, "no: sk-wrong \x1b[31m")
    result = await wrong.chat("tiny", "go", max_tokens=3)
    assert result.error == "HTTP 400: no: ***"
    server.statuses["/v1/chat/completions"] = (200, "pardon?")
    assert (await wrong.chat("tiny", "go", max_tokens=3)).kind == "protocol"
    server.statuses["/v1/chat/completions"] = (200, '{"choices": []}')
    assert (await wrong.chat("tiny", "go", max_tokens=3)).kind == "protocol"
    server.health_status = 503
    assert await wrong.health() == 503


async def test_nobody_listens(shell: Shell) -> None:
    port = free_port()
    curl = SshCurl(shell, port, Secret(KEY))
    with pytest.raises(VerificationError, match="connection refused"):
        await curl.health()
    assert (await curl.chat("tiny", "go", max_tokens=3)).kind == "refused"


async def test_a_server_that_hangs(server: FakeVllm, shell: Shell) -> None:
    server.first_delay_s = 30
    result = await SshCurl(shell, server.port, Secret(KEY), timeout_s=0.4).chat(
        "tiny", "go", max_tokens=3
    )
    assert result.kind == "timeout"


async def test_no_chat_template(server: FakeVllm, shell: Shell) -> None:
    server.chat_template = False
    curl = SshCurl(shell, server.port, Secret(KEY))
    for _ in range(2):
        assert (await curl.chat("tiny", "go", max_tokens=2)).text == "one two"
    assert curl.mode == "completions"
    assert [r.path for r in server.requests] == [
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/completions",
    ]


async def test_a_machine_with_neither_tool(server: FakeVllm, tmp_path: Path) -> None:
    curl = SshCurl(Shell(tmp_path), server.port, Secret(KEY))
    with pytest.raises(VerificationError, match="neither curl nor python3") as caught:
        await curl.health()
    assert "install curl" in caught.value.hint
    assert (await curl.chat("tiny", "go", max_tokens=2)).kind == "no_tool"


async def test_a_curl_that_talks_nonsense(server: FakeVllm, tmp_path: Path) -> None:
    put_script(tmp_path, "curl", "printf 'what\\nis this'\n")
    curl = SshCurl(Shell(tmp_path), server.port, Secret(KEY))
    with pytest.raises(VerificationError, match="unexpected output of curl"):
        await curl.health()
    put_script(tmp_path, "curl", "echo 'curl: (48) bad sk-\"odd\\key' >&2; exit 48\n")
    with pytest.raises(VerificationError, match=r"failed \(48\): curl: \(48\) bad \*\*\*"):
        await curl.health()


async def test_a_lost_ssh_connection() -> None:
    class Lost:
        async def run(
            self, command: str, *, timeout: float = 30.0, input: str | None = None
        ) -> CommandResult:
            raise SshError("the connection was lost")

    curl = SshCurl(Lost(), 8000, Secret(KEY))
    result = await curl.chat("tiny", "go", max_tokens=2)
    assert result.kind == "ssh" and result.error == "the connection was lost"
    with pytest.raises(SshError):
        await curl.health()
