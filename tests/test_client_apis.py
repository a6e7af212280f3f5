"""Anthropic's API and the API of responses, as the simulated vLLM server speaks them: to the
official clients, with the events and errors that the real one was seen to give."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx
import openai
import pytest

from gdl.simulator.programs.vllm_parsers import Parsers
from vllm_support import FakeVllm

ASKED: list[Any] = [{"role": "user", "content": "What is 2 + 2?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Any = {"name": "get_weather", "description": "the weather", "input_schema": SCHEMA}
FUNCTION: Any = {"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": None}


def server(**changes: Any) -> FakeVllm:
    answers = {"2 + 2": "2 + 2 is 4."}
    return FakeVllm(api_key="k", answers=answers, **changes)


def anthropic_client(fake: FakeVllm, key: str = "k") -> anthropic.AsyncAnthropic:
    http = anthropic.DefaultAsyncHttpxClient(trust_env=False)
    return anthropic.AsyncAnthropic(
        base_url=fake.url, auth_token=key, api_key=None, max_retries=0, http_client=http
    )


def openai_client(fake: FakeVllm) -> openai.AsyncOpenAI:
    http = openai.DefaultAsyncHttpxClient(trust_env=False)
    return openai.AsyncOpenAI(
        base_url=f"{fake.url}/v1", api_key="k", max_retries=0, http_client=http
    )


async def raw_events(fake: FakeVllm, path: str, body: dict[str, Any]) -> list[str]:
    """The names of a stream's events, without those that repeat."""
    async with httpx.AsyncClient(trust_env=False) as http:
        headers = {"Authorization": "Bearer k"}
        answer = await http.post(fake.url + path, json=body | {"stream": True}, headers=headers)
    lines = answer.text.splitlines()
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    said = [json.loads(line[6:])["type"] for line in lines if line.startswith("data: ")]
    assert names == said
    return [name for place, name in enumerate(names) if not place or names[place - 1] != name]


async def test_anthropics_client_gets_messages_whole_and_as_a_stream() -> None:
    async with server() as fake, anthropic_client(fake) as client:
        whole = await client.messages.create(model="tiny", max_tokens=64, messages=ASKED)
        assert [block.type for block in whole.content] == ["text"]
        assert (whole.content[0].text, whole.stop_reason) == ("2 + 2 is 4.", "end_turn")  # type: ignore[union-attr]
        async with client.messages.stream(model="tiny", max_tokens=64, messages=ASKED) as stream:
            assert "".join([text async for text in stream.text_stream]) == "2 + 2 is 4."
            assert (await stream.get_final_message()).usage == whole.usage
        cut = await client.messages.create(model="tiny", max_tokens=2, messages=ASKED)
        assert cut.stop_reason == "max_tokens"
        counted = await client.messages.count_tokens(model="tiny", messages=ASKED)
        assert counted.input_tokens == whole.usage.input_tokens


async def test_anthropics_client_gets_thoughts_and_calls_of_tools() -> None:
    parsers = Parsers("hermes", auto=True, reasoning="qwen3")
    fake = server(parsers=parsers, thinks="a city is named")
    async with fake, anthropic_client(fake) as client:
        asked: Any = {"model": "tiny", "max_tokens": 64, "messages": ASKED, "tools": [TOOL]}
        whole = await client.messages.create(**asked)
        assert [block.type for block in whole.content] == ["thinking", "tool_use"]
        assert whole.stop_reason == "tool_use"
        async with client.messages.stream(**asked) as stream:
            streamed = await stream.get_final_message()
        assert [b.type for b in streamed.content] == ["thinking", "tool_use"]
        assert streamed.content[1].input == whole.content[1].input == {"city": "Paris"}  # type: ignore[union-attr]
        forced = await client.messages.create(
            **asked, tool_choice={"type": "tool", "name": "get_weather"}
        )
        assert forced.stop_reason == "tool_use"


async def test_errors_of_messages_have_anthropics_form() -> None:
    async with server() as fake:
        async with anthropic_client(fake) as client:
            with pytest.raises(anthropic.NotFoundError, match="nope"):
                await client.messages.create(model="nope", max_tokens=1, messages=ASKED)
            with pytest.raises(anthropic.BadRequestError, match="--enable-auto-tool-choice") as no:
                await client.messages.create(
                    model="tiny", max_tokens=1, messages=ASKED, tools=[TOOL]
                )
            assert no.value.body["type"] == "error"  # type: ignore[index]
        async with anthropic_client(fake, key="wrong") as stranger:
            with pytest.raises(anthropic.AuthenticationError):
                await stranger.messages.create(model="tiny", max_tokens=1, messages=ASKED)


async def test_a_stream_of_messages_has_the_events_of_the_real_server() -> None:
    async with server() as fake:
        body = {"model": "tiny", "max_tokens": 64, "messages": ASKED}
        assert await raw_events(fake, "/v1/messages", body) == [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]


async def test_openais_client_gets_responses_whole_and_as_a_stream() -> None:
    async with server() as fake, openai_client(fake) as client:
        whole = await client.responses.create(model="tiny", input="What is 2 + 2?")
        assert (whole.output_text, whole.status) == ("2 + 2 is 4.", "completed")
        stream = await client.responses.create(model="tiny", input=ASKED, stream=True)
        events = [event async for event in stream]
        texts = [e.delta for e in events if e.type == "response.output_text.delta"]
        assert "".join(texts) == "2 + 2 is 4."
        assert [event.sequence_number for event in events] == list(range(len(events)))
        last = events[-1]
        assert last.type == "response.completed" and last.response.output_text == "2 + 2 is 4."
        cut = await client.responses.create(model="tiny", input="2 + 2", max_output_tokens=2)
        assert cut.status == "incomplete"
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(model="nope", input="2 + 2")


async def test_openais_client_gets_thoughts_and_calls_of_tools() -> None:
    parsers = Parsers("hermes", auto=True, reasoning="qwen3")
    fake = server(parsers=parsers, thinks="a city is named")
    async with fake, openai_client(fake) as client:
        # What OpenAI's servers run themselves is passed over.
        asked: Any = {"model": "tiny", "input": ASKED}
        asked["tools"] = [FUNCTION, {"type": "web_search"}]
        whole = await client.responses.create(**asked)
        assert [item.type for item in whole.output] == ["reasoning", "function_call"]
        assert json.loads(whole.output[1].arguments) == {"city": "Paris"}
        *_, last = [event async for event in await client.responses.create(**asked, stream=True)]
        assert last.type == "response.completed"
        assert [item.type for item in last.response.output] == ["reasoning", "function_call"]


async def test_a_stream_of_a_response_has_the_events_of_the_real_server() -> None:
    async with server() as fake:
        body = {"model": "tiny", "input": "What is 2 + 2?"}
        assert await raw_events(fake, "/v1/responses", body) == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
