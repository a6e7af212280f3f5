"""The part of a program that an error is from, and what helps most often for errors from there."""

from __future__ import annotations

import re
from collections.abc import Iterable

from gdl.diagnosis.records import Frame, Log, Record
from gdl.domain.lazy_dataclass import dataclass

_ADVICE = re.compile(
    r"\b(?:[Pp]lease|[Cc]onsider|[Ss]olution:|[Ww]orkaround:|[Tt]o (?:fix|resolve|bypass)|"
    r"[Yy]ou (?:can|may|should|need to|must|could)|pip install|"
    r"[Mm]ake sure|[Ee]nsure|[Tt]ry (?:to|using|setting|with|re|in|de|lower|\w+ing))\b|"
    r"(?:^|, |: )(?:[Tt]ry|[Ss]et|[Ii]ncrease|[Dd]ecrease|[Rr]educe|[Ll]ower|[Uu]se|[Rr]un|"
    r"[Ii]nstall|[Uu]pgrade|[Uu]pdate|[Ee]nable|[Dd]isable|[Ss]pecify|[Pp]rovide|[Pp]ass|"
    r"[Rr]emove|[Aa]dd) "
)
_NO_ADVICE = re.compile(
    r"open (?:an|a new) issue|(?:file|report|submit|raise) (?:an? |this |the )*(?:issue|bug)|"
    r"[Ss]ee (?:the )?(?:stack|log|above|root)|check (?:the )?(?:stack|logs?|above)|set_start|"
    r"[Ff]or debugging|CUDA_LAUNCH_BLOCKING|TORCH_USE_CUDA_DSA|TORCHDYNAMO_VERBOSE|TORCH_LOGS|"
    r"NCCL_DEBUG|further information|contact"
)
_SENTENCE = re.compile(r"(?<=[a-z)\]`'\"0-9][.!?;])\s+")
_ADVICE_CHARS = 220
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]{2,40}")
_VARIABLE = re.compile(
    r"(?<![\w.-])((?:enable|disable|speculative|max_num|max_model|chunked|cuda_graph|kv_cache|"
    r"mem_fraction|attention_backend|moe_backend|page_size|block_size|tensor_parallel|"
    r"pipeline_parallel|data_parallel|context_length|mm_processor|limit_mm)\w*)(?![\w.(])"
)
"""An option, as programs name the variable."""
_VERSIONS = frozenset(
    (
        "AttributeError", "TypeError", "NameError", "UnboundLocalError", "IndexError", "KeyError",
        "AssertionError", "NotImplementedError", "ZeroDivisionError", "RecursionError",
        "StopIteration", "ImportError",
    )
)  # fmt: skip
_TIMES = re.compile(r"\w*Timeout\w*|\w*Expired")
_NETWORK = re.compile(r"Connect\w*|Connection\w*|RemoteDisconnected|ProtocolError|\w*ProxyError")


@dataclass(frozen=True, slots=True)
class Place:
    """Known by a text in the path of a frame's module, or by words of the error itself."""

    paths: tuple[str, ...]
    words: re.Pattern[str] | None
    name: str
    first: str


def _place(paths: str, words: str, name: str, first: str) -> Place:
    return Place(tuple(paths.split()), re.compile(words) if words else None, name, first)


