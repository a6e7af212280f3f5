"""Whether a model calls tools and reasons apart from its answer, and what is said when it does
not: the simulated server answers as vLLM 0.32 does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from gdl.domain.engine import Capabilities
from gdl.domain.health import Check, CheckStatus
from gdl.domain.secret import Secret
from gdl.endpoint.capability_checks import NAMES, run_capability_checks
from gdl.endpoint.client import EndpointClient
from gdl.endpoint.health_checks import run_checks
from gdl.endpoint.protocol import Fault
from gdl.endpoint.ssh_curl import SshCurl
from gdl.endpoint.tool_calls import Message, call_in_words, read_message, wrong_call
from gdl.simulator.programs.vllm_parsers import LOOSE, TEXT, WORDS, Parsers
from local_shell import Shell
from vllm_support import FakeVllm

KEY = Secret("k")
ALL = Capabilities(tools=True, reasoning=True, tool_parser="hermes", reasoning_parser="qwen3")
TOOLS = Capabilities(tools=True, tool_parser="hermes")
REASONING = Capabilities(reasoning=True, reasoning_parser="qwen3")


@pytest.fixture
async def server() -> AsyncIterator[FakeVllm]:
    """Started for tools, by a model that does not reason."""
    async with FakeVllm(api_key="k", parsers=Parsers("hermes", auto=True)) as running:
        yield running


@pytest.fixture
async def thinker() -> AsyncIterator[FakeVllm]:
    """Started for both, by a model that can both."""
    parsers = Parsers("hermes", auto=True, reasoning="qwen3")
    async with FakeVllm(api_key="k", parsers=parsers, thinks="first this, then that") as running:
        running.answers["9.11"] = "9.9"
        yield running


async def checked(server: FakeVllm, can: Capabilities) -> dict[str, Check]:
    client = EndpointClient(server.url, KEY, timeout_s=5)
    try:
        checks = [check async for check in run_capability_checks(client, "tiny", can)]
    finally:
        await client.aclose()
    assert [check.name for check in checks] == [
        name for name in NAMES if (can.reasoning if name == "reasoning" else can.tools)
    ]
    return {check.name: check for check in checks}


async def test_a_model_that_does_what_its_server_was_started_for(thinker: FakeVllm) -> None:
    checks = await checked(thinker, ALL)
    assert {check.status for check in checks.values()} == {CheckStatus.PASSED}
    assert checks["tool_forced"].detail == 'get_weather({"city": "Paris"})'
    assert checks["tool_auto"].detail == 'get_weather({"city": "Paris"})'
    assert checks["reasoning"].detail == '21 characters of reasoning, then "9.9"'
    assert all(check.latency_ms is not None for check in checks.values())
    sent = [request.json for request in thinker.requests]
    assert sorted(str(body.get("tool_choice")) for body in sent) == [
        "None",
        "auto",
        "{'type': 'function', 'function': {'name': 'get_weather'}}",
    ]


async def test_nothing_is_asked_for_that_was_not_promised(server: FakeVllm) -> None:
    assert await checked(server, Capabilities()) == {}
    assert not server.requests


async def test_arguments_that_no_schema_holds(server: FakeVllm) -> None:
    server.tool_habit = LOOSE
    checks = await checked(server, TOOLS)
    forced = checks["tool_forced"]
    assert forced.status is CheckStatus.DEGRADED
    assert forced.detail.startswith("the call's arguments are a list, not an object: '[{")
    assert forced.detail.endswith('; with "strict": true in the tool they are right')


async def test_words_in_place_of_a_call(server: FakeVllm) -> None:
    server.tool_habit = WORDS
    server.default_answer = "The weather in Paris is quite unique."
    checks = await checked(server, TOOLS)
    assert checks["tool_auto"].status is CheckStatus.DEGRADED
    assert checks["tool_auto"].detail == (
        "answered in words, without a call: 'The weather in Paris is quite unique.'"
    )


async def test_a_call_that_the_parser_does_not_recognize(server: FakeVllm) -> None:
    server.tool_habit = TEXT
    checks = await checked(server, TOOLS)
    assert checks["tool_auto"].detail == (
        'the call came as text, not as a call: \'[get_weather({"city": "Paris"})]\'; '
        "the parser hermes does not recognize this model's form"
    )


async def test_all_text_taken_for_reasoning_is_recognized(thinker: FakeVllm) -> None:
    thinker.thinks = ""
    checks = await checked(thinker, ALL)
    assert {check.status for check in checks.values()} == {CheckStatus.DEGRADED}
    assert checks["reasoning"].detail.startswith(
        "all text is reasoning and content is null: this model does not reason as the parser qwen3"
    )
    assert "no call: all that it said is taken for reasoning" in checks["tool_forced"].detail


async def test_reasoning_that_stays_in_the_answer() -> None:
    async with FakeVllm(api_key="k", thinks="first this") as other:
        checks = await checked(other, REASONING)
    assert checks["reasoning"].detail == (
        "the reasoning came in the answer, the parser qwen3 does not recognize it"
    )


async def test_an_answer_without_reasoning_is_asked_for_once_more() -> None:
    async with FakeVllm(api_key="k") as plain:
        plain.answers["9.11"] = "9.9"
        checks = await checked(plain, REASONING)
        assert checks["reasoning"].status is CheckStatus.DEGRADED
        assert checks["reasoning"].detail == 'answered without reasoning: "9.9"'
        again = plain.requests[-1].json["chat_template_kwargs"]
        assert again == {"enable_thinking": True, "thinking": True}


@pytest.mark.parametrize("takes", [True, False])
async def test_a_model_that_reasons_when_it_is_asked_to(takes: bool) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        wanted = "chat_template_kwargs" in json.loads(request.content)
        if wanted and not takes:
            return httpx.Response(400, json={"error": {"message": "not for this tokenizer"}})
        message = {"content": "9.9", "reasoning": "let me see" if wanted else None}
        choice = {"message": message, "finish_reason": "stop"}
        return httpx.Response(200, json={"choices": [choice]})

    client = EndpointClient("http://x", KEY, transport=httpx.MockTransport(handle))
    (check,) = [check async for check in run_capability_checks(client, "tiny", REASONING)]
    await client.aclose()
    told = 'answered without reasoning: "9.9"'
    if takes:
        assert check.status is CheckStatus.PASSED
        assert check.detail == f"reasons when it is asked to (enable_thinking); else {told}"
    else:
        assert (check.status, check.detail) == (CheckStatus.DEGRADED, told)


async def test_reasoning_without_an_end(thinker: FakeVllm) -> None:
    thinker.thinks = " ".join(["hm"] * 3000)
    checks = await checked(thinker, REASONING)
    assert checks["reasoning"].status is CheckStatus.DEGRADED
    assert checks["reasoning"].detail == (
        "no answer within 1,024 tokens: all of it was reasoning, and it had not ended"
    )


@pytest.mark.parametrize(
    ("parsers", "forced", "auto"),
    [
        (Parsers(), "requires --tool-call-parser to be set", "requires --enable-auto-tool-choice"),
        (Parsers("hermes"), "", "requires --enable-auto-tool-choice and --tool-call-parser"),
    ],
)
async def test_a_server_without_the_flags_says_so(parsers: Parsers, forced: str, auto: str) -> None:
    async with FakeVllm(api_key="k", parsers=parsers) as bare:
        checks = await checked(bare, TOOLS)
    assert forced in checks["tool_forced"].detail and auto in checks["tool_auto"].detail
    assert checks["tool_auto"].detail.startswith("HTTP 400: ")
    assert checks["tool_auto"].status is CheckStatus.DEGRADED


async def test_nothing_answers_any_more(server: FakeVllm) -> None:
    server.tool_habit = WORDS
    client = EndpointClient(server.url, KEY, timeout_s=5)
    seen = []
    async for check in run_checks(
        client, model="tiny", runner=None, pid=None, has_gpu=False, can=TOOLS
    ):
        seen.append(check)
        if check.name == "inference":
            # What is asked next is what it dies of.
            server.health_status = 503
    await client.aclose()
    assert [(check.name, check.status) for check in seen[-3:]] == [
        ("tool_forced", CheckStatus.DEGRADED),
        ("tool_auto", CheckStatus.DEGRADED),
        ("health", CheckStatus.FAILED),
    ]


async def test_asked_on_the_machine_it_is_the_same(server: FakeVllm) -> None:
    curl = SshCurl(Shell(), server.port, KEY)
    checks = [check async for check in run_capability_checks(curl, "tiny", TOOLS)]
    assert [check.detail for check in checks] == ['get_weather({"city": "Paris"})'] * 2


def answer(content: object = None, calls: object = None, finish: object = "stop") -> str:
    message = {"role": "assistant", "content": content, "tool_calls": calls, "reasoning": None}
    usage = {"completion_tokens": 7}
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}], "usage": usage})


def call(arguments: object, name: object = "get_weather") -> list[object]:
    return [{"type": "function", "function": {"name": name, "arguments": arguments}}]


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (answer(calls=call('{"city": "Paris"}')), ""),
        (answer(calls=call('{"city": "Paris"', name="get_weather"), finish="length"),
         "the call's arguments are not JSON: '{\"city\": \"Paris\"' (cut at 7 tokens)"),
        (answer(calls=call("3.5")), "the call's arguments are a number, not an object: '3.5'"),
        (answer(calls=call("null")), "the call's arguments are null, not an object: 'null'"),
        (answer(calls=call("true")),
         "the call's arguments are a truth value, not an object: 'true'"),
        (answer(calls=call("")), "the call's arguments are not JSON: ''"),
        (answer(calls=call("[" * 100_000)), "the call's arguments are not JSON"),
        (answer(calls=call("{}")), "the call's arguments lack 'city': '{}'"),
        (answer(calls=call('{"city": 3}')), "the call's 'city' is a number, not a text"),
        (answer(calls=call('{"city": "P", "x\\u001b": 1}')), "an argument that the tool does not"),
        (answer(calls=call("{}", name="rm_rf\x1b[31m")), "it called 'rm_rf"),
        (answer("", finish="length"), "neither a call nor words came back"),
        (answer("<tool", finish="length"), "no call within 7 tokens: '<tool'"),
        (answer(None), "neither a call nor words came back"),
    ],
)  # fmt: skip
def test_what_came_back_is_said(body: str, wrong: str) -> None:
    said = wrong_call(read_message(body))
    assert said.startswith(wrong) if wrong.endswith("JSON") else wrong in said
    assert bool(said) == bool(wrong) and "\x1b" not in said and len(said) < 400


@pytest.mark.parametrize(
    "body",
    ["", "[]", "{}", '{"choices": []}', '{"choices": [1]}', '{"choices": [{"message": 3}]}',
     answer(calls=[3]), answer(calls=[{"function": None}]), "[" * 100_000],
)  # fmt: skip
def test_an_answer_that_is_none(body: str) -> None:
    with pytest.raises(Fault):
        read_message(body)


def test_a_call_in_words_is_one_short_line() -> None:
    message = Message(None, "", (("get_weather", '{"city":\n "' + "x" * 500 + '"}'),), "stop", 1)
    assert len(call_in_words(message)) < 130 and "\n" not in call_in_words(message)
