"""Settings for coding agents and proxies: each is read by a real parser, whatever it names, and
none of them holds the key."""

from __future__ import annotations

import json
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from gdl.domain.agent_settings import CLIENTS, KEY_VARIABLE, Served
from gdl.domain.client_snippets import Call
from gdl.domain.engine import Capabilities

HOSTILE = 'org/it\'s; touch pwned; $(x) `y` "z" \\ \x7f é # {env:A} - !'
SERVED = Served(131_072, Capabilities(tools=True, reasoning=True, tool_parser="hermes"))


@pytest.fixture
def call(tmp_path: Path) -> Call:
    key_file = tmp_path / "it's a key.api"
    key_file.write_text("gdl-secret\n")
    return Call("http://127.0.0.1:1/v1", HOSTILE, str(key_file))


def settings(form: str, call: Call, served: Served = SERVED) -> str:
    return CLIENTS[form].settings(call, served)


def in_shell(script: str, folder: Path) -> dict[str, str]:
    """The environment after `script`, in a shell that knew a key of somebody's own before."""
    done = subprocess.run(
        ["sh", "-c", f"export ANTHROPIC_API_KEY=real\n{script}\nenv -0"],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    assert not (folder / "pwned").exists()
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)


@pytest.mark.parametrize("form", CLIENTS)
def test_no_settings_hold_the_key(form: str, call: Call) -> None:
    client = CLIENTS[form]
    assert "gdl-secret" not in client.settings(call, SERVED) + client.use(call)
    assert client.warnings(SERVED) == []


def test_claude_code_is_told_models_limits_and_the_way_to_the_key(
    call: Call, tmp_path: Path
) -> None:
    told = in_shell(settings("claude", call), tmp_path)
    assert told["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:1"  # it adds /v1/messages
    assert told["ANTHROPIC_AUTH_TOKEN"] == "gdl-secret"
    assert "ANTHROPIC_API_KEY" not in told  # it would be sent to the machine as well
    names = ("MODEL", "DEFAULT_OPUS_MODEL", "DEFAULT_SONNET_MODEL", "DEFAULT_HAIKU_MODEL")
    assert {told[f"ANTHROPIC_{name}"] for name in (*names, "SMALL_FAST_MODEL")} == {HOSTILE}
    assert told["CLAUDE_CODE_SUBAGENT_MODEL"] == HOSTILE
    assert told["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] == "131072"
    assert told["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == "32000"


def test_codex_gets_a_profile_with_a_provider(call: Call, tmp_path: Path) -> None:
    read = tomllib.loads(settings("codex", call))
    assert (read["model"], read["model_provider"]) == (HOSTILE, "gdl")
    assert read["model_context_window"] == 131_072
    provider = read["model_providers"]["gdl"]
    assert (provider["base_url"], provider["wire_api"]) == (call.url, "responses")
    assert provider["env_key"] == KEY_VARIABLE
    # What it says where the variable is missing is what sets it.
    assert in_shell(provider["env_key_instructions"], tmp_path)[KEY_VARIABLE] == "gdl-secret"


def test_opencode_reads_the_key_from_its_file(call: Call) -> None:
    read = json.loads(settings("opencode", call))
    provider = read["provider"]["gdl"]
    assert provider["npm"] == "@ai-sdk/openai-compatible"
    assert provider["options"] == {"baseURL": call.url, "apiKey": f"{{file:{call.key_file}}}"}
    assert read["model"] == read["small_model"] == f"gdl/{HOSTILE}"
    model = provider["models"][HOSTILE]
    assert model["limit"] == {"context": 131_072, "output": 32_000}
    assert (model["tool_call"], model["reasoning"]) == (True, True)
    odd = json.loads(settings("opencode", replace(call, key_file="/a}b")))
    assert odd["provider"]["gdl"]["options"]["apiKey"] == f"{{env:{KEY_VARIABLE}}}"


def test_cline_gets_a_file_of_providers_without_a_key(call: Call) -> None:
    read = json.loads(settings("cline", call))
    assert read["lastUsedProvider"] == "openai-compatible"
    told = read["providers"]["openai-compatible"]["settings"]
    assert (told["model"], told["baseUrl"]) == (HOSTILE, call.url)
    assert (told["contextWindow"], told["maxTokens"]) == (131_072, 32_000)
    assert "apiKey" not in told and call.key_file in CLIENTS["cline"].use(call).replace(
        "'\"'\"'", "'"
    )


def test_the_proxy_of_litellm_gets_a_list_of_models(call: Call) -> None:
    (entry,) = yaml.safe_load(settings("litellm-proxy", call))["model_list"]
    assert entry["model_name"] == HOSTILE
    assert entry["litellm_params"] == {
        "model": f"hosted_vllm/{HOSTILE}",
        "api_base": call.url,
        "api_key": f"os.environ/{KEY_VARIABLE}",
    }
    assert entry["model_info"] == {
        "mode": "chat",
        "max_input_tokens": 131_072,
        "max_output_tokens": 32_000,
        "supports_function_calling": True,
        "supports_reasoning": True,
    }


@pytest.mark.parametrize("form", CLIENTS)
def test_what_is_not_known_is_not_claimed(form: str, call: Call) -> None:
    text = settings(form, call, Served())
    assert not any(word in text for word in ("ontext", "CONTEXT", "utput", "tool", "reasoning"))
    (warning,) = CLIENTS[form].warnings(Served(trouble="connection refused"))
    assert "no limits are set" in warning and "connection refused" in warning


def test_an_answer_may_fill_a_quarter_of_a_short_context(call: Call) -> None:
    read: dict[str, Any] = json.loads(settings("opencode", call, replace(SERVED, context=16_384)))
    limit = read["provider"]["gdl"]["models"][HOSTILE]["limit"]
    assert limit == {"context": 16_384, "output": 4_096}


@pytest.mark.parametrize("form", ["claude", "codex", "opencode", "cline"])
def test_an_agent_is_told_what_the_server_cannot_do(form: str) -> None:
    client = CLIENTS[form]
    (tools,) = client.warnings(replace(SERVED, can=Capabilities()))
    assert "tool calls" in tools and "--tools" in tools
    (short,) = client.warnings(replace(SERVED, context=8_192))
    assert f"{client.prompt:,} tokens" in short and "8,192" in short and "--context" in short
    (path,) = client.warnings(replace(SERVED, lacks_path=True))
    assert client.path in path


def test_a_proxy_needs_neither_tools_nor_a_long_context() -> None:
    assert CLIENTS["litellm-proxy"].warnings(Served(2_048, Capabilities())) == []
