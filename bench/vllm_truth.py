"""What vLLM's own code would allocate for a config.json on some GPU, without a GPU or weights.

    PYTHON_OF_VLLM bench/vllm_truth.py < order.json

The order: {"gpu": {"name", "capability": [9, 0], "memory_bytes"}, "jobs": [{"config", "options",
"files"}]}, where options are tp, kv_dtype, len, batch, seqs and extra (other fields of EngineArgs;
all may be missing), and files are other JSON files beside config.json (hf_quant_config.json).
Prints a JSON object in a line for each job: {"truth": {...}} or {"refused": "what vLLM said"}, and
first one with the versions. All sizes are in bytes and for the first GPU of a group of them.

The model is built by vLLM's model code on PyTorch's meta device behind a stand-in GPU
(vllm_stand_in.py); the cache's layers are grouped, padded and counted by
vllm.v1.core.kv_cache_utils as at a start. Limits: parameters are counted as they are created, that
is, before process_weights_after_loading (online quantization still shows 16 bits; repacking may
pad); the modules are rank 0's.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import transformers
import vllm_stand_in

LENGTHS = (1, 128, 1024, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 1048576)
CAPACITY_BYTES = 40 << 30
"""A cache of this size is asked how many sequences it holds."""


def engine_config(job: dict[str, Any], folder: Path) -> Any:
    """vLLM's configuration of a server with this model and these options."""
    options = job["options"]
    arg_utils = importlib.import_module("vllm.engine.arg_utils")
    usage = importlib.import_module("vllm.usage.usage_lib")
    for name, content in {"config.json": job["config"], **job.get("files", {})}.items():
        (folder / name).write_text(json.dumps(content), "utf-8")
    tp = options.get("tp", 1)
    named: dict[str, Any] = {
        "model": str(folder),
        "skip_tokenizer_init": True,
        "load_format": "dummy",
        "tensor_parallel_size": tp,
        "kv_cache_dtype": options.get("kv_dtype", "auto"),
        "dtype": options.get("dtype", "bfloat16"),
        "distributed_executor_backend": "mp" if tp > 1 else "uni",
        "max_model_len": options.get("len"),
        "max_num_batched_tokens": options.get("batch"),
        "max_num_seqs": options.get("seqs"),
        **options.get("extra", {}),
    }
    given = {name: value for name, value in named.items() if value is not None}
    args = arg_utils.EngineArgs(**given)
    return args.create_engine_config(usage_context=usage.UsageContext.OPENAI_API_SERVER)


def rank_zero_of(tp: int) -> None:
    """This process plays the first of `tp`. Inside the model's configuration."""
    state = importlib.import_module("vllm.distributed.parallel_state")
    if not torch.distributed.is_initialized():
        meeting = Path(tempfile.mkdtemp()) / "meeting"
        state.init_distributed_environment(
            world_size=1,
            rank=0,
            local_rank=0,
            distributed_init_method=meeting.as_uri(),
            backend="gloo",
        )
    workspace = importlib.import_module("vllm.v1.worker.workspace")
    workspace.reset_workspace_manager()
    workspace.init_workspace_manager(torch.device("meta"))
    # Made anew for each model: the experts' group is there only for models with experts.
    state.destroy_model_parallel()
    state.initialize_model_parallel(1, 1)
    for group in (state._TP, state._EP):
        if group is not None:
            group.world_size = tp
            group.rank_in_group = 0


def built(engine: Any, tp: int) -> Any:
    """The model's modules, without memory for their parameters."""
    config = importlib.import_module("vllm.config")
    loader = importlib.import_module("vllm.model_executor.model_loader.utils")
    dtypes = importlib.import_module("vllm.utils.torch_utils")
    with config.set_current_vllm_config(engine):
        rank_zero_of(tp)
        dtype = dtypes.set_default_torch_dtype(engine.model_config.dtype)
        with dtype, torch.device("meta"), vllm_stand_in.OnMeta():
            return loader.initialize_model(engine)


def layers(engine: Any) -> tuple[dict[str, Any], int]:
    """What each layer wants of the cache, and how many share another's."""
    base = importlib.import_module("vllm.model_executor.layers.attention_layer_base")
    config = importlib.import_module("vllm.config")
    interface = importlib.import_module("vllm.v1.kv_cache_interface")
    worker = importlib.import_module("vllm.v1.worker.utils")
    wanted, shared = {}, 0
    found = config.get_layers_from_vllm_config(engine, base.AttentionLayerBase)
    for name, layer in found.items():
        if getattr(layer, "kv_sharing_target_layer_name", None):
            shared += 1
        elif spec := layer.get_kv_cache_spec(engine):
            if isinstance(spec, interface.AttentionSpec):
                spec = worker.customize_attention_spec(layer.get_attn_backend(), spec)
            wanted[name] = spec
    return wanted, shared


