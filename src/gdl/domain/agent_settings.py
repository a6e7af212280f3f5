"""Settings with which coding agents and proxies use a served model. None of them ever holds the
key: it is read from its file, or from an environment variable where the client can do no better.

Keys and variables as the clients themselves read them in November 2026: Claude Code 2.1.197, Codex
0.171.0, opencode 1.18.33, Cline 3.0.65, LiteLLM 1.110.2.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable

from gdl.domain.client_snippets import Call
from gdl.domain.engine import Capabilities
from gdl.domain.lazy_dataclass import dataclass

KEY_VARIABLE = "VLLM_API_KEY"
"""Holds the endpoint's key for clients that read none from a file. Not OPENAI_API_KEY: what that
holds is somebody's real key, which no rented machine is to see."""
_PROVIDER = "gdl"
_LONGEST_OUTPUT = 32_000
"""Tokens of one answer, what Claude Code asks for by itself; a long file fits into it."""
_OUTPUT_SHARE = 4
"""An answer may fill one in so many of the context, and the rest is for what is asked: vLLM
refuses a request whose prompt and longest answer do not fit together."""
_TASK = 8_000
"""Tokens that a small task takes beside an agent's own prompt: some files read, some answers."""


@dataclass(frozen=True, slots=True)
class Served:
    """What an endpoint tells of itself. context: tokens of prompt and answer together; None: not
    told. can: None where nobody noted what the server was started with. lacks_path: the path that
    the client asks is not there. trouble: why the endpoint could not be asked; "" when it could."""

    context: int | None = None
    can: Capabilities | None = None
    lacks_path: bool = False
    trouble: str = ""

    @property
    def output(self) -> int | None:
        """The most tokens that an answer may be asked to have."""
        return self.context and max(min(_LONGEST_OUTPUT, self.context // _OUTPUT_SHARE), 1)


@dataclass(frozen=True, slots=True)
class Client:
    """settings: what it needs. use: how that is used. path: what it asks. prompt: tokens that its
    own instructions and tools take before anything is asked (measured); 0 for what is no agent."""

    title: str
    path: str
    prompt: int
    settings: Callable[[Call, Served], str]
    use: Callable[[Call], str]

    def warnings(self, served: Served) -> list[str]:
        """What the endpoint cannot do for it, a sentence each."""
        found = []
        if served.lacks_path:
            found.append(f"{self.title} asks {self.path}, which this release of the engine lacks")
        if self.prompt and served.can is not None and not served.can.tools:
            found.append(
                "coding agents need tool calls, and this server was started without: deploy with"
                " --tools a model whose tool calls the engine can read"
            )
        if served.context is None:
            why = f"does not answer ({served.trouble})" if served.trouble else "does not tell it"
            found.append(f"the context is not known, so no limits are set: the endpoint {why}")
        elif self.prompt and served.context < self.prompt + _TASK:
            found.append(
                f"{self.title}'s own prompt takes some {self.prompt:,} tokens, and a request may"
                f" have {served.context:,} in all: deploy with --context {_round(self.prompt)}"
                " or more"
            )
        return found


def _round(prompt: int) -> int:
    """The least context to be advised: a power of two."""
    context = 1024
    while context < prompt + 2 * _TASK:
        context *= 2
    return context


def _claude(call: Call, served: Served) -> str:
    model = shlex.quote(call.model)
    names = ("MODEL", *(f"DEFAULT_{size}_MODEL" for size in ("OPUS", "SONNET", "HAIKU")))
    lines = [
        # It would be sent as well: a real key, to a rented machine.
        "unset ANTHROPIC_API_KEY",
        f"export ANTHROPIC_BASE_URL={shlex.quote(call.root)}",
        f'export ANTHROPIC_AUTH_TOKEN="{call.key_in_shell}"',
        *(f"export ANTHROPIC_{name}={model}" for name in names),
        # Releases before 2.1 know the small and fast model by this name alone.
        f"export ANTHROPIC_SMALL_FAST_MODEL={model}",
        f"export CLAUDE_CODE_SUBAGENT_MODEL={model}",
        # A line that differs in each request, ahead of all that could be in the prefix cache.
        "export CLAUDE_CODE_ATTRIBUTION_HEADER=0",
    ]
    if served.context:
        lines.append(f"export CLAUDE_CODE_MAX_CONTEXT_TOKENS={served.context}")
        lines.append(f"export CLAUDE_CODE_MAX_OUTPUT_TOKENS={served.output}")
    return "\n".join(lines) + "\n"


def _codex(call: Call, served: Served) -> str:
    limit = f"model_context_window = {served.context}\n" if served.context else ""
    return (
        f"model = {_quoted(call.model)}\n"
        f"model_provider = {_quoted(_PROVIDER)}\n"
        f"{limit}"
        # OpenAI runs that itself; no other server can.
        'web_search = "disabled"\n'
        f"\n[model_providers.{_PROVIDER}]\n"
        'name = "gdl-tui"\n'
        f"base_url = {_quoted(call.url)}\n"
        'wire_api = "responses"\n'
        f"env_key = {_quoted(_variable(call))}\n"
        f"env_key_instructions = {_quoted(_export(call))}\n"
    )


def _opencode(call: Call, served: Served) -> str:
    key = f"{{file:{call.key_file}}}"
    # It puts the file's text in before it reads the JSON, and looks for the first brace.
    if not call.key_file or set(call.key_file) & set('}"\\'):
        key = f"{{env:{_variable(call)}}}"
    model: dict[str, object] = {"name": call.model}
    if served.context:
        model["limit"] = {"context": served.context, "output": served.output}
    if served.can is not None:
        model |= {"tool_call": served.can.tools, "reasoning": served.can.reasoning}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "gdl-tui",
        "options": {"baseURL": call.url, "apiKey": key},
        "models": {call.model: model},
    }
    name = f"{_PROVIDER}/{call.model}"
    return _json(
        {
            "$schema": "https://opencode.ai/config.json",
            "model": name,
            "small_model": name,
            "provider": {_PROVIDER: provider},
        }
    )


def _cline(call: Call, served: Served) -> str:
    settings: dict[str, object] = {
        "provider": "openai-compatible",
        "model": call.model,
        "baseUrl": call.url,
    }
    if served.context:
        settings |= {"contextWindow": served.context, "maxTokens": served.output}
    # It asks for a time; when it was is nothing to it.
    entry = {"settings": settings, "updatedAt": "2026-01-01T00:00:00Z", "tokenSource": "manual"}
    return _json(
        {
            "version": 1,
            "lastUsedProvider": "openai-compatible",
            "providers": {"openai-compatible": entry},
        }
    )


def _litellm(call: Call, served: Served) -> str:
    lines = [
        "model_list:",
        f"  - model_name: {_quoted(call.model)}",
        "    litellm_params:",
        f"      model: {_quoted('hosted_vllm/' + call.model)}",
        f"      api_base: {_quoted(call.url)}",
        f"      api_key: os.environ/{_variable(call)}",
        "    model_info:",
        "      mode: chat",
    ]
    if served.context:
        lines.append(f"      max_input_tokens: {served.context}")
        lines.append(f"      max_output_tokens: {served.output}")
    if served.can is not None:
        lines.append(f"      supports_function_calling: {_yaml(served.can.tools)}")
        lines.append(f"      supports_reasoning: {_yaml(served.can.reasoning)}")
    return "\n".join(lines) + "\n"


CLIENTS = {
    "claude": Client(
        "Claude Code",
        "/v1/messages",
        18_000,
        _claude,
        lambda _call: "run `claude` in a shell that has evaluated these lines",
    ),
    "codex": Client(
        "Codex",
        "/v1/responses",
        10_000,
        _codex,
        lambda call: (
            f"save it as ~/.codex/{_PROVIDER}.config.toml, then {_export(call)}"
            f" and `codex --profile {_PROVIDER}`"
        ),
    ),
    "opencode": Client(
        "opencode",
        "/v1/chat/completions",
        7_000,
        _opencode,
        lambda _call: "save it as opencode.json in the project, then `opencode`",
    ),
    "cline": Client(
        "Cline",
        "/v1/chat/completions",
        6_000,
        _cline,
        lambda call: (
            "save it as cline.json, then `CLINE_PROVIDER_SETTINGS_PATH=cline.json"
            f' OPENAI_API_KEY="{call.key_in_shell}" cline`;'
            " in an editor choose OpenAI Compatible and type the same base URL, model id, context"
            " window and key"
        ),
    ),
    "litellm-proxy": Client(
        "LiteLLM",
        "/v1/chat/completions",
        0,
        _litellm,
        lambda call: (
            f"save it as config.yaml, then {_export(call)} and `litellm --config config.yaml`"
        ),
    ),
}
"""By the name of the format."""


def _variable(call: Call) -> str:
    return KEY_VARIABLE if call.key_file else "OPENAI_API_KEY"


def _export(call: Call) -> str:
    return f'export {_variable(call)}="{call.key_in_shell}"'


def _quoted(text: str) -> str:
    """A string as JSON, TOML and YAML write it."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _yaml(value: bool) -> str:
    return "true" if value else "false"
