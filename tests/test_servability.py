"""What cannot be served is told from what can, before money is spent."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gdl.domain.errors import ModelRefused, UsageError
from gdl.domain.model_facts import FactsSource, ModelFacts, RepoFile
from gdl.domain.model_names import HubName, hub_name
from gdl.domain.servability import ModelKind, judge

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
LLAMAS = frozenset({"LlamaForCausalLM"}).__contains__
"""What an engine knows."""
SAFE = ("config.json", "model.safetensors", "tokenizer.json")


def facts(*paths: str, config: Mapping[str, object] | None = None, **more: object) -> ModelFacts:
    files = tuple(RepoFile(path, 1000) for path in paths or SAFE)
    fields: dict[str, object] = {"library": "transformers", "pipeline_tag": "text-generation"}
    return ModelFacts(
        "acme/model",
        FactsSource.HUB,
        config=LLAMA if config is None else config,
        files=files,
        **(fields | more),  # type: ignore[arg-type]
    )


CASES: dict[str, tuple[ModelFacts, ModelKind, str, str]] = {
    "diffusion": (
        facts("model_index.json", "unet/model.safetensors"),
        ModelKind.DIFFUSION,
        "acme/model is a diffusion model: it makes images or video, not text",
        "choose a text model: `gdl-tui models WORDS` searches the hub",
    ),
    "adapter": (
        facts(
            "adapter_config.json",
            "adapter_model.safetensors",
            config={},
            adapter_config={"base_model_name_or_path": "meta-llama/Llama-3.1-8B"},
        ),
        ModelKind.ADAPTER,
        "acme/model is an adapter (LoRA) for meta-llama/Llama-3.1-8B, not a whole model",
        "deploy meta-llama/Llama-3.1-8B; the server loads the adapter through its own arguments",
    ),
    "adapter by its card": (
        facts(
            "adapter_config.json",
            "adapter_model.safetensors",
            config={},
            base_models=(("quantized", "x/y"), ("adapter", "acme/base")),
        ),
        ModelKind.ADAPTER,
        "acme/model is an adapter (LoRA) for acme/base, not a whole model",
        "deploy acme/base; the server loads the adapter through its own arguments",
    ),
    "embedding": (
        facts(*SAFE, "modules.json", pipeline_tag="feature-extraction"),
        ModelKind.EMBEDDING,
        "acme/model is an embedding model: it turns text into numbers and generates none",
        "choose a model that generates text: `gdl-tui models WORDS` searches the hub",
    ),
    "reranker": (
        facts(config={"architectures": ["XLMRobertaForSequenceClassification"]}),
        ModelKind.RERANKER,
        "acme/model scores or classifies text and generates none",
        "choose a model that generates text: `gdl-tui models WORDS` searches the hub",
    ),
    "speech": (
        facts(
            config={"architectures": ["WhisperForConditionalGeneration"]},
            pipeline_tag="automatic-speech-recognition",
        ),
        ModelKind.OTHER_TASK,
        "acme/model is for automatic speech recognition, not for generating text",
        "choose a model that generates text: `gdl-tui models WORDS` searches the hub",
    ),
    "encoder": (
        facts(config={"architectures": ["BertForMaskedLM"]}, pipeline_tag=""),
        ModelKind.OTHER_TASK,
        "acme/model is for reading text, not for generating text",
        "choose a model that generates text: `gdl-tui models WORDS` searches the hub",
    ),
    "pickled": (
        facts("config.json", "pytorch_model.bin"),
        ModelKind.PICKLED,
        "acme/model has only pickled weights, which can run code when they are loaded",
        "use a copy with safetensors, or accept the risk with --trust-remote-code",
    ),
    "empty": (
        ModelFacts("acme/model", FactsSource.HUB),
        ModelKind.NO_WEIGHTS,
        "acme/model has no weights: the repository is empty",
        "its page on the hub may say where they are; `gdl-tui models WORDS` finds others",
    ),
    "card only": (
        facts("README.md", config={}, base_models=(("", "acme/original"),)),
        ModelKind.NO_WEIGHTS,
        "acme/model has no weights",
        "deploy acme/original, which it was made from",
    ),
    "weights elsewhere": (
        facts("config.json", "original/consolidated.00.pth"),
        ModelKind.NO_WEIGHTS,
        "acme/model has no weights, only in original/",
        "its page on the hub may say where they are; `gdl-tui models WORDS` finds others",
    ),
    "traces of a training": (
        facts("config.json", "training_args.bin", "optimizer.pt"),
        ModelKind.NO_WEIGHTS,
        "acme/model has no weights",
        "its page on the hub may say where they are; `gdl-tui models WORDS` finds others",
    ),
    "onnx": (
        facts("config.json", "onnx/model.onnx", base_models=(("quantized", "acme/original"),)),
        ModelKind.OTHER_FORMAT,
        "acme/model has its weights in the form of ONNX alone",
        "deploy acme/original, or a copy with safetensors",
    ),
    "mlx": (
        facts(config=LLAMA | {"quantization": {"bits": 4, "group_size": 64}}, library="mlx"),
        ModelKind.OTHER_FORMAT,
        "acme/model has its weights in the form of MLX alone",
        "deploy the model that it was made from, or a copy with safetensors",
    ),
    "no configuration": (
        facts("model.safetensors", config={}),
        ModelKind.NO_CONFIG,
        "acme/model has weights, but no config.json that says what they are",
        "deploy another copy, or a repository in transformers' form",
    ),
    "unknown architecture": (
        facts(config={"architectures": ["TurbineForCausalLM"]}),
        ModelKind.UNKNOWN_ARCHITECTURE,
        "acme/model is of an architecture that the engine does not know: TurbineForCausalLM",
        "a newer release may support it: set install.version; otherwise choose another model",
    ),
    "code of its own": (
        facts(
            config={
                "architectures": ["TurbineForCausalLM"],
                "auto_map": {"AutoModelForCausalLM": "modeling_turbine.TurbineForCausalLM"},
            }
        ),
        ModelKind.OWN_CODE,
        "acme/model (TurbineForCausalLM) needs code from its own repository to be loaded",
        "read that code on the hub; with --trust-remote-code it is run on the rented machine",
    ),
}


@pytest.mark.parametrize(("known", "kind", "what", "helps"), CASES.values(), ids=CASES)
def test_what_cannot_be_served_is_said_in_two_lines(
    known: ModelFacts, kind: ModelKind, what: str, helps: str
) -> None:
    judged = judge(known, knows=LLAMAS)
    assert (judged.kind, judged.what, judged.helps) == (kind, what, helps)
    with pytest.raises(ModelRefused, match=r".") as caught:
        judged.check()
    assert (caught.value.message, caught.value.hint) == (what, helps)


def test_what_can_be_served_is_not_held_up() -> None:
    plain = judge(facts(), knows=LLAMAS)
    assert plain.servable and plain.notes == ()
    plain.check()
    # What the engine knows is its own affair, unless it is asked.
    assert judge(facts(config={"architectures": ["TurbineForCausalLM"]})).servable
    # A merged adapter, a mistagged model, a vision model, Mistral's own form.
    assert judge(facts(*SAFE, "adapter_config.json")).servable
    assert judge(facts(pipeline_tag="feature-extraction", chat_template="{{ x }}")).servable
    assert judge(facts(pipeline_tag="image-text-to-text", config=LLAMA)).servable
    own = facts("params.json", "consolidated.safetensors", config={}, mistral_params={"dim": 1})
    assert judge(own).servable
    assert own.weights_bytes == 1000


def test_of_a_name_alone_nothing_is_held_against_it() -> None:
    for source in (FactsSource.NAME, FactsSource.CATALOGUE):
        assert judge(ModelFacts("acme/model", source)).servable


def test_trust_opens_what_only_a_risk_stands_against() -> None:
    pickled = facts("config.json", "pytorch_model.bin")
    own = facts(config={"architectures": ["X"], "auto_map": {"AutoModel": "m.X"}})
    for each in (pickled, own):
        assert not judge(each, knows=LLAMAS).servable
        assert judge(each, trust=True, knows=LLAMAS).servable
    assert judge(own, trust=True).brings_code


def test_of_two_forms_the_safe_one_counts_once() -> None:
    both = facts(
        "config.json",
        "consolidated.safetensors",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "pytorch_model.bin",
        "onnx/model.onnx",
    )
    assert both.weights_bytes == 2000
    assert judge(both).notes == (
        "weights in two forms: the safetensors are loaded, the pickled are not",
    )


def test_without_sizes_of_files_numbers_are_counted() -> None:
    """As by a mirror that tells no sizes."""
    sizeless = ModelFacts(
        "acme/model",
        FactsSource.HUB,
        files=(RepoFile("model.safetensors"),),
        safetensors={"BF16": 1_000, "F32": 10, "I32": 5, "F8_E4M3": 7},
    )
    assert sizeless.weights_bytes == 2_000 + 40 + 20 + 7


# -- names ---------------------------------------------------------------------------------------

NAMES: dict[str, HubName | None] = {
    "Qwen/Qwen3-8B": HubName("Qwen/Qwen3-8B"),
    " Qwen/Qwen3-8B ": HubName("Qwen/Qwen3-8B"),
    "unsloth/Qwen3-8B-GGUF:UD-Q4_K_XL": HubName("unsloth/Qwen3-8B-GGUF", "UD-Q4_K_XL"),
    "https://huggingface.co/Qwen/Qwen3-8B": HubName("Qwen/Qwen3-8B"),
    "https://huggingface.co/Qwen/Qwen3-8B/tree/main?x=1#y": HubName("Qwen/Qwen3-8B"),
    "hf.co/Qwen/Qwen3-8B-GGUF:Q8_0": HubName("Qwen/Qwen3-8B-GGUF", "Q8_0"),
    "hf://Qwen/Qwen3-8B": HubName("Qwen/Qwen3-8B"),
    "https://huggingface.co/Qwen/Qwen3-8B/tree/v1": None,
    "https://example.org/Qwen/Qwen3-8B": None,
    "tinyllama": None,
    "/srv/models/x": None,
    "../../etc/passwd": None,
    "a/b/c": None,
    "a/..": None,
    "a/b:": None,
    "a/b:$(reboot)": None,
    "a/" + "b" * 200: None,
}


@pytest.mark.parametrize(("typed", "name"), NAMES.items(), ids=range(len(NAMES)))
def test_ways_to_name_a_model(typed: str, name: HubName | None) -> None:
    assert hub_name(typed) == name


@pytest.mark.parametrize("typed", ["datasets/acme/rows", "https://huggingface.co/spaces/acme/demo"])
def test_what_the_hub_has_beside_models_is_said(typed: str) -> None:
    with pytest.raises(UsageError, match="of the hub, not a model") as caught:
        hub_name(typed)
    assert "acme/" in caught.value.message


def test_what_lies_beside_the_weights_is_not_counted() -> None:
    sharded = facts(
        "config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model-mtp.safetensors",
        "adapter_model.safetensors",
    )
    assert [each.path for each in sharded.weight_files] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model-mtp.safetensors",
    ]
    assert sharded.download_bytes == 5000
