"""Whether a machine has the disk and the memory for vLLM and a model."""

from __future__ import annotations

from gdl.domain.errors import DeployError
from gdl.domain.host import HostFacts
from gdl.domain.model import Model
from gdl.domain.offers import OfferQuery
from gdl.engines.python import gpu_group, space
from gdl.engines.vllm import compat_table
from gdl.engines.vllm.compat import Choice
from gdl.engines.vllm.memory import MEMORY

_INSTALL_GB = {"gpu": 10.0, "cpu": 4.0}
"""The environment with what was unpacked for it: vLLM, torch and, for GPUs, the CUDA libraries."""
_CPU_OVERHEAD_GB = 3.0
"""Beside the weights on the CPU: the processes themselves and 1 GiB of KV cache."""


def require(host: HostFacts, model: Model, choice: Choice, query: OfferQuery) -> None:
    """Raises DeployError when disk or memory cannot hold the environment and the model."""
    require_disk(host, model, choice)
    _require_memory(host, model, choice, query)


def require_disk(host: HostFacts, model: Model, choice: Choice) -> None:
    """Raises DeployError when the disk cannot hold them."""
    if choice.image:
        install = 0.0 if choice.image in host.images else compat_table.image().gb
    elif host.engine.installed or choice.own:
        install = 0.0
    else:
        install = _INSTALL_GB["gpu" if choice.on_gpu else "cpu"]
    # A container of the machine's docker has its own home on the disk.
    space.require_disk(host, model, install, volume_used=not choice.image)


def _require_memory(host: HostFacts, model: Model, choice: Choice, query: OfferQuery) -> None:
    found = gpu_group.allocation(MEMORY, host, model, query) if choice.on_gpu else None
    if found is not None:
        if found.weights_bytes > found.usable_bytes:
            raise DeployError(
                f"not enough GPU memory: {found.usable_bytes / 1e9:.1f} GB of each GPU can be used,"
                f" {model.served_name} puts {found.weights_bytes / 1e9:.1f} GB on it",
                "take a bigger machine, a smaller model or a quantized one",
            )
        return
    weights = model.shape.weights_gb / query.nodes if model.shape is not None else 0.0
    if choice.on_gpu:
        memory = sum(gpu.memory_mib for gpu in host.gpus) * 1.048576e-3
        need, kind = weights, "GPU memory"
    else:
        memory = host.ram_gib * space.GB_PER_GIB
        need, kind = weights + _CPU_OVERHEAD_GB, "memory"
    if weights and memory and memory < need:
        raise DeployError(
            f"not enough {kind}: {memory:.1f} GB, {model.served_name} needs about {need:.1f} GB",
            "take a bigger machine, a smaller model or a quantized one",
        )
