"""What a model thinks before it answers is read wherever its answer is: `reasoning` of today's
servers, `reasoning_content` of older ones, or both at once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from gdl.domain.benchmark import BenchLoad, QualityAnswer
from gdl.domain.chat import ChatDone, ChatMessage, ChatPiece
from gdl.domain.health import CheckStatus
from gdl.domain.secret import Secret
from gdl.endpoint.client import EndpointClient
from gdl.endpoint.health_checks import run_checks
from gdl.endpoint.protocol import ChunkReader, whole_answer
from gdl.endpoint.ssh_curl import SshCurl
from gdl.loadgen.decode import decode
from gdl.loadgen.deployment_benchmark import run_bench
from gdl.loadgen.exchange import Exchange
from gdl.orchestrator.endpoint.chat import talk
from gdl.simulator.programs.vllm_parsers import Parsers
from local_shell import Shell
from vllm_support import FakeVllm

KEY = Secret("k")
NAMES = ("reasoning", "reasoning_content")


@pytest.fixture
async def thinker() -> AsyncIterator[FakeVllm]:
    parsers = Parsers(reasoning="qwen3")
    async with FakeVllm(api_key="k", parsers=parsers, thinks="let me see then") as running:
        running.default_answer = "It is Paris."
        yield running


@pytest.fixture
async def client(thinker: FakeVllm) -> AsyncIterator[EndpointClient]:
    opened = EndpointClient(thinker.url, KEY, timeout_s=5)
    yield opened
    await opened.aclose()


async def test_a_stream_and_its_time_to_the_first_token(
    thinker: FakeVllm, client: EndpointClient
) -> None:
    thinker.token_delay_s = 0.02
    thoughts: list[str] = []
    result = await client.chat_stream("tiny", "Where?", max_tokens=20, on_reasoning=thoughts.append)
    assert (result.reasoning, result.text) == ("let me see then", "It is Paris.")
    assert "".join(thoughts) == result.reasoning and result.output_tokens == 7
    # The first token is the first thought: the answer comes four tokens later.
    assert result.ttft_ms is not None and result.ttft_ms + 60 < result.e2el_ms


@pytest.mark.parametrize("names", [*[(name,) for name in NAMES], NAMES])
def test_by_either_name_and_by_both_it_is_read_once(names: tuple[str, ...]) -> None:
    reader = ChunkReader(0.0)
    for text in ("let ", "me see"):
        delta = dict.fromkeys(names, text) | {"content": None}
        reader.feed(json.dumps({"choices": [{"delta": delta}]}), 1.0)
    reader.feed(json.dumps({"choices": [{"delta": {"content": "Paris"}}]}), 2.0)
    reader.feed("[DONE]", 3.0)
    result = reader.result(3.0)
    assert (result.reasoning, result.text, result.ttft_ms) == ("let me see", "Paris", 1000.0)
    message = {"role": "assistant", "content": None} | dict.fromkeys(names, "let me see")
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]})
    assert whole_answer(body, 1.0).answer == "let me see"


@pytest.mark.parametrize("names", [*[(name,) for name in NAMES], NAMES])
def test_samples_of_the_load_generator_hold_it(names: tuple[str, ...]) -> None:
    deltas = [dict.fromkeys(names, "let me "), dict.fromkeys(names, "see: "), {"content": "Paris"}]
    exchange = Exchange(0)
    exchange.status, exchange.sent = 200, 1.0
    for at, delta in enumerate(deltas, 2):
        text = f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n"
        exchange.pieces.append(text.encode())
        exchange.times.append(float(at))
        exchange.counts.append(len(exchange.pieces))
    exchange.pieces.append(b"data: [DONE]\n\n")
    exchange.times.append(5.0)
    exchange.counts.append(len(exchange.pieces))
    sample = decode(exchange, KEY, with_text=True)
    assert (sample.error, sample.text) == ("", "let me see: Paris")
    # As `vllm bench serve` counts: a chunk with choices, whatever it holds, is a token's.
    assert (sample.ttft, sample.latency, len(sample.itls)) == (1.0, 3.0, 2)


@pytest.mark.parametrize("by_commands", [False, True])
async def test_the_chat_shows_it_apart_from_the_answer(
    thinker: FakeVllm, client: EndpointClient, by_commands: bool
) -> None:
    way = SshCurl(Shell(), thinker.port, KEY) if by_commands else client
    said = {True: "", False: ""}
    async with aclosing(talk(way, "tiny", [ChatMessage("user", "Where?")])) as parts:
        async for part in parts:
            match part:
                case ChatPiece(text, reasoning=reasoning):
                    assert not (reasoning and said[False]), "it comes before the answer"
                    said[reasoning] += text
                case ChatDone():
                    assert part.error == ""
    assert said == {True: "let me see then", False: "It is Paris."}


async def test_an_answer_that_did_not_get_beyond_it_is_an_answer(
    thinker: FakeVllm, client: EndpointClient
) -> None:
    thinker.thinks = " ".join(["hm"] * 400)
    checks = [
        check
        async for check in run_checks(client, model="tiny", runner=None, pid=None, has_gpu=False)
    ]
    assert checks[-1].status is CheckStatus.PASSED
    assert checks[-1].detail.endswith("24 tokens (reasoning so far)")


async def test_a_model_that_thinks_gets_the_tokens_for_its_quality_answers(
    thinker: FakeVllm, client: EndpointClient
) -> None:
    thinker.thinks = " ".join(["hm"] * 100)
    answers: list[QualityAnswer] = []
    await run_bench(
        client,
        "tiny",
        key=KEY,
        price_per_hour=0.1,
        on_answer=answers.append,
        on_progress=lambda *_: None,
        load=BenchLoad(1, 1, 8),
    )
    assert {answer.answer for answer in answers} == {"It is Paris."}
    assert [answer.passed for answer in answers] == [False, False, True, False, False]
