"""What a benchmark is beside the earlier ones, in one sentence."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gdl.domain.benchmark import OWN, BenchReport, Measurement, standing


def measured(
    rate: float,
    gpu: str = "RTX 4090",
    cost: float | None = 0.2,
    count: int = 1,
    at_a_time: int = 4,
    simulated: bool = False,
) -> Measurement:
    report = BenchReport("m", 8, 0, 1.0, 10, 10, 8.0, rate, cost_per_million=cost,
                         concurrency=at_a_time)  # fmt: skip
    return Measurement(
        datetime(2026, 1, 1, tzinfo=UTC),
        "d",
        "s",
        "shopper",
        "m",
        gpu,
        count,
        "vastai",
        0.4,
        OWN,
        report,
        simulated=simulated,
    )


def test_the_first_time() -> None:
    assert standing(measured(100), []) == (
        "RTX 4090: 100.0 tokens/s, the first time this is measured on it"
    )


@pytest.mark.parametrize(
    ("rate", "words"),
    [(112, "12% above the median of 3 earlier runs"), (99, "as the median of 3 earlier runs"),
     (50, "50% below the median of 3 earlier runs")],
)  # fmt: skip
def test_beside_its_own_history(rate: float, words: str) -> None:
    earlier = [measured(90), measured(100), measured(300)]
    assert words in standing(measured(rate), earlier)


def test_the_cheapest_so_far() -> None:
    cheap = measured(40, "RTX 3090", 0.11)
    assert standing(measured(100, cost=0.2), [cheap]).endswith(
        "cheapest so far: RTX 3090 at $0.11 per million, this one $0.20"
    )
    assert standing(measured(100, cost=0.1), [cheap]).endswith(
        "; the cheapest so far at $0.10 per million"
    )
    assert "cheapest" not in standing(measured(100, cost=None), [cheap])


def test_only_the_like_is_compared() -> None:
    others = [measured(500, at_a_time=16), measured(900, count=2), measured(0),
              measured(7, simulated=True)]  # fmt: skip
    assert standing(measured(100, cost=None), others) == (
        "RTX 4090: 100.0 tokens/s, the first time this is measured on it"
    )
    assert measured(1, count=2).hardware == "2 x RTX 4090"
    assert measured(1, gpu="").hardware == "CPU"
