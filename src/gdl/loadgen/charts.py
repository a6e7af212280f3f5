"""Charts of plain text: how latencies are spread, and what each point of a sweep reached."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from gdl.loadgen.load import Outcome
from gdl.loadgen.stats import percentile

WIDTH = 40
"""Characters of the longest bar."""
_LEAST = 10
"""Fewer values are better read one by one."""
_BINS = 8
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def distributions(outcome: Outcome) -> list[str]:
    """A histogram of the TTFTs and one of the gaps between chunks, as far as there are enough."""
    good = [sample for sample in outcome.samples if sample.ok]
    ttfts = [sample.ttft * 1000 for sample in good if sample.ttft is not None]
    gaps = [gap * 1000 for sample in good for gap in sample.itls]
    lines: list[str] = []
    for title, values in (("Time to first token", ttfts), ("Inter-token latency", gaps)):
        if len(values) >= _LEAST:
            lines += ["", f"{title}, ms", *histogram(values)]
    return lines


def histogram(values: Sequence[float]) -> list[str]:
    """A line for each interval: its ends, a bar, how many values are in it. The intervals reach
    to the 99th percentile; what is beyond it is on a line of its own, so that one straggler does
    not push everything else into one interval. Lower ends belong to an interval, upper do not."""
    low, high = min(values), percentile(values, 99)
    step = _step(high - low)
    first = _place(low, step)
    count = _place(high, step) - first + 1
    counts = [0] * (count + 1)
    for value in values:
        counts[min(_place(value, step) - first, count)] += 1
    digits = max(0, -math.floor(math.log10(step))) + (1 if step < 10 and step % 1 else 0)
    edges = [f"{(first + place) * step:.{digits}f}" for place in range(count + 1)]
    labels = [f"{a} - {b}" for a, b in pairwise(edges)]
    labels.append(f"{edges[-1]} and more")
    if not counts[-1]:
        labels.pop()
        counts.pop()
    return bars(
        [(label, float(number), str(number)) for label, number in zip(labels, counts, strict=True)]
    )


def _place(value: float, step: float) -> int:
    """The interval of a value; what rounding put just below an edge is on it."""
    return math.floor(value / step + 1e-9)


def _step(span: float) -> float:
    """A round width for about eight intervals."""
    wanted = max(span / _BINS, 1e-3)
    size = 10.0 ** math.floor(math.log10(wanted))
    return next(size * step for step in _STEPS if size * step >= wanted * (1 - 1e-9))


def throughputs(outcomes: Sequence[Outcome]) -> list[str]:
    """A bar for each point of a sweep: output tokens a second."""
    return bars(
        [
            (
                str(outcome.shape.concurrency or ""),
                outcome.figures.output_throughput,
                f"{outcome.figures.output_throughput:.1f}",
            )
            for outcome in outcomes
        ]
    )


def bars(rows: Sequence[tuple[str, float, str]]) -> list[str]:
    """Of (label, value, what is written behind its bar); none for no rows."""
    wide = max((len(label) for label, _, _ in rows), default=0)
    most = max((value for _, value, _ in rows), default=0.0) or 1.0
    return [
        f"  {label:>{wide}}  {'#' * max(round(value / most * WIDTH), int(value > 0))} {text}"
        for label, value, text in rows
    ]
