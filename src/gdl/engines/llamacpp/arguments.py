"""What llama-server's own arguments say, as far as a plan goes by it."""

from __future__ import annotations

from collections.abc import Iterable

from gdl.engines.checks import check_arguments

NAMES = {
    "-m": "--model", "-mu": "--model-url", "-hf": "--hf-repo", "-hfr": "--hf-repo",
    "-hff": "--hf-file", "-hft": "--hf-token", "-a": "--alias", "-c": "--ctx-size",
    "-np": "--parallel",
    "-ngl": "--gpu-layers", "--n-gpu-layers": "--gpu-layers", "-ctk": "--cache-type-k",
    "-ctv": "--cache-type-v", "-kvu": "--kv-unified", "-t": "--threads", "-fa": "--flash-attn",
    "-lv": "--verbosity", "--log-verbosity": "--verbosity", "-v": "--verbose",
    "-ub": "--ubatch-size", "-b": "--batch-size", "-sm": "--split-mode", "-ts": "--tensor-split",
}  # fmt: skip
"""Short names -> the one in full."""
_OURS = {
    "--model": "name it as the model to deploy",
    "--model-url": "name it as the model to deploy",
    "--hf-repo": "name it as the model to deploy",
    "--hf-file": "name it as the model to deploy: owner/name-GGUF:Q4_K_M",
    "--alias": "the name is the alias or the hub id",
    "--port": "set engine.port instead",
    "--host": "set engine.host instead",
    "--api-key": "a key is made for every deployment; an argument would show it to everyone",
    "--api-key-file": "a key is made for every deployment",
}


def given(arguments: Iterable[str]) -> dict[str, str]:
    """The flags in a command line by full name, each with its last value; "" for none."""
    found: dict[str, str] = {}
    flag = ""
    for word in arguments:
        if word.startswith("-") and not word[1:2].isdigit():
            flag = NAMES.get(word, word)
            found[flag] = ""
        elif flag:
            found[flag], flag = word, ""
    return found


def number(found: dict[str, str], flag: str) -> int:
    """The value of a flag, 0 where it is not given or is none that counts."""
    value = found.get(flag, "")
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else 0


def check(arguments: tuple[str, ...]) -> None:
    """Raises UsageError for what the deployment decides itself, and for NUL bytes."""
    check_arguments(arguments, given(arguments), _OURS)
