"""What the simulated vLLM server tells at /metrics.

Standard library only: it runs on the simulated machine.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0)


@dataclass
class Metrics:
    """counts: tokens, and requests by how they ended. times: seconds."""

    running: int = 0
    waiting: int = 0
    counts: dict[str, int] = field(
        default_factory=lambda: {"prompt": 0, "generation": 0, "stop": 0, "length": 0}
    )
    times: dict[str, list[float]] = field(
        default_factory=lambda: {"first": [], "between": [], "whole": []}
    )

    def text(self, model: str, seats: int) -> str:
        label = f'engine="0",model_name="{model}"'
        used = min(self.running / max(seats, 1), 1.0)
        lines = ["# A simulated server: these figures are made up."]
        for name, value in (
            ("num_requests_running", float(self.running)),
            ("num_requests_waiting", float(self.waiting)),
            ("kv_cache_usage_perc", used),
        ):
            lines += [f"# TYPE vllm:{name} gauge", f"vllm:{name}{{{label}}} {value}"]
        for name, value in (
            ("prompt_tokens_total", self.counts["prompt"]),
            ("generation_tokens_total", self.counts["generation"]),
            ("num_preemptions_total", 0.0),
        ):
            lines += [f"# TYPE vllm:{name} counter", f"vllm:{name}{{{label}}} {float(value)}"]
        lines.append("# TYPE vllm:request_success_total counter")
        for reason in ("stop", "length"):
            one = f'{label},finished_reason="{reason}"'
            lines.append(f"vllm:request_success_total{{{one}}} {float(self.counts[reason])}")
        for name, key in (
            ("time_to_first_token_seconds", "first"),
            ("inter_token_latency_seconds", "between"),
            ("e2e_request_latency_seconds", "whole"),
        ):
            lines += _histogram(f"vllm:{name}", label, self.times[key])
        return "\n".join(lines) + "\n"


def _histogram(name: str, label: str, values: list[float]) -> list[str]:
    lines = [f"# TYPE {name} histogram"]
    for bound in _BOUNDS:
        count = sum(value <= bound for value in values)
        lines.append(f'{name}_bucket{{{label},le="{bound}"}} {float(count)}')
    lines.append(f'{name}_bucket{{{label},le="+Inf"}} {float(len(values))}')
    lines += [f"{name}_sum{{{label}}} {sum(values)}", f"{name}_count{{{label}}} {len(values)}"]
    return lines