_PLACES = (
    _place(
        "spec_decode speculative eagle medusa",
        r"[Ee]agle|[Mm]edusa|[Ss]peculat|[Dd]raft|\bMTP|_mtp\b|num_spec",
        "the speculative decoding",
        "Start it without speculative decoding (--speculative-config), or with another release",
    ),
    _place(
        "", r"chunked_(?:req|prefill)|chunked.prefill", "the chunked prefill",
        "Start it without chunked prefill (--no-enable-chunked-prefill, or "
        "--chunked-prefill-size -1), with prefix caching on",
    ),
    _place(
        "pipeline_parallel", r"\bPP\b|[Pp]ipeline.?[Pp]arallel|async.?scheduling",
        "pipeline parallelism or asynchronous scheduling",
        "Start it with --no-async-scheduling, without speculative decoding, or with "
        "--tensor-parallel-size in place of --pipeline-parallel-size",
    ),
    _place(
        "lmcache kv_connector kv_transfer nixl mooncake kv_offload",
        r"LMCache|lmcache|[Nn]ixl|NIXL|[Cc]onnector|kv_transfer|Mooncake",
        "the exchange of the KV cache",
        "Start it without --kv-transfer-config (or offloading), or with the version of that "
        "package which this release names",
    ),
    _place(
        "/lora", r"\b[Ll]o[Rr][Aa]\b|lora_|_lora", "the part for LoRA",
        "Start it without the adapter, or merge the adapter into the model",
    ),
    _place(
        "tool_parsers tool_parser function_call",
        r"[Tt]ool.?[Pp]arser|tool_calls?\b",
        "a tool parser",
        "Choose the --tool-call-parser that the model's card names, or start without one; a newer "
        "release may have the fix",
    ),
    _place(
        "reasoning", r"[Rr]easoning", "a reasoning parser",
        "Choose the --reasoning-parser that the model's card names, or start without one",
    ),
    _place(
        "structured_output guided_decoding xgrammar outlines constrained llguidance",
        r"xgrammar|outlines|llguidance|[Gg]rammar|guided_|structured.output|JSON [Ss]chema",
        "the structured outputs",
        "Simplify the request's schema, or choose another structured-outputs backend (xgrammar, "
        "guidance, outlines)",
    ),
    _place(
        "flash_attn vllm_flash_attn flash_attn_interface",
        r"flash_attn|FlashAttention|flash_fwd",
        "FlashAttention",
        "Choose another attention backend (--attention-backend TRITON_ATTN or FLASHINFER)",
    ),
    _place(
        "flashinfer", r"[Ff]lash[Ii]nfer", "flashinfer",
        "Install the flashinfer that this release pins, or do without it: --attention-backend "
        "FLASH_ATTN or TRITON_ATTN, and VLLM_USE_FLASHINFER_SAMPLER=0",
    ),
    _place(
        "deep_gemm", r"deep_?gemm|DeepGEMM", "DeepGEMM",
        "Set VLLM_USE_DEEP_GEMM=0",
    ),
    _place(
        "bitsandbytes", r"bitsandbytes|\bbnb\b|absmax|quant_state", "bitsandbytes",
        "Omit bitsandbytes, or take the model in AWQ, GPTQ or FP8",
    ),
    _place(
        "fused_moe /moe", r"[Ff]used_?[Mm]o[Ee]|\b[Mm]o[Ee]\b|experts?\b", "a layer of experts",
        "Try another --moe-backend, another quantization of the model, or a newer release",
    ),
    _place(
        "quantization compressed_tensors marlin gptq awq modelopt auto_round torchao",
        r"[Qq]uanti[sz]|\b(?:AWQ|GPTQ|FP8|fp8|NVFP4|nvfp4|MXFP4|mxfp4)\b|[Mm]arlin|compressed.tensors",
        "a quantized layer",
        "Try another quantization of the model (or the unquantized one), or a newer release",
    ),
    _place(
        "mamba /fla/ gdn linear_attn",
        r"[Mm]amba|\bSSM\b|ssm_|conv_state|gdn|GatedDelta",
        "a layer with a state (Mamba, linear attention)",
        "Omit --mamba-block-size and --enable-prefix-caching (use --no-enable-prefix-caching), "
        "or install a newer release",
    ),
    _place(
        "model_loader weight_utils load_weights safetensors",
        r"load_weights|weight_loader|checkpoint|safetensors|shard_id",
        "the weights loader",
        "See whether this release supports this model and quantization (a newer one may), and "
        "download the model again",
    ),
    _place(
        "multimodal image_processing video_processing /processing_ vision audio",
        r"multi_?modal|mm_\w+|\b[Ii]mages?\b|\b[Vv]ideos?\b|\b[Aa]udio\b|pixel_values|[Vv]ision",
        "the part for images and audio",
        "Serve text only (--limit-mm-per-prompt with 0), send smaller or fewer images, or "
        "install the transformers that the model's card names",
    ),
    _place(
        "rotary_embedding rope", r"rope_|rotary|mrope", "the position encoding",
        "Omit rope options (--hf-overrides, --rope-scaling), or install the transformers that "
        "this release wants",
    ),
    _place(
        "attention attn mla", r"attention backend|[Aa]ttn[Bb]ackend|attn_metadata|\bMLA\b|mla_",
        "an attention backend",
        "Name another --attention-backend, and omit --kv-cache-dtype",
    ),
    _place(
        "/sample", r"[Ss]ampler|logits_processor|logprobs?\b", "the sampler",
        "Ask without the sampling unusual options, or lower --max-num-seqs",
    ),
    _place(
        "_inductor _dynamo compilation torch/fx functorch",
        r"inductor|[Dd]ynamo|torch\.compile|FakeTensor|fx graph|[Gg]raph break",
        "torch's compiler",
        "Start it with --enforce-eager; clear ~/.cache/vllm/torch_compile_cache and "
        "/tmp/torchinductor_*",
    ),
    _place(
        "triton", r"[Tt]riton|PassManager|MLIR|ptxas", "Triton's compiler",
        "Install the triton that this torch brings, or start with --enforce-eager and another "
        "attention backend",
    ),
    _place(
        "cuda_graph cudagraph cuda_graph_runner", r"cuda ?graph|[Gg]raph capture|[Cc]apture",
        "the capture of CUDA graphs",
        "Start it with --enforce-eager",
    ),
    _place(
        "pynccl custom_all_reduce distributed device_communicators",
        r"NCCL|nccl|[Gg]loo|all_?reduce|all_?gather|process group|[Rr]endezvous|TCPStore",
        "the exchange between GPUs",
        "Start it on one GPU, or with --disable-custom-all-reduce and NCCL_DEBUG=INFO",
    ),
    _place(
        "/ray", r"\b[Rr]ay\b|placement.?group", "Ray",
        "Use --distributed-executor-backend mp on one machine; otherwise compare `ray status` with "
        "what is requested",
    ),
    _place(
        "block_pool kv_cache_manager kv_cache_utils kv_cache_coordinator radix_cache mem_cache",
        r"kv_cache|KV cache|block_table|block_size|num_blocks",
        "the KV cache",
        "Start it without a draft model (--speculative-config) and prefix caching "
        "(--no-enable-prefix-caching), and with no --block-size or --kv-cache-dtype; or take a "
        "newer release",
    ),
    _place(
        "gguf", r"GGUF|gguf", "the reader of GGUF files",
        "Take the model's safetensors, or serve the GGUF file by llama.cpp",
    ),
    _place(
        "tokeniz", r"[Tt]okeni[sz]er", "the tokenizer",
        "Install the transformers that the model's card names, download the model again, or name "
        "another --tokenizer",
    ),
    _place(
        "chat_utils jinja", r"[Cc]hat.?[Tt]emplate|jinja", "the chat template",
        "Give another --chat-template, or correct the request's messages",
    ),
    _place(
        "huggingface_hub", r"huggingface|hf\.co", "the hub's client",
        "Check the model's name, HF_TOKEN and the network",
    ),
    _place(
        "transformers_modules", r"transformers_modules", "the model's own code",
        "Install the transformers that the model's card names: its code is of another version",
    ),
    _place(
        "transformers", r"\btransformers\b", "transformers",
        "Install the transformers that the model's card (or the engine's release) names, into a "
        "fresh environment",
    ),
    _place(
        "model_executor/models srt/models", "", "the model's class",
        "Try a newer release: its class for this model may have the fix (or the one before, where "
        "it worked)",
    ),
    _place(
        "arg_utils server_args /config argparse", r"[Aa]rguments?\b", "the check of the options",
        "Correct the option that the error names",
    ),
    _place(
        "entrypoints", "", "the API server",
        "Correct the request or the option that the error names, or try another release",
    ),
    _place(
        "executor worker gpu_model_runner model_runner", "", "a worker process",
        "Try another release, with fewer options",
    ),
    _place("scheduler engine", "", "the engine's loop", "Try another release, with fewer options"),
)  # fmt: skip
_CHECKED = "the check of the options"
_VAGUE = frozenset(("the model's class", "the API server", "a worker process", "the engine's loop"))
"""Places that say in which process it was, and little of what."""
_OPTIONS = (
    "speculative_config", "speculative_algorithm", "enable_lora", "kv_transfer_config",
    "kv_cache_dtype", "mamba_block_size", "mamba_cache_mode", "async_scheduling",
    "enable_prefix_caching", "attention_backend", "moe_backend", "cpu_offload_gb",
    "decode_context_parallel_size", "data_parallel_size", "enable_expert_parallel",
    "pipeline_parallel_size", "compilation_config", "hf_overrides", "enable_sleep_mode",
    "mm_processor_kwargs", "block_size", "enable_dp_attention", "quantization",
)  # fmt: skip
"""Without which what a release does wrong often does not show; named as in vLLM's arguments."""
_GIVEN = re.compile(
    r"non-default args:|\bserver_args=|vllm serve |sglang\.launch_server |Namespace\("
)
_NOT_SET = re.compile(r"\W{0,4}(?:None|'auto'|\"auto\"|False|1\b(?!\d))")
_MOST_OPTIONS = 3


