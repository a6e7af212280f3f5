"""Benchmarks of a session, by options, kept and compared: real processes, a real SSH host."""

from __future__ import annotations

import json

import pytest

from market_support import Place

pytestmark = pytest.mark.long


NEVER_STRAINED = (
    "import math; from gdl.__main__ import main; from gdl.loadgen import strain;"
    " strain.BUSY_SHARE = strain.LAG_LIMIT_MS = math.inf; main()"
)
"""A generator that had no core to itself says so, and publishes nothing; here it is no matter how
busy this computer is."""


@pytest.mark.minute
async def test_every_way_to_measure_is_kept_and_compared(place: Place) -> None:
    session = place.session
    place.entry = ("-c", NEVER_STRAINED)
    load = json.loads(
        await place.gdl("bench", session, "--concurrency", "2", "--requests", "6", "--json")
    )
    assert (load["completed"], load["failed"], load["max_concurrency"]) == (6, 0, 2)
    assert load["gdl"]["price_per_hour"] == 0.1
    assert (load["gdl"]["gpu"], load["gdl"]["provider"]) == ("RTX 3090", "vastai")

    swept = json.loads(
        await place.gdl("bench", session, "--sweep", "--max-concurrency", "2", "--requests", "4",
                        "--dataset", "random", "--output-len", "16", "--json")
    )  # fmt: skip
    points = [point["concurrency"] for point in swept["points"]]
    assert points == [1, 2]

    # Of a sweep the best point is published, of the own benchmark the whole.
    await place.gdl("bench", session, "--sweep", "--max-concurrency", "2", "--requests", "4",
                    "--dataset", "random", "--output-len", "8", "--publish", "--json")  # fmt: skip
    (best,) = place.shopper.benchmarks
    assert best["test_config"]["prompt_types"] == ["random, out 8"]
    assert best["hardware"]["gpu_name"] == "NVIDIA GeForce RTX 3090"
    assert best["price_per_hour"] == 0.1 and best["results"]["avg_tokens_per_second"] > 0

    standings = [
        json.loads(await place.gdl("bench", session, "--json"))["standing"] for _ in range(2)
    ]
    assert "the first time" in standings[0] and "of 1 earlier run" in standings[1]

    kept = [json.loads(line) for line in (await place.gdl("benchmarks", "--json")).splitlines()]
    assert [(row["workload"], row["report"]["concurrency"]) for row in kept] == [
        ("own", 4),
        ("own", 4),
        ("random, out 8", 2),
        ("random, out 8", 1),
        ("random, out 16", 2),
        ("random, out 16", 1),
        ("builtin", 2),
    ]
    assert {row["provider"] for row in kept} == {"vastai"}
    assert all(row["gpu"] and row["report"]["cost_per_million"] > 0 for row in kept)
    assert [row["best"] for row in kept].count(True) == 2

    text = await place.gdl("benchmarks", "--gpu", kept[0]["gpu"][-4:].lower())
    lines = text.splitlines()
    assert len(lines) == 8 and "TOKENS/$" in lines[0]
    costs = [float(word.strip("$")) for line in lines[1:] for word in line.split()
             if word.startswith("$") and "/" not in word]  # fmt: skip
    assert costs == sorted(costs) and len(costs) == 7
    assert len((await place.gdl("benchmarks", "--model", "no-such-model")).splitlines()) <= 1
