"""How long it takes to rank a long list of offers, and to rank it again for another context.

    .venv/bin/python bench/ranking.py [--offers 100000] [--rounds 12]

The offers are of every type of machine that a market with 33 GPUs, 1 to 8 of each, lists. The model
is known by its configuration, so that every type of machine gets an answer of its own, and every
offer tells what disk and traffic cost. Times are the processor's, so that a busy machine does not
count.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from dataclasses import replace

from gdl.domain.offers import Offer, OfferQuery, OfferTerms
from gdl.domain.ranking import Ranking
from gdl.domain.session_price import SessionNeeds
from gdl.engines.registry import get
from gdl.orchestrator.leasing.model_lookup import found
from gdl.orchestrator.leasing.requirements import fits_of, resolved
from gdl.settings import Settings

GPUS = (
    ("RTX 3060", 12), ("RTX 3080", 10), ("RTX 3090", 24), ("RTX 4070", 12), ("RTX 4080", 16),
    ("RTX 4090", 24), ("RTX 5070 Ti", 16), ("RTX 5080", 16), ("RTX 5090", 32), ("RTX A4000", 16),
    ("RTX A5000", 24), ("RTX A6000", 48), ("RTX 6000 Ada", 48), ("RTX PRO 6000", 96), ("T4", 16),
    ("V100", 16), ("V100", 32), ("A10", 24), ("A16", 16), ("A40", 48), ("A100 PCIE", 40),
    ("A100 PCIE", 80), ("A100 SXM4", 80), ("L4", 24), ("L40", 48), ("L40S", 48), ("H100 PCIE", 80),
    ("H100 SXM", 80), ("H100 NVL", 94), ("H200", 141), ("GH200", 96), ("B200", 180), ("B300", 268),
)  # fmt: skip
CONTEXTS = (4096, 8192, 16384, 32768, 65536, 131072)


def listed(count: int) -> list[Offer]:
    chance = random.Random(1)
    made = []
    for number in range(count):
        name, vram = chance.choice(GPUS)
        price = round(chance.uniform(0.05, 20), 3)
        traffic, mbps = chance.choice((0.0, 0.003, 0.01, 0.02)), chance.uniform(50, 10_000)
        terms = OfferTerms(price, 0.0002, 10, chance.uniform(50, 4000), traffic, traffic, mbps)
        made.append(
            Offer(
                id=f"offer-{number}",
                backend="bench",
                provider=f"provider-{chance.randrange(40)}",
                gpu_name=name,
                gpu_count=chance.choice((1, 1, 2, 4, 8)),
                vram_gb=float(vram),
                price_per_hour=price + 0.002,
                reliability=round(chance.random(), 3),
                cuda_version=13.0,
                machine_id=f"machine-{number // 3}",
                terms=terms,
            )
        )
    return made


def measured(model: str, offers: list[Offer], rounds: int) -> None:
    engine, settings = get("vllm"), Settings()
    asked = OfferQuery(model=model, concurrency=4, max_price=15.0)
    known = resolved(engine, found(engine, model), asked)
    began = time.process_time()
    ranking = Ranking(offers, asked, needs=SessionNeeds(disk_gb=70, download_gb=39.0))
    prepared = time.process_time() - began
    seconds = []
    for number in range(rounds):
        query = replace(asked, context=CONTEXTS[number % len(CONTEXTS)])
        began = time.process_time()
        rows = ranking.ranked(fits_of(engine, known, query, settings))
        seconds.append(time.process_time() - began)
        assert len(rows) == len(offers)
    print(
        f"{model:14} {len(offers)} offers: prepared in {prepared * 1e3:.0f} ms, ranked for another"
        f" context in {min(seconds) * 1e3:.0f} ms at best, {statistics.median(seconds) * 1e3:.0f}"
        " ms at the median"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--offers", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args()
    offers = listed(given.offers)
    for model in ("llama-3.1-8b", "gpt-oss-120b", "qwen3-32b"):
        measured(model, offers, given.rounds)


if __name__ == "__main__":
    main()
