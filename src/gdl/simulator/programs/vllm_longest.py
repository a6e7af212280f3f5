"""The longest context of each model, which a server takes from the model's configuration.

Standard library only: it runs on the simulated machine.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from .vllm_host import Host

USUAL = 4096
"""Of a model that nobody knows, such as one on the machine's disk."""


def own_longest(model: str) -> int | None:
    """Tokens, of `longest.json`: what the catalogue says. None for a model that it lacks."""
    told = json.loads(Path(__file__).with_name("longest.json").read_text("utf-8"))
    wanted = model.casefold()
    for tokens, ids in told.items():
        if any(wanted == ident.casefold() for ident in ids):
            return int(tokens)
    return None


def at_most(model: str, host: Host) -> int | None:
    """Tokens that a server on this machine takes; None for no limit. The log of a fault is that of
    another model, and so is the context that it calls for."""
    return None if host.facts["server"] else own_longest(model)


def too_long(asked: int, own: int | None) -> str:
    """Why vLLM 0.32 does not start with that context; "" where it does."""
    if own is None or asked <= own or os.environ.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") == "1":
        return ""
    return (
        f"User-specified max_model_len ({asked}) is greater than the derived max_model_len "
        f"(max_position_embeddings={own} or model_max_length=None in model's config.json). "
        "To allow overriding this maximum, set the env var VLLM_ALLOW_LONG_MAX_MODEL_LEN=1."
    )


def shortened(longest: int, tokens: int, free_gib: float) -> str:
    """What vLLM says where it was to choose a context that fits."""
    return (
        f"Auto-fit max_model_len: reduced from {longest} to {tokens} to fit in available KV cache"
        f" memory ({free_gib:.2f} GiB GPU)"
    )