def place_of(record: Record) -> Place | None:
    """That of the innermost frame that is known; else of what the error's own words name. Where
    the frame only tells which process it was, the words, and the names of the functions, say more.
    """
    at = (place for frame in reversed(record.frames) if (place := _by_path(frame)))
    place = next(at, None)
    if place is None or place.name in _VAGUE:
        inner = "\n".join(f"{frame.function} {frame.source}" for frame in record.frames[-2:])
        words = (record.text, inner) if record.error else ()
        return next((named for text in words if (named := _by_words(text))), place)
    return place


def _by_path(frame: Frame) -> Place | None:
    return next((p for p in _PLACES if any(path in frame.path for path in p.paths)), None)


def _by_words(text: str) -> Place | None:
    return next((p for p in _PLACES if p.words is not None and p.words.search(text)), None)


def first_to_try(record: Record) -> str:
    """What often helps where this was raised, best first; without a full stop."""
    if advice := _advice(record.text):
        return f"Do as the program says: {advice}"
    place = place_of(record)
    named = _flags(record.text) if place is not None and place.name == _CHECKED else ()
    if place is not None and not named:
        return place.first
    if flags := _flags(record.text):
        return f"Correct or omit {' and '.join(flags)}"
    if record.error in _VERSIONS:
        return "Try another release (the newest, or the one before), and fewer options"
    if _TIMES.fullmatch(record.error):
        return "Start it again, and read the other processes' logs for what they waited for"
    if _NETWORK.fullmatch(record.error):
        return "See whether the address that it names is up and can be reached from there"
    return "Correct the option or file that the error names"


