"""Results as others read them: `vllm bench serve --save-result`'s JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gdl.domain.money import hourly
from gdl.loadgen.load import Outcome
from gdl.loadgen.metrics import METRICS, PERCENTS, Spread
from gdl.loadgen.stats import cost_per_million
from gdl.presentation.words import DOUBTED

MARKED = f"{DOUBTED} the load generator was the bottleneck: the server may do better"

_NAMES = {
    "ttft": "Time to first token",
    "tpot": "Time per output token",
    "itl": "Inter-token latency",
    "e2el": "End-to-end latency",
}


@dataclass(frozen=True, slots=True)
class Context:
    """What a result is a result of. price_per_hour: dollars, None when not known. gpu: one or more,
    or "CPU"; it and provider are "" when not known."""

    at: datetime
    url: str
    dataset: str
    price_per_hour: float | None = None
    gpu: str = ""
    provider: str = ""


def money(outcome: Outcome, context: Context) -> tuple[float, float] | None:
    """(dollars per 10^6 output tokens, output tokens per dollar); None without price or tokens."""
    cost = cost_per_million(context.price_per_hour or 0.0, outcome.figures.output_throughput)
    return None if cost is None else (cost, 1e6 / cost)


def vllm_json(outcome: Outcome, context: Context, *, details: bool = True) -> dict[str, Any]:
    """One object with the keys and units of `vllm bench serve` (0.32); percentiles 50, 90, 95 and
    99 of all four metrics. details: the figures of each request too, in seconds. What vLLM has no
    key for is under "gdl"."""
    figures, shape = outcome.figures, outcome.shape
    result: dict[str, Any] = {
        "date": context.at.strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": "openai-chat" if outcome.request_template.mode == "chat" else "openai",
        "backend": "openai-chat" if outcome.request_template.mode == "chat" else "openai",
        "label": None,
        "model_id": outcome.request_template.model,
        "tokenizer_id": outcome.request_template.model,
        "num_prompts": figures.completed + figures.failed,
        "request_rate": shape.arrivals.rate if shape.arrivals else "inf",
        "burstiness": shape.arrivals.burstiness if shape.arrivals else 1.0,
        "max_concurrency": shape.concurrency,
        "duration": figures.duration_s,
        "completed": figures.completed,
        "failed": figures.failed,
        "total_input_tokens": figures.input_tokens,
        "total_output_tokens": figures.output_tokens,
        "request_throughput": figures.request_throughput,
        "request_goodput": figures.goodput,
        "output_throughput": figures.output_throughput,
        "total_token_throughput": figures.total_throughput,
        "max_output_tokens_per_s": figures.most_tokens_per_s,
        "max_concurrent_requests": figures.most_at_once,
    }
    for metric in METRICS:
        found = figures.spread(metric)
        result[f"mean_{metric}_ms"] = found.mean if found else 0.0
        result[f"median_{metric}_ms"] = found.median if found else 0.0
        result[f"std_{metric}_ms"] = found.std if found else 0.0
        for percent in PERCENTS:
            result[f"p{percent}_{metric}_ms"] = found.percentiles[percent] if found else 0.0
    if details:
        result |= _details(outcome)
    result["gdl"] = _ours(outcome, context)
    return result


def _details(outcome: Outcome) -> dict[str, Any]:
    samples = sorted(outcome.samples, key=lambda sample: sample.tag)
    return {
        "input_lens": [sample.input_tokens or 0 for sample in samples],
        "output_lens": [sample.output if sample.ok else 0 for sample in samples],
        "ttfts": [sample.ttft or 0.0 for sample in samples],
        "itls": [list(sample.itls) for sample in samples],
        "start_times": [sample.start for sample in samples],
        "errors": [sample.error for sample in samples],
    }


def _ours(outcome: Outcome, context: Context) -> dict[str, Any]:
    strain, figures = outcome.strain, outcome.figures
    prices = money(outcome, context)
    return {
        "url": context.url,
        "dataset": context.dataset,
        "gpu": context.gpu or None,
        "provider": context.provider or None,
        # This key and the column of that name stay: readers of the files know them.
        "carrier": outcome.transport,
        "note": outcome.note or None,
        "generator_limited": strain.limited or None,
        "cpu_s": strain.cpu_s,
        "cpu_share": strain.cpu_share,
        "processes": strain.processes,
        "loop_lag_p99_ms": strain.lag_p99_ms,
        "sent_late_p99_ms": figures.late_ms,
        "errors_by_kind": figures.errors,
        "answers_without_usage": figures.counted_chunks,
        "price_per_hour": context.price_per_hour,
        "dollars_per_million_output_tokens": prices[0] if prices else None,
        "output_tokens_per_dollar": prices[1] if prices else None,
    }


_COLUMNS = (
    "model_id", "max_concurrency", "request_rate", "completed", "failed", "duration",
    "request_throughput", "request_goodput", "output_throughput", "total_token_throughput",
    *(f"{kind}_{metric}_ms" for metric in METRICS for kind in ("mean", "median", "p95", "p99")),
)  # fmt: skip
_OUR_COLUMNS = ("carrier", "generator_limited", "price_per_hour",
                "dollars_per_million_output_tokens", "output_tokens_per_dollar")  # fmt: skip


def csv_text(outcomes: Sequence[Outcome], context: Context) -> str:
    """A line of headings and one of figures for each outcome."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*_COLUMNS, *_OUR_COLUMNS))
    for outcome in outcomes:
        result = vllm_json(outcome, context, details=False)
        ours = [result["gdl"][name] for name in _OUR_COLUMNS]
        writer.writerow([_cell(v) for v in [*(result[name] for name in _COLUMNS), *ours]])
    return text.getvalue()


