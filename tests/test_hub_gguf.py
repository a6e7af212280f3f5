"""GGUF repositories: which file is meant, and what its own header says."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdl.domain.errors import ModelRefused
from gdl.domain.model_facts import RepoFile
from gdl.domain.servability import ModelKind, judge
from gdl.hub import gguf_header
from gdl.hub.gguf_config import config_of
from gdl.hub.gguf_files import GgufVariant, meant, variants
from gdl.hub.gguf_header import HeaderError, NeedMore, read
from hub_server import (
    LLAMA_HEADER,
    HubFile,
    Repository,
    Running,
    SimulatedHub,
    gguf,
    running_hub,
    text_model,
)

REPOSITORY = "acme/SmolLM2-GGUF"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Running]:
    files = {
        "SmolLM2-Q4_K_M.gguf": gguf(LLAMA_HEADER, 105_000_000),
        "SmolLM2-Q8_0.gguf": gguf(LLAMA_HEADER | {"general.file_type": 7}, 145_000_000),
        "mmproj-SmolLM2-F16.gguf": gguf({}, 1_000),
        "BF16/SmolLM2-BF16-00001-of-00002.gguf": gguf(LLAMA_HEADER, 200_000_000),
        "BF16/SmolLM2-BF16-00002-of-00002.gguf": gguf({}, 70_000_000),
        "Q2_K/SmolLM2-Q2_K-00001-of-00002.gguf": gguf(LLAMA_HEADER, 60_000_000),
    }
    info = {"gguf": {"architecture": "llama", "chat_template": "{{ x }}"}, "library_name": "gguf"}
    async with running_hub(SimulatedHub.of([Repository(REPOSITORY, files, info)]), tmp_path) as it:
        yield it


async def test_the_quantization_that_is_named_is_the_one(hub: Running) -> None:
    facts = await hub.facts(f"{REPOSITORY}:q8_0")
    assert facts.gguf is not None
    assert facts.gguf.paths == ("SmolLM2-Q8_0.gguf",)
    assert (facts.gguf.quantization, facts.gguf.architecture) == ("Q8_0", "llama")
    assert facts.gguf.metadata["llama.block_count"] == 30
    assert facts.weights_bytes == facts.gguf.size_bytes == 145_000_000
    assert facts.chat_template == "{{ x }}"
    assert facts.config == {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": 30,
        "hidden_size": 576,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
    }
    assert judge(facts).servable
    # The header alone was read, and from where the hub keeps its large files.
    assert [each.range for each in hub.hub.asked if "/cdn/" in each.path] == ["bytes=0-262143"]


async def test_a_split_file_counts_as_one(hub: Running) -> None:
    facts = await hub.facts(f"{REPOSITORY}:BF16")
    assert facts.gguf is not None
    assert [path.rpartition("-")[2] for path in facts.gguf.paths] == ["00002.gguf", "00002.gguf"]
    assert facts.weights_bytes == 270_000_000


async def test_without_a_name_the_user_is_asked_to_choose(hub: Running) -> None:
    facts = await hub.facts(REPOSITORY)
    refused = judge(facts)
    assert refused.kind is ModelKind.CHOICE
    assert refused.what == f"{REPOSITORY} holds 3 GGUF quantizations, and none is named"
    assert refused.helps == f"name one, such as {REPOSITORY}:Q4_K_M (others: Q8_0, BF16)"


async def test_a_quantization_that_is_not_there_is_said(hub: Running) -> None:
    with pytest.raises(ModelRefused, match="no GGUF file of the quantization Q6_K") as caught:
        await hub.facts(f"{REPOSITORY}:Q6_K")
    assert caught.value.hint == "it has Q4_K_M, Q8_0, BF16"
    with pytest.raises(ModelRefused, match="lacks parts of its Q2_K files"):
        await hub.facts(f"{REPOSITORY}:Q2_K")


async def test_the_only_one_needs_no_name_beside_nothing_else(hub: Running) -> None:
    hub.hub.add(Repository("acme/one", {"model.gguf": gguf(LLAMA_HEADER, 9_000_000)}))
    facts = await hub.facts("acme/one")
    assert facts.gguf is not None
    assert facts.gguf.quantization == "Q4_K_M", "by the header, where the name does not tell"

    both = text_model("acme/both", more={"model-Q4_0.gguf": gguf(LLAMA_HEADER, 9_000_000)})
    hub.hub.add(both)
    facts = await hub.facts("acme/both")
    assert facts.gguf is None
    assert "it holds GGUF files, too" in judge(facts).notes[0]


async def test_a_header_for_those_with_access_is_withheld(hub: Running) -> None:
    file = gguf(LLAMA_HEADER, 9_000_000)
    hub.hub.add(Repository("acme/gated", {"model-Q4_0.gguf": file}, gated="auto"))
    facts = await hub.facts("acme/gated")
    assert (facts.gguf, facts.withheld) == (None, ("model-Q4_0.gguf",))
    assert judge(facts).kind is ModelKind.GATED


async def test_a_file_that_is_none_is_said(hub: Running) -> None:
    for content in (b"PK\3\4", b"GGUF\1\0\0\0", b"GGUF\3\0\0\0" + b"\xff" * 16, b"GGUF"):
        file = HubFile(content, large=True)
        hub.hub.add(Repository("acme/none", {"model-Q4_0.gguf": file}))
        with pytest.raises(ModelRefused, match="acme/none: the GGUF file"):
            await hub.facts("acme/none")


async def test_a_long_vocabulary_is_not_read(hub: Running) -> None:
    """The shape comes before it, and that is enough."""
    head = gguf(LLAMA_HEADER, 0).head
    count = len(LLAMA_HEADER) + 1
    head = head[:16] + struct.pack("<Q", count) + head[24:]
    key = b"tokenizer.ggml.model"
    vocabulary = b"tokenizer.ggml.tokens"
    long = struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, 4) + b"gpt2"
    long += struct.pack("<Q", len(vocabulary)) + vocabulary + struct.pack("<IIQ", 9, 8, 400_000)
    long += (struct.pack("<Q", 5) + b"token") * 400_000
    head = head[:16] + struct.pack("<Q", count + 1) + head[24:] + long
    file = HubFile(head, 100_000_000, large=True)
    hub.hub.add(Repository("acme/long", {"model-Q4_0.gguf": file}))
    facts = await hub.facts("acme/long")
    assert facts.gguf is not None
    assert (facts.gguf.metadata["llama.block_count"], facts.gguf.tensor_bytes) == (30, 0)
    assert facts.config["vocab_size"] == 400_000
    assert [each.range for each in hub.hub.asked if "/cdn/" in each.path] == ["bytes=0-262143"]


# -- files ---------------------------------------------------------------------------------------


def test_names_of_files_tell_quantizations() -> None:
    names = {
        "Llama-3.2-1B-Instruct-Q4_K_M.gguf": "Q4_K_M",
        "qwen2.5-0.5b-instruct-q5_0.gguf": "Q5_0",
        "UD-Q2_K_XL/DeepSeek-V3-UD-Q2_K_XL-00001-of-00001.gguf": "UD-Q2_K_XL",
        "model-IQ2_XXS.gguf": "IQ2_XXS",
        "gpt-oss-20b-mxfp4.gguf": "MXFP4",
        "gemma-3-4b-it-f16.gguf": "F16",
        "Q8_0/whatever.gguf": "Q8_0",
        "ggml-model.gguf": "ggml-model",
    }
    for path, quantization in names.items():
        assert variants([RepoFile(path, 1)])[0].quantization == quantization


def test_what_is_named_is_found_in_any_case() -> None:
    files = [RepoFile("a-Q4_K_M.gguf", 2), RepoFile("a-UD-Q3_K_XL.gguf", 1)]
    found = variants(files)
    assert [each.quantization for each in found] == ["UD-Q3_K_XL", "Q4_K_M"]
    by_name = {name: meant(found, name) for name in ("q4_k_m", "a-Q4_K_M", "Q3_K_XL", "Q8_0", "")}
    paths = {name: each.paths[0] if each else None for name, each in by_name.items()}
    assert paths == {
        "q4_k_m": "a-Q4_K_M.gguf",
        "a-Q4_K_M": "a-Q4_K_M.gguf",
        "Q3_K_XL": "a-UD-Q3_K_XL.gguf",
        "Q8_0": None,
        "": None,
    }
    assert meant(found[:1], "") == GgufVariant("UD-Q3_K_XL", ("a-UD-Q3_K_XL.gguf",), 1)


def test_of_an_architecture_that_is_not_plain_nothing_is_concluded() -> None:
    header = dict(LLAMA_HEADER)
    assert config_of(header)["num_hidden_layers"] == 30
    for wrong in (
        {"general.architecture": "deepseek2"},
        {"general.architecture": 7},
        {"llama.attention.head_count": [9, 9, 3]},
        {"llama.block_count": 0},
        {"llama.block_count": True},
    ):
        assert config_of({**header, **wrong}) == {}


# -- headers -------------------------------------------------------------------------------------


def whole_header() -> bytes:
    """Version 3, every type of value, two tensors."""

    def text(value: bytes) -> bytes:
        return struct.pack("<Q", len(value)) + value

    pairs = [
        (b"general.architecture", struct.pack("<I", 8) + text(b"llama")),
        (b"llama.rope.freq_base", struct.pack("<If", 6, 10000.0)),
        (b"general.truth", struct.pack("<I?", 7, True)),
        (b"llama.block_count", struct.pack("<II", 4, 2)),
        (b"wide", struct.pack("<Iq", 11, -7)),
        (b"heads", struct.pack("<IIQ3i", 9, 5, 3, 8, 4, 8)),
        (b"names", struct.pack("<IIQ", 9, 8, 2) + text(b"a") + text(b"b")),
        (b"long", struct.pack("<IIQ", 9, 0, 5000) + bytes(5000)),
    ]
    data = b"GGUF" + struct.pack("<IQQ", 3, 2, len(pairs))
    data += b"".join(text(key) + value for key, value in pairs)
    data += text(b"a.weight") + struct.pack("<IQQIQ", 2, 256, 4, 12, 0)
    return data + text(b"b.weight") + struct.pack("<IQIQ", 1, 64, 0, 576)


def test_a_header_is_read_to_its_end() -> None:
    header = read(whole_header())
    assert header.metadata == {
        "general.architecture": "llama",
        "llama.rope.freq_base": 10000.0,
        "general.truth": True,
        "llama.block_count": 2,
        "wide": -7,
        "heads": [8, 4, 8],
        "names": ["a", "b"],
        "long.length": 5000,
    }
    # 1024 numbers in 4 blocks of Q4_K (144 bytes each), and 64 of 4 bytes.
    assert (header.tensor_bytes, header.parameters, header.whole) == (4 * 144 + 256, 1088, True)


def test_a_part_of_a_header_says_how_much_is_missing() -> None:
    data = whole_header()
    for size in range(24, len(data)):
        with pytest.raises(NeedMore) as caught:
            read(data[:size])
        assert size < caught.value.size <= len(data)
        partial = read(data[:size], enough=True)
        assert partial.metadata.items() <= read(data).metadata.items()
        assert not partial.whole


@given(st.binary(max_size=300), st.integers(0, 400))
def test_whatever_the_bytes_are_nothing_else_is_raised(data: bytes, at: int) -> None:
    good = whole_header()
    for content in (data, b"GGUF" + data, good[:at] + data + good[at + len(data) :]):
        try:
            read(content)
        except (HeaderError, NeedMore):
            continue


def test_counts_without_measure_are_refused() -> None:
    for count in (10**6, 2**63):
        with pytest.raises(HeaderError):
            read(b"GGUF" + struct.pack("<IQQ", 3, 0, count))
        with pytest.raises(HeaderError):
            read(b"GGUF" + struct.pack("<IQQ", 3, count, 0))
    nested = b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 9)
    with pytest.raises(HeaderError, match="a list of"):
        read(nested + struct.pack("<IQ", 9, 1) * 50)
    assert gguf_header.read(b"GGUF" + struct.pack("<IQQ", 2, 0, 0)).version == 2
