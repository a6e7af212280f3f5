"""How vLLM divides a GPU's memory: weights, KV cache and the rest.

Read from vLLM 0.32.0 (v1/core/kv_cache_utils.py, v1/kv_cache_interface.py, platforms/interface.py
and the models). bench/ compares it with figures of vLLM's own code.
"""

from gdl.engines.vllm.memory.model import VllmMemory

__all__ = ["MEMORY", "VllmMemory"]

MEMORY = VllmMemory()
