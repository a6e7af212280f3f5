"""What a model is and takes, as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gdl.cli.tables import named_values, table
from gdl.orchestrator.leasing.model_details import REFERENCE, SMALLEST
from gdl.presentation.hardware import gigabytes
from gdl.presentation.lines import plain
from gdl.presentation.words import plural

if TYPE_CHECKING:
    from gdl.domain.requirements.allocation import GpuKind, Load
    from gdl.orchestrator.api.model_views import ModelDetails


def page(
    told: ModelDetails, load: Load, gpu: GpuKind | None, columns: int | None = None
) -> Iterator[str]:
    """Names and values first, then the GPUs, then the variants. columns: of the terminal, None
    where a line may be of any length."""
    rows = [(name, plain(value, 300)) for name, value in _facts(told, load, gpu) if value]
    yield from named_values(rows, columns)
    if told.fits:
        yield ""
        headings = ("GPU", ">MEMORY", ">GPUS", "FITS")
        yield from table(
            headings,
            [
                (
                    each.gpu,
                    f"{each.memory_gib:.1f} GiB",
                    str(each.gpus),
                    ("yes: " if each.fits else "no: ") + each.words,
                )
                for each in told.fits
            ],
            columns,
        )
    if told.variants:
        yield ""
        on = f"ON {SMALLEST if gpu is None else gpu.name}"
        yield from table(
            ("VARIANT", ">SIZE", on, "HUB ID"),
            [
                (
                    each.words,
                    "" if each.size_gb is None else gigabytes(each.size_gb),
                    each.fits,
                    each.id,
                )
                for each in told.variants
            ],
            columns,
        )


def _facts(told: ModelDetails, load: Load, gpu: GpuKind | None) -> Iterator[tuple[str, str]]:
    yield "model", told.id
    yield "known", told.source
    yield "architecture", told.architecture
    yield "licence", told.license + (", gated: needs a token" if told.gated else "")
    yield "context", f"{told.max_context:,} tokens at most" if told.max_context else ""
    yield "download", "" if told.download_gb is None else gigabytes(told.download_gb)
    yield "disk", "" if told.disk_gb is None else f"{told.disk_gb} GB"
    yield "load", f"{plural(load.sequences, 'request')} of {load.context:,} tokens"
    yield "GPU", _gpu(load, gpu)
    yield "weights", _gb(told.weights_gb)
    yield "KV cache", _gb(told.kv_cache_gb) + _growth(told)
    yield "overhead", _gb(told.overhead_gb)
    yield "VRAM", _gb(told.vram_gb)
    yield "splits over", ", ".join(map(str, told.tp_allowed)) + (" GPUs" if told.tp_allowed else "")
    yield "tools", told.tool_parser
    yield "reasoning", told.reasoning_parser
    yield "chat template", told.chat_template
    yield "its own code", "needs --trust-remote-code" if told.trust_remote_code else ""
    yield "environment", " ".join(f"{name}={value}" for name, value in told.env.items())
    yield "needs vLLM", _releases(told.min_vllm, told.max_vllm)


def _releases(first: str, last: str) -> str:
    """ "0.8.4 to 0.23.0", or with one end alone."""
    if first and last:
        return f"{first} to {last}"
    return f"{first} or newer" if first else f"{last} or older" if last else ""


def _gpu(load: Load, gpu: GpuKind | None) -> str:
    name = REFERENCE if gpu is None else gpu.name
    return name if load.tensor_parallel == 1 else f"{load.tensor_parallel}x {name}, each:"


def _gb(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} GB"


def _growth(told: ModelDetails) -> str:
    if told.kv_bytes_per_token is None or told.state_bytes_per_sequence is None:
        return ""
    words = f": {told.kv_bytes_per_token:,.0f} bytes per token"
    if told.state_bytes_per_sequence:
        words += f" and {told.state_bytes_per_sequence / 1e6:,.0f} MB per sequence"
    return words