def _cell(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def rows(outcome: Outcome, context: Context) -> list[tuple[str, str]]:
    """(name, figure) of one outcome, as a table shows it."""
    figures, shape = outcome.figures, outcome.shape
    if shape.arrivals is not None:
        to = f" to {shape.arrivals.ramp_to:g}" if shape.arrivals.ramp_to is not None else ""
        how = f"{shape.arrivals.rate:g}{to} requests a second"
    else:
        how = f"concurrency {shape.concurrency}"
    found = [
        ("Model", outcome.request_template.model),
        *([("Machine", where)] if (where := _machine(context)) else []),
        ("Load", f"{how}, {context.dataset}"),
        ("Requests", f"{figures.completed} completed, {figures.failed} failed"),
        ("Duration", f"{figures.duration_s:.2f} s"),
        ("Tokens", f"{figures.input_tokens} in, {figures.output_tokens} out"),
        ("Requests per second", f"{figures.request_throughput:.2f}"),
        ("Output tokens per second", f"{figures.output_throughput:.2f}"),
        ("All tokens per second", f"{figures.total_throughput:.2f}"),
    ]
    if figures.goodput is not None:
        found.append(("Goodput, requests per second", f"{figures.goodput:.2f}"))
    found += [
        (f"{_NAMES[metric]}, ms", _spread_text(one))
        for metric in METRICS
        if (one := figures.spread(metric)) is not None
    ]
    if (prices := money(outcome, context)) is not None:
        found.append(("Dollars per 10^6 output tokens", f"{prices[0]:.4f}"))
        found.append(("Output tokens per dollar", f"{prices[1]:,.0f}"))
    return found + [("Note", note) for note in notes(outcome)]


def _machine(context: Context) -> str:
    price = hourly(context.price_per_hour) if context.price_per_hour else ""
    return ", ".join(part for part in (context.gpu, context.provider, price) if part)


def _spread_text(one: Spread) -> str:
    return (
        f"mean {one.mean:.2f}, median {one.median:.2f}, "
        f"p95 {one.percentiles[95]:.2f}, p99 {one.p99:.2f}"
    )


def notes(outcome: Outcome) -> list[str]:
    """What a reader of the figures must know."""
    figures, strain = outcome.figures, outcome.strain
    found = list(figures.error_lines)
    if outcome.note:
        found.append(outcome.note)
    if strain.limited:
        found.append(f"{strain.limited}: these figures are its limit, not the server's")
    if figures.late_ms is not None and figures.late_ms > 5:
        found.append(f"requests were sent up to {figures.late_ms:.0f} ms late (p99)")
    if figures.counted_chunks:
        found.append(f"{figures.counted_chunks} answers had no token counts: chunks were counted")
    return found


def markdown(outcomes: Sequence[Outcome], context: Context) -> str:
    """One outcome as a table of its figures, several as a table of one line each."""
    if len(outcomes) == 1:
        lines = ["| | |", "|---|---|"]
        lines += [f"| {_safe(name)} | {_safe(text)} |" for name, text in rows(outcomes[0], context)]
        return "\n".join(lines) + "\n"
    heads, table = sweep_table(outcomes, context)
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(line) + " |" for line in table]
    if any(outcome.strain.limited for outcome in outcomes):
        lines += ["", MARKED]
    return "\n".join(lines) + "\n"


def sweep_table(
    outcomes: Sequence[Outcome], context: Context
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """(headings, lines): one line for each outcome, by concurrency. Where the generator was the
    bottleneck, the number bears a mark: `MARKED` says what it means."""
    heads = ("at a time", "tokens/s", "TTFT p99 ms", "TPOT p99 ms", "E2EL p99 ms", "$/10^6 tokens",
             "tokens/$")  # fmt: skip
    table = []
    for outcome in outcomes:
        figures, prices = outcome.figures, money(outcome, context)
        spreads = (figures.ttft_ms, figures.tpot_ms, figures.e2el_ms)
        cells = (f"{one.p99:.1f}" if one else "" for one in spreads)
        costs = (f"{prices[0]:.3f}", f"{prices[1]:,.0f}") if prices else ("", "")
        at_a_time = f"{outcome.shape.concurrency or ''}{DOUBTED if outcome.strain.limited else ''}"
        table.append((at_a_time, f"{figures.output_throughput:.1f}", *cells, *costs))
    return heads, table


def _safe(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
