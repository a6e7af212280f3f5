"""A model's recipe becomes flags: what each release knows, and what the user decides."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from gdl.engines.python.versions import parse
from gdl.engines.registry import get
from gdl.engines.vllm import server_flags
from gdl.engines.vllm.flags import Asked, Flags, choose
from gdl.engines.vllm.recipes import Recipe
from gdl.engines.vllm.server_flags import Kind

QWEN = Recipe(tool_parser="hermes", reasoning_parser="qwen3")
GEMMA = Recipe(
    tool_parser="gemma4",
    reasoning_parser="gemma4",
    chat_template="tool_chat_template_gemma4.jinja",
)
MISTRAL = Recipe(
    tool_parser="mistral",
    arguments=(
        *("--tokenizer-mode", "mistral", "--config-format", "mistral"),
        *("--load-format", "mistral"),
    ),
)


def chosen(
    recipe: Recipe,
    version: str = "0.32.0",
    *users: str,
    others: tuple[str, ...] = (),
    tools: bool = True,
    trust: bool | None = None,
) -> Flags:
    given = server_flags.given(users)
    return choose(Asked(recipe, version, given, others, tools, trust))


def line(flags: Flags) -> str:
    return " ".join(flags.arguments)


def test_tools_and_reasoning_are_on_where_the_model_has_them() -> None:
    flags = chosen(QWEN)
    assert "--enable-auto-tool-choice --tool-call-parser hermes" in line(flags)
    assert "--reasoning-parser qwen3" in line(flags)
    assert flags.capabilities.words == "tools (hermes), reasoning (qwen3)"
    assert flags.notes == ()


def test_a_remedy_that_turns_a_parser_off_says_so() -> None:
    ((flag, left),) = chosen(QWEN).lessened
    rules = tomllib.loads(get("vllm").rules())["rule"]
    assert flag in {rule.get("apply", {}).get("name") for rule in rules}
    assert left.words == "tools (hermes)"
    assert chosen(MISTRAL).lessened == ()


def test_nothing_is_on_for_a_model_of_which_nothing_is_known() -> None:
    flags = chosen(Recipe())
    assert "parser" not in line(flags) and flags.capabilities.words == ""
    assert flags.notes == ()


def test_tools_are_off_when_they_are_not_wanted() -> None:
    flags = chosen(GEMMA, tools=False)
    assert "tool" not in line(flags) and flags.template == ""
    assert flags.capabilities.words == "reasoning (gemma4)"


@pytest.mark.parametrize(
    ("version", "words", "notes"),
    [
        ("0.19.1", "tools (gemma4), reasoning (gemma4)", ()),
        (
            "0.19.0",
            "tools (gemma4), reasoning (gemma4)",
            (
                "omitted --chat-template tool_chat_template_gemma4.jinja: vLLM 0.19.0 does not "
                "know it (0.19.1 is the first that does)",
            ),
        ),
        (
            "0.14.0",
            "",
            (
                "omitted tools (gemma4): vLLM 0.14.0 does not know it (0.19.0 is the first that "
                "does)",
                "omitted reasoning (gemma4): vLLM 0.14.0 does not know it (0.19.0 is the first "
                "that does)",
            ),
        ),
    ],
)
def test_what_a_release_does_not_know_is_omitted_and_said(
    version: str, words: str, notes: tuple[str, ...]
) -> None:
    flags = chosen(GEMMA, version)
    assert (flags.capabilities.words, flags.notes) == (words, notes)


def test_what_a_release_does_not_know_any_more_is_omitted_and_said() -> None:
    flags = chosen(Recipe(arguments=("--guided-decoding-backend", "outlines", "--seed", "1")))
    assert "--seed 1" in line(flags) and "guided" not in line(flags)
    assert flags.notes == (
        "omitted --guided-decoding-backend outlines: vLLM 0.32.0 does not know it any more "
        "(0.10.2 was the last that did)",
    )


def test_flags_of_convenience_are_omitted_without_a_word() -> None:
    convenient = {
        "--disable-access-log-for-endpoints",
        "--sse-keep-alive-interval",
        "--tool-strict-level",
    }
    newest, older = chosen(QWEN), chosen(QWEN, "0.11.0")
    assert convenient <= set(newest.arguments)
    assert not convenient & set(older.arguments) and older.notes == ()


def test_early_releases_switch_reasoning_on_and_have_it_without_tools() -> None:
    deepseek = Recipe(reasoning_parser="deepseek_r1")
    assert "--enable-reasoning --reasoning-parser deepseek_r1" in line(chosen(deepseek, "0.8.5"))
    assert "--enable-reasoning" not in line(chosen(deepseek, "0.9.0"))
    both = Recipe(tool_parser="hermes", reasoning_parser="deepseek_r1")
    assert chosen(both, "0.8.0").capabilities.words == "tools (hermes)"
    assert chosen(both, "0.8.0").notes == (
        "omitted reasoning (deepseek_r1): vLLM 0.8.0 does not have it beside tools",
    )
    assert chosen(both, "0.8.4").capabilities.words == "tools (hermes), reasoning (deepseek_r1)"


@pytest.mark.parametrize(
    "users",
    [
        ("--tool-call-parser", "pythonic"),
        ("--tool-call-parser=pythonic",),
        ("--tool_call_parser=pythonic",),
        ("--tool_call_parser", "pythonic"),
        ("--tool-call", "pythonic"),
        ("--tool-call-pars=pythonic",),
    ],
)
def test_the_users_parser_wins_in_every_spelling(users: tuple[str, ...]) -> None:
    flags = chosen(GEMMA, "0.32.0", *users)
    assert "gemma4" not in flags.capabilities.tool_parser
    assert "--tool-call-parser" not in flags.arguments
    assert "--enable-auto-tool-choice" in flags.arguments
    # The recipe's template is for the recipe's parser.
    assert flags.template == ""
    assert flags.capabilities.words == "tools (pythonic), reasoning (gemma4)"


@pytest.mark.parametrize(
    "off", ["--no-enable-auto-tool-choice", "--no-enable_auto", "--no_enable-auto-tool"]
)
def test_the_user_can_turn_tools_off_by_argument(off: str) -> None:
    flags = chosen(QWEN, "0.32.0", off)
    assert "tool" not in line(flags) and flags.capabilities.words == "reasoning (qwen3)"


def test_the_users_template_reasoning_and_modes_win() -> None:
    flags = chosen(GEMMA, "0.32.0", "--chat-template", "mine.jinja", "--reasoning-parser=")
    assert flags.template == "" and not flags.capabilities.reasoning
    flags = chosen(MISTRAL, "0.32.0", "--tokenizer_mode", "auto")
    assert line(flags).startswith("--config-format mistral --load-format mistral")
    flags = chosen(Recipe(arguments=("--quantization", "fp8")), "0.32.0", "-q", "awq")
    assert "--quantization" not in flags.arguments
    # --tokenizer is a flag of its own, not a short form of --tokenizer-mode.
    flags = chosen(MISTRAL, "0.32.0", "--tokenizer", "other/one")
    assert "--tokenizer-mode mistral" in line(flags)


def test_the_load_asked_for_wins_over_the_recipe() -> None:
    recipe = Recipe(arguments=("--max-model-len", "262144", "--max-num-seqs=256"))
    flags = chosen(recipe, others=("--max-model-len", "--max-num-seqs"))
    assert "262144" not in line(flags) and "256" not in line(flags)


def test_a_model_of_more_than_text_can_serve_text_alone() -> None:
    def words(version: str, *users: str) -> Flags:
        given = server_flags.given(users)
        return choose(Asked(Recipe(), version, given, omitted=("image", "video")))

    assert "--language-model-only" in words("0.32.0").arguments
    assert '--limit-mm-per-prompt {"image": 0, "video": 0}' in line(words("0.16.0"))
    assert words("0.16.0").notes == (
        "omitted --language-model-only: vLLM 0.16.0 does not know it (0.17.0 is the first that "
        "does)",
    )
    assert "--limit-mm-per-prompt image=0,video=0" in line(words("0.8.4"))
    theirs = words("0.32.0", "--limit_mm_per_prompt.image=1")
    assert "only" not in line(theirs) and theirs.notes == ()


def test_a_file_of_the_users_decides_alone() -> None:
    flags = chosen(GEMMA, "0.32.0", "--config", "mine.yaml")
    assert flags.arguments == () and flags.template == ""
    assert flags.notes == (
        "tools, reasoning and the model's own flags are left to your --config file",
    )


def test_the_models_own_code_runs_only_when_it_was_allowed() -> None:
    recipe = Recipe(trust_remote_code=True, arguments=("--trust-remote-code", "--seed", "1"))
    assert "--trust-remote-code" not in chosen(recipe).arguments
    assert chosen(recipe, trust=False).notes[0].startswith("omitted --trust-remote-code: running")
    allowed = chosen(recipe, trust=True)
    assert allowed.arguments.count("--trust-remote-code") == 1 and allowed.notes == ()
    assert allowed.capabilities.remote_code
    theirs = chosen(recipe, "0.32.0", "--trust_remote_code")
    assert "--trust-remote-code" not in theirs.arguments and theirs.notes == ()


def test_words_of_a_command_line_by_their_full_names() -> None:
    words = ("--max_model_len=5", "-tp", "2", "-q8", "--no-enable_prefix-caching", "--seed", "-1")
    assert server_flags.given(words) == {
        "--max-model-len": "5",
        "--tensor-parallel-size": "2",
        "--quantization": "8",
        "--enable-prefix-caching": "no",
        "--seed": "-1",
    }
    assert server_flags.given(("--compilation-config.level", "3", "-cc.mode=1")) == {
        "--compilation-config": "1"
    }
    assert "--max-model-len" in server_flags.given(("--max-model", "9"))
    assert server_flags.given(("--what-is-this",)) == {"--what-is-this": ""}


def test_the_table_says_what_the_wheels_say() -> None:
    told = json.loads((Path(__file__).parent / "data" / "vllm-releases.json").read_text())
    kinds: tuple[tuple[str, Kind], ...] = (
        ("flags", "flag"),
        ("tool_parsers", "tool_parser"),
        ("reasoning_parsers", "reasoning_parser"),
    )
    different = [
        (kind, name, version)
        for table, kind in kinds
        for name, spans in told[table].items()
        for version in told["releases"]
        if server_flags.knows(kind, name, version) != _within(version, spans)
    ]
    assert different == []
    ((first, _),) = told["max_model_len_auto"]["auto"]
    assert server_flags.span("value", "--max-model-len auto") == (first, "")


def _within(version: str, spans: list[tuple[str, str | None]]) -> bool:
    return any(
        parse(first) <= parse(version) and (last is None or parse(version) <= parse(last))
        for first, last in spans
    )


def test_a_release_between_two_of_the_table_has_what_the_older_one_has() -> None:
    assert server_flags.knows("tool_parser", "gemma4", "0.19.2")
    assert server_flags.knows("flag", "--tokenizer-mode", "0.4.0")
    assert server_flags.knows("flag", "--tokenizer-mode", "0.99.0")
    assert not server_flags.knows("tool_parser", "glm4_moe", "0.10.1.1")
    assert server_flags.knows("tool_parser", "glm4_moe", "0.10.0")
    assert not server_flags.knows("flag", "--what-is-this", "0.32.0")
