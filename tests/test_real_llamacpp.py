"""llama.cpp for real: the package's server, installed and started as everywhere, with the packaged
model as it is.

A minute or two; run with `pytest -m "real and long" tests/test_real_llamacpp.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from local_processes import processes_naming
from real_support import environment, first, is_phase, started

pytestmark = [pytest.mark.real, pytest.mark.long]

JOB = ("deploy", "smollm2-135m", "--backend", "local", "--engine", "llamacpp")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[dict[str, str]]:
    yield environment(tmp_path)
    assert processes_naming(str(tmp_path)) == []


def test_one_command_serves_verifies_measures_and_gives_back(place: dict[str, str]) -> None:
    with started(place, *JOB, "--bench", "--destroy") as run:
        code, end = run.finish()
    assert (code, end["outcome"], end["billing"]) == (0, "released", "none"), end
    checks = {e["check"]["name"]: e["check"] for e in run.events if e["type"] == "checked"}
    assert "Paris" in checks["inference"]["detail"], checks
    answers = {e["answer"]["category"]: e["answer"] for e in run.events
               if e["type"] == "quality_answered"}  # fmt: skip
    assert answers["knowledge"]["passed"], answers
    (memory,) = [e["memory"] for e in run.events if e["type"] == "memory_compared"]
    assert memory["predicted_sequences"] == pytest.approx(memory["sequences"], rel=0.001), memory
    assert end["benchmark"]["completed"] == 8 and end["benchmark"]["failed"] == 0
    assert not any((Path(place["GDL_DATA_DIR"]) / "local").iterdir())


def test_the_official_client_chats_and_streams_and_needs_the_key(place: dict[str, str]) -> None:
    with started(place, *JOB, "--no-bench", "--concurrency", "2", "--context", "1024") as run:
        run.until(lambda event: is_phase(event, "SERVING"))
        tunnel = first(run, lambda event: event["type"] == "tunnel_opened")
        key = Path(tunnel["api_key_file"]).read_text().strip()
        client = openai.OpenAI(base_url=tunnel["endpoint"], api_key=key)
        asked: Any = {
            "model": "smollm2-135m",
            "messages": [{"role": "user", "content": "Name the capital of France."}],
            "temperature": 0,
            "max_tokens": 16,
        }
        whole = client.chat.completions.create(**asked).choices[0].message.content
        pieces = client.chat.completions.create(**asked, stream=True)
        streamed = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
        assert whole == streamed and "Paris" in streamed
        assert [m.id for m in client.models.list()] == ["smollm2-135m"]
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=tunnel["endpoint"], api_key="wrong").models.list()
        with pytest.raises(openai.BadRequestError, match="exceeds the available context size"):
            client.completions.create(model="smollm2-135m", prompt="word " * 2000, max_tokens=1)
        run.process.terminate()
        code, _ = run.finish()
    assert code in (0, 130, 143)


def test_an_argument_that_it_does_not_know_is_named(place: dict[str, str]) -> None:
    with started(place, *JOB, "--no-bench", "--destroy", "--engine-arg=--no-such") as run:
        code, end = run.finish()
    assert code != 0 and "does not know or take the argument --no-such" in end["error"], end
    (cause,) = [e for e in run.events if e["type"] == "diagnosed"]
    assert cause["rule"] == "llamacpp-argument"
