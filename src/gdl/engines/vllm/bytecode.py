"""Byte code while packages come: what vLLM imports most of is installed first, and compiled on the
idle processors beside the download of the rest. A start right after the installation finds all of
it compiled, where it would do so itself, one file after the other, for 10 s and more.
"""

from __future__ import annotations

from gdl.engines.python import shell
from gdl.engines.python.ways import Way

_RECORD = "./venv/bytecode.json"
_FIRST = ("torch", "torch._dynamo", "torch._inductor.compile_fx", "transformers")
_ALL = (
    "vllm.entrypoints.openai.api_server",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
    "vllm.v1.worker.cpu_worker",
    "vllm.v1.worker.gpu_worker",
    "vllm.model_executor.models.registry",
)
_PACKAGES = "torch|transformers|sympy|mpmath|networkx|numpy"

UNUSABLE = ("unusable.txt", 'triton; sys_platform == "never"\n')
"""(name in the work folder, text): what the CPU build asks for and cannot use. vLLM turns this
Triton off at each start, as it has no backend for CPUs; it is a third of all that is unpacked."""

EARLY = f"""\
# What is imported most, first; its byte code is made while the rest comes. All that can be won is
# time: the line after it installs whatever is missing.
compiling=
trap '[ -z "$compiling" ] || kill "$compiling" 2>/dev/null || :' EXIT
among() {{ sed -n -E 's/^ \\+ (({_PACKAGES})==[^ ]+).*/\\1/p'; }}
compile_first() {{
    {shell.PYTHON} ./bytecode.py {_RECORD} {shell.words(_FIRST)} >/dev/null 2>&1 &
    compiling=$!
}}
compiled() {{
    [ -z "$compiling" ] || wait "$compiling" || :
    compiling=
    {shell.PYTHON} ./bytecode.py {_RECORD} {shell.words(_ALL)} || :
}}
"""


def by_uv(way: Way, shared: list[str]) -> str:
    """Shell that tries a way by uv: what it comes to, the first of it, all of it. Needs EARLY."""
    asked = shell.uv_line(way, [*shared, "--dry-run"])
    first = shell.uv_line(way, [*shared, "--no-deps"], "$first")
    return f"""{{
    said=$({asked} 2>&1) || ! printf '%s\\n' "$said"
}} && {{
    first=$(printf '%s\\n' "$said" | among)
    if [ -n "$first" ] && {first}; then compile_first; fi
    {shell.uv_line(way, shared)} && compiled
}}"""
