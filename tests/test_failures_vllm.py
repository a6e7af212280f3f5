"""The real vLLM, broken on purpose: its log says what was broken, and what helps.

Run with `pytest -m 'real and long' -n 0 tests/test_failures_*.py`; each start takes half a minute.
"""

from __future__ import annotations

import os

import httpx
import pytest

from real_vllm import SERVES, SHARD, Vllm

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(900)]


# -- the model's files ----------------------------------------------------------------------------


def test_a_shard_that_is_cut_off(vllm: Vllm) -> None:
    os.truncate(vllm.model / SHARD, (vllm.model / SHARD).stat().st_size // 2)
    vllm.fails().says("corrupt-weights", cause="cut off or corrupt", remedy="download")


def test_a_shard_that_is_missing(vllm: Vllm) -> None:
    (vllm.model / SHARD).unlink()
    vllm.fails().says(
        "weights-missing",
        "weights-not-initialized",
        "no-weights",
        cause="incomplete|missing|no weights",
    )


def test_weights_that_are_only_a_pointer(vllm: Vllm) -> None:
    (vllm.model / SHARD).write_text(
        "version https://git-lfs.github.com/spec/v1\n"
        "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\n"
        "size 435656\n"
    )
    vllm.fails().says("corrupt-weights", cause="corrupt", remedy="git lfs pull")


def test_no_tokenizer(vllm: Vllm) -> None:
    for path in vllm.model.glob("tokenizer*"):
        path.unlink()
    vllm.fails().says("tokenizer-missing", cause="tokenizer", remedy="tokenizer")


def test_a_tokenizer_that_is_cut_off(vllm: Vllm) -> None:
    os.truncate(vllm.model / "tokenizer.json", 2000)
    vllm.fails().says("tokenizer-no-json", cause="tokenizer.* cut off")


def test_a_configuration_that_is_no_json(vllm: Vllm) -> None:
    os.truncate(vllm.model / "config.json", 200)
    vllm.fails().says("model-file-no-json", cause=r"config\.json")


def test_an_unknown_architecture(vllm: Vllm) -> None:
    vllm.config(architectures=["ZebraForCausalLM"])
    vllm.fails().says("unknown-architecture", cause="too old|does not know", remedy="newer|other")


def test_a_model_with_code_of_its_own(vllm: Vllm) -> None:
    vllm.config(
        model_type="zebra",
        auto_map={
            "AutoConfig": "configuration_zebra.ZebraConfig",
            "AutoModelForCausalLM": "modeling_zebra.ZebraForCausalLM",
        },
    )
    (vllm.model / "configuration_zebra.py").write_text(
        "from transformers import LlamaConfig\n\n\nclass ZebraConfig(LlamaConfig):\n"
        '    model_type = "zebra"\n'
    )
    vllm.fails().says("trust-remote-code", cause="own code", remedy="trust-remote-code")


# -- options --------------------------------------------------------------------------------------


def test_a_context_that_is_too_long(vllm: Vllm) -> None:
    told = vllm.fails("--max-model-len", "20000")
    told.says("context-too-long", cause="longer than the model's own", action="flag")
    assert told.action["value"] == "2048"


def test_a_cache_too_small_for_one_request(vllm: Vllm) -> None:
    told = vllm.fails("--num-gpu-blocks-override", "4")
    told.says("context-does-not-fit", cause="one request of the full context")


def test_a_cache_larger_than_the_machine(vllm: Vllm) -> None:
    told = vllm.fails(VLLM_CPU_KVCACHE_SPACE="900")
    told.says("cpu-cache-memory", remedy="VLLM_CPU_KVCACHE_SPACE")


def test_a_tool_parser_that_does_not_exist(vllm: Vllm) -> None:
    told = vllm.fails("--enable-auto-tool-choice", "--tool-call-parser", "hermess")
    told.says("unknown-tool-parser", cause="hermess", remedy="hermes")
    assert told.action["value"] == "hermes"


def test_automatic_tools_without_a_parser(vllm: Vllm) -> None:
    told = vllm.fails("--enable-auto-tool-choice")
    told.says("tool-parser-missing", remedy="--tool-call-parser")


def test_a_reasoning_parser_that_does_not_exist(vllm: Vllm) -> None:
    told = vllm.fails("--reasoning-parser", "deepseek")
    told.says("unknown-reasoning-parser", cause="deepseek", remedy="deepseek_")


def test_a_chat_template_that_is_not_there(vllm: Vllm) -> None:
    told = vllm.fails("--chat-template", vllm.folder / "template.jinja")
    told.says("chat-template-file", cause="does not exist")


def test_a_chat_template_with_a_mistake(vllm: Vllm) -> None:
    """The server starts with it all the same, and every request fails."""
    (vllm.folder / "template.jinja").write_text(
        "{% for m in messages %}{% if m.role %}{{ m.content }\n{% endfor %}"
    )
    with vllm.serving("--chat-template", vllm.folder / "template.jinja") as server:
        server.until(SERVES)
        assert asked(vllm) == 400
        told = server.so_far()
    told.says("chat-template-broken", cause="mistake")


def asked(vllm: Vllm, text: str = "hello") -> int:
    """The status of a chat request."""
    answer = httpx.post(
        f"http://127.0.0.1:{vllm.port}/v1/chat/completions",
        json={"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 1},
        timeout=60,
        trust_env=False,
    )
    return answer.status_code


def test_an_option_that_does_not_exist(vllm: Vllm) -> None:
    vllm.fails("--max-model-length-of-all", "4").says(
        "bad-argument", cause="--max-model-length-of-all"
    )


def test_a_value_that_is_no_number(vllm: Vllm) -> None:
    vllm.fails("--max-num-seqs", "many").says("bad-argument", cause="max-num-seqs")


def test_a_value_that_is_no_json(vllm: Vllm) -> None:
    told = vllm.fails("--speculative-config", "{'method': 'ngram'}")
    told.says("argument-no-json", cause="speculative-config", remedy="JSON|quotes")


def test_a_quantization_that_does_not_exist(vllm: Vllm) -> None:
    told = vllm.fails("--quantization", "awq5")
    told.says("unknown-quantization", cause="awq5")


def test_more_ranks_than_divide_the_heads(vllm: Vllm) -> None:
    told = vllm.fails("--tensor-parallel-size", "3")
    told.says("tensor-parallel", cause="heads", action="flag")
    assert told.action["value"] in ("2", "1")