def _flags(text: str) -> list[str]:
    """The options that an error names, as flags or as the program's own variables."""
    names = [f"--{name.replace('_', '-')}" for name in _VARIABLE.findall(text)]
    return list(dict.fromkeys((*_FLAG.findall(text), *names)))[:_MOST_OPTIONS]


def suspects(log: Log) -> str:
    """The options of this start that may be to blame for what the release does wrong: a sentence
    with a blank before it, or ""."""
    given = next((line.text for line in log.lines if _GIVEN.search(line.text)), "")
    shown = list(_given(given))[:_MOST_OPTIONS]
    return f" It was started with {', '.join(shown)}: try without." if shown else ""


def _given(text: str) -> Iterable[str]:
    for name in _OPTIONS:
        found = re.search(rf"(?<![\w-])(?:--)?{name.replace('_', '[-_]')}(?![\w-])", text)
        if found and not _NOT_SET.match(text, found.end()):
            yield f"--{name.replace('_', '-')}"


def _advice(text: str) -> str:
    """The sentences of an error that say what to do."""
    _, _, said = text.partition(": ")
    told = [
        each.strip().rstrip(".!;")
        for each in _SENTENCE.split(said[:2000])
        if _ADVICE.search(each) and not _NO_ADVICE.search(each)
    ]
    joined = "; ".join(told[:2])
    return joined if len(joined) <= _ADVICE_CHARS else f"{joined[: _ADVICE_CHARS - 1]}…"
