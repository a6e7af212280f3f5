"""A benchmark in the words of cloud-gpu-shopper."""

from __future__ import annotations

import math
from typing import Any

from gdl.domain.benchmark import BenchReport, Measurement, Percentiles, Publication
from gdl.domain.host import HostFacts


def body(one: Publication) -> dict[str, Any]:
    """What `POST /benchmarks` takes. The service counts tokens per dollar from the average tokens a
    second, so that is the throughput of the whole machine. What is not known is omitted: the
    figures of single requests, the GPU's during the run, the model's size."""
    kept = one.measurement
    return {
        "timestamp": kept.at.isoformat(),
        "hardware": _hardware(kept, one.host),
        "model": {"name": kept.model, "runtime": one.engine},
        "test_config": {
            "duration_minutes": math.ceil(kept.report.duration_s / 60),
            "prompt_types": [kept.workload],
            "concurrent_reqs": kept.report.concurrency,
        },
        "provider": kept.provider,
        "price_per_hour": kept.price,
        "results": _results(kept.report),
    }


def _hardware(kept: Measurement, host: HostFacts | None) -> dict[str, Any]:
    found: dict[str, Any] = {"gpu_name": kept.gpu, "gpu_count": kept.gpu_count}
    if host is None:
        return found
    if host.gpus:
        found["gpu_name"] = host.gpus[0].name
        found["gpu_count"] = len(host.gpus)
        found["gpu_memory_mib"] = host.gpus[0].memory_mib
    return found | {
        "driver_version": host.driver,
        "cuda_version": host.cuda,
        "cpu_cores": host.cpu_count,
        "ram_gib": round(host.ram_gib),
    }


def _results(report: BenchReport) -> dict[str, Any]:
    sent = report.completed + report.failed
    return {
        "total_requests": sent,
        "total_tokens": report.output_tokens,
        "total_prompt_tokens": report.input_tokens,
        "total_errors": report.failed,
        "duration_seconds": report.duration_s,
        "avg_tokens_per_second": report.output_throughput,
        **_spread(report.e2el_ms, "latency_ms", p99=True),
        "requests_per_minute": report.request_throughput * 60,
        "avg_tokens_per_request": report.output_tokens / max(report.completed, 1),
        "error_rate": report.failed / max(sent, 1),
        **_spread(report.ttft_ms, "ttft_ms", p99=False),
    }


def _spread(values: Percentiles | None, name: str, *, p99: bool) -> dict[str, float]:
    if values is None:
        return {}
    found = {f"avg_{name}": values.mean, f"p50_{name}": values.median, f"p95_{name}": values.p95}
    return found | ({f"p99_{name}": values.p99} if p99 else {})