def cache(engine: Any) -> dict[str, Any]:
    """The KV cache as vLLM would lay it out: `need` is bytes for one sequence by its length."""
    config = importlib.import_module("vllm.config")
    platforms = importlib.import_module("vllm.platforms")
    utils = importlib.import_module("vllm.v1.core.kv_cache_utils")
    managers = importlib.import_module("vllm.v1.core.single_type_kv_cache_manager")
    backends = importlib.import_module("vllm.v1.attention.backends.utils")
    connectors = importlib.import_module("vllm.distributed.kv_transfer.kv_connector.utils")
    with config.set_current_vllm_config(engine):
        platforms.current_platform.update_block_size_for_backend(engine)
        managers.register_all_kvcache_specs(engine)
        specs, shared = layers(engine)
        used = list(connectors.get_current_attn_backends(engine))
        layouts = [layout.name for layout in backends.get_supported_kv_cache_layouts(used)]
        backends.resolve_kv_cache_layout(engine, [layouts], list(specs.values()))
        groups = utils.get_kv_cache_groups(engine, dict(specs))
        model = engine.model_config
        native = model.max_model_len

        def at(length: int, asked: Any) -> Any:
            model.max_model_len = length
            try:
                return asked()
            finally:
                model.max_model_len = native

        def need(length: int) -> int:
            return int(
                at(length, lambda: utils._max_memory_usage_bytes_from_groups(engine, groups))
            )

        needs = {length: need(length) for length in sorted({*LENGTHS, native}) if length <= native}
        half = max(native // 2, 1)
        slope = (need(native) - need(half)) / max(native - half, 1)
        plan = utils.get_kv_cache_config_from_groups(engine, groups, CAPACITY_BYTES)
        held = {
            length: at(length, lambda: utils.get_kv_cache_capacity(engine, plan))
            for length in sorted({4096, 32768, native})
            if length <= native
        }
    return {
        "kv_per_token": slope,
        "const": need(native) - slope * native,
        "kv_4096": needs.get(4096),
        "kv_32768": needs.get(32768),
        "need": {str(k): v for k, v in needs.items()},
        "capacity_40gib": {str(k): [v[0], round(v[1], 2)] for k, v in held.items()},
        "block_size": engine.cache_config.block_size,
        "pool_bytes_per_block": utils._pool_bytes_per_block(engine, groups),
        "groups": [
            [len(g.layer_names), type(g.kv_cache_spec).__name__, *sizes(g.kv_cache_spec)]
            for g in groups
        ],
        "raw": dict(Counter(" ".join(map(str, described(s))) for s in specs.values())),
        "layers": len(specs),
        "shared": shared,
        "backends": sorted({backend.get_name() for backend in used}),
        "native_len": native,
    }


def sizes(spec: Any) -> tuple[int, int]:
    return spec.block_size, spec.page_size_bytes


def described(spec: Any) -> tuple[Any, ...]:
    """Kind, tokens in a block, bytes in a page, window or chunk."""
    window = getattr(spec, "sliding_window", None) or getattr(spec, "attention_chunk_size", None)
    return type(spec).__name__, *sizes(spec), window


def part(name: str) -> str:
    """Which part of a model a parameter belongs to."""
    if any(word in name for word in ("visual", "vision", "multi_modal", "audio")):
        return "vision"
    if "experts" in name and "shared" not in name:
        return "experts"
    if "embed_tokens" in name or "word_embeddings" in name:
        return "embed"
    return "lm_head" if "lm_head" in name else "rest"


def weights(model: Any) -> dict[str, Any]:
    kinds: Counter[str] = Counter()
    parts: Counter[str] = Counter()
    for name, parameter in model.named_parameters(remove_duplicate=True):
        size = parameter.numel() * parameter.element_size()
        kinds[str(parameter.dtype).removeprefix("torch.")] += size
        parts[part(name)] += size
    buffers = sum(b.numel() * b.element_size() for _, b in model.named_buffers())
    return {
        "weights_bytes": kinds.total(),
        "weights_by_dtype": dict(kinds),
        "weights_by": dict(parts),
        "buffers": buffers,
    }


def truth(job: dict[str, Any]) -> dict[str, Any]:
    """All of it for one model. What vLLM raises for what it refuses goes through."""
    with tempfile.TemporaryDirectory() as folder:
        engine = engine_config(job, Path(folder))
        model = built(engine, job["options"].get("tp", 1))
        found = {**weights(model), **cache(engine)}
    scheduler = engine.scheduler_config
    return {
        **found,
        "arch": engine.model_config.architecture,
        "dtype": str(engine.model_config.dtype).removeprefix("torch."),
        "batch": scheduler.max_num_batched_tokens,
        "seqs": scheduler.max_num_seqs,
        "in_flight": engine.max_in_flight_tokens,
        "mamba_mode": engine.cache_config.mamba_cache_mode,
        "prefix_caching": engine.cache_config.enable_prefix_caching,
        "hybrid_off": bool(scheduler.disable_hybrid_kv_cache_manager),
        "tied": bool(getattr(engine.model_config.hf_text_config, "tie_word_embeddings", False)),
    }


def said(error: BaseException) -> str:
    """One line of what vLLM said; pydantic's own frame of it is left out."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("For further information")]
    text = lines[-1] if lines else ""
    text = text.removeprefix("Value error, ").partition(" [type=")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def main() -> None:
    order = json.load(sys.stdin)
    gpu = order["gpu"]
    answers = sys.stdout
    # What vLLM and its imports print is no answer.
    sys.stdout = sys.stderr
    vllm_stand_in.install(
        vllm_stand_in.Gpu(gpu["name"], tuple(gpu["capability"]), gpu["memory_bytes"])
    )
    found = {"torch": torch.__version__, "transformers": transformers.__version__}
    versions = {"vllm": importlib.import_module("vllm").__version__, **found}
    print(json.dumps({"versions": versions}), file=answers, flush=True)
    for job in order["jobs"]:
        answer: dict[str, Any]
        try:
            answer = {"truth": truth(job)}
        except Exception as error:
            traceback.print_exc()
            answer = {"refused": said(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
