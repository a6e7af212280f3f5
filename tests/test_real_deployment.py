"""The main job on real parts: a real install, the real vLLM, a real model, a real OpenSSH server.

Some minutes; run with `pytest -m real`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_processes import processes_naming
from real_sshd import Sshd, real_sshd
from real_support import SUM, ask, environment, first, is_phase, started
from waiting import block_until

pytestmark = pytest.mark.real

LIMIT_S = 420


@pytest.fixture
def place(tmp_path: Path) -> Iterator[dict[str, str]]:
    yield environment(tmp_path)
    # What watched a job over the connection ends by itself once that is gone.
    block_until(lambda: not processes_naming(str(tmp_path)), limit_s=10)


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with real_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def test_one_command_serves_verifies_measures_and_gives_back(place: dict[str, str]) -> None:
    begun = time.monotonic()
    job = ("deploy", "smollm2-135m", "--backend", "local", "--bench", "--destroy")
    with started(place, *job) as run:
        code, end = run.finish()
    assert (code, end["outcome"], end["billing"]) == (0, "released", "none"), end
    answers = [e["answer"] for e in run.events if e["type"] == "quality_answered"]
    assert len(answers) == 5 and sum(a["passed"] for a in answers) >= 3, answers
    assert [a["passed"] for a in answers if a["prompt"] == SUM] == [True], answers
    says_honestly_what_tool_calls_came_to(run.events, end)
    compares_its_memory(run.events)
    assert end["benchmark"]["completed"] > 0 and end["benchmark"]["failed"] == 0
    assert [e["seq"] for e in run.events] == list(range(1, len(run.events) + 1))
    assert not any((Path(place["GDL_DATA_DIR"]) / "local").iterdir())
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{place['GDL_ENGINE__PORT']}/health")
    assert time.monotonic() - begun < LIMIT_S


def says_honestly_what_tool_calls_came_to(
    events: list[dict[str, Any]], end: dict[str, Any]
) -> None:
    """So small a model may well fail them: then that is said, and nothing ends for it."""
    checks = {e["check"]["name"]: e["check"] for e in events if e["type"] == "checked"}
    for name in ("tool_forced", "tool_auto"):
        check = checks[name]
        assert check["status"] in ("passed", "degraded"), check
        # Of a call, the tool and its arguments; else what came in its place.
        told = ("get_weather({", "the call", "no call", "answered in words", "it called")
        assert check["detail"].startswith(told), check
        assert (check["status"] == "passed") is check["detail"].startswith("get_weather({"), check
    degraded = [name for name, check in checks.items() if check["status"] == "degraded"]
    assert end["degraded"] == degraded
    notes = [e["text"] for e in events if e["type"] == "noted" and e["level"] == "warning"]
    assert any("degraded" in note for note in notes) is bool(degraded)


def compares_its_memory(events: list[dict[str, Any]]) -> None:
    """The cache is of a size that is given to it here; what a sequence takes of it is predicted."""
    (memory,) = [e["memory"] for e in events if e["type"] == "memory_compared"]
    assert (memory["context"], memory["release"], memory["gpu"]) == (2048, "0.32.0", "")
    assert memory["predicted_sequences"] == pytest.approx(memory["sequences"], rel=0.01), memory


def serves_the_official_client(endpoint: str, key: str) -> None:
    """Models, a chat, a stream, and 401 for a wrong key, as the openai package has them."""
    import openai

    client = openai.OpenAI(base_url=endpoint, api_key=key, max_retries=0)
    assert [model.id for model in client.models.list()] == ["smollm2-135m"]
    asked: Any = {
        "model": "smollm2-135m",
        "messages": [{"role": "user", "content": SUM}],
        "temperature": 0,
        "max_tokens": 16,
    }
    whole = client.chat.completions.create(**asked).choices[0].message.content
    pieces = client.chat.completions.create(**asked, stream=True)
    streamed = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
    assert whole == streamed and "4" in whole
    stranger = openai.OpenAI(base_url=endpoint, api_key="wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


@pytest.mark.long
def test_over_openssh_it_answers_and_a_dead_server_is_noticed(
    place: dict[str, str], sshd: Sshd
) -> None:
    place["GDL_INSTALL__WORK_DIR"] = str(Path(place["HOME"]) / "machine")
    job = ("deploy", "smollm2-135m", "--backend", "ssh", "--no-bench")
    with started(place, *job, "--host", sshd.address, "--identity", str(sshd.identity)) as run:
        run.until(lambda e: is_phase(e, "SERVING"))
        said_ready = first(run, lambda e: "startup complete" in str(e.get("lines")))
        verifying = first(run, lambda e: is_phase(e, "VERIFYING"))
        assert verifying["read_at"] - said_ready["read_at"] < 0.5
        tunnel = first(run, lambda e: e["type"] == "tunnel_opened")
        key = Path(tunnel["api_key_file"]).read_text().strip()
        assert processes_naming(key) == []
        assert "4" in ask(tunnel["endpoint"], key)
        with pytest.raises(httpx.HTTPStatusError, match="401"):
            ask(tunnel["endpoint"], "wrong")
        serves_the_official_client(tunnel["endpoint"], key)
        check = first(run, lambda e: e["type"] == "checked" and e["check"]["name"] == "process")
        os.killpg(int(check["check"]["detail"].split()[1]), signal.SIGKILL)
        killed = time.monotonic()
        restarted = run.until(lambda e: e["type"] == "remedy_applied")
        assert restarted["read_at"] - killed < 1.5  # noticed within a second, then diagnosed
        assert restarted["remedy"]["kind"] == "restart"
        run.process.terminate()
        code, end = run.finish()
    assert (code, end["outcome"], end["billing"]) == (8, "cancelled", "none")
