"""How right and how quick the diagnosis is.

    .venv/bin/python bench/diagnosis.py

Every excerpt of src/gdl/simulator/logs is told apart from all others: alone, and hidden at a random
place in a log of 10 000 ordinary lines (of a real start, and of an installer). The speed is that of
reading long logs without a cause, which have to be read to their end.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

from gdl import simulator
from gdl.diagnosis.rule_engine import Scanner, explain, rule_set
from gdl.engines.registry import get

TESTS = Path(__file__).resolve().parent.parent / "tests" / "data"
LOGS = Path(simulator.__file__).parent / "logs"
ORDINARY = (TESTS / "engine" / "start-cpu.log").read_text().splitlines()
RULES = rule_set(("vllm", get("vllm").rules()))
LINES = 10_000
SEEDS = 5
MEGABYTES = 100


def ordinary_lines(count: int, chance: random.Random) -> list[str]:
    """Lines as logs have them when all is well."""
    made = []
    for number in range(count):
        kind = chance.random()
        if kind < 0.5:
            made.append(chance.choice(ORDINARY))
        elif kind < 0.7:
            made.append(
                f"INFO:     127.0.0.1:{chance.randrange(65536)} - "
                '"POST /v1/chat/completions HTTP/1.1" 200 OK'
            )
        elif kind < 0.85:
            made.append(
                f"(APIServer pid={chance.randrange(99999)}) INFO 01-01 00:00:00 [loggers.py:259] "
                f"Engine 000: Avg prompt throughput: {chance.random() * 900:.1f} tokens/s, "
                f"Running: {chance.randrange(256)} reqs, Waiting: 0 reqs, KV cache usage: 1.0%"
            )
        else:
            name = f"package-{chance.randrange(999)}"
            made.append(f"Downloading {name}-1.{number}.0-py3-none-any.whl ({number % 900} kB)")
    return made


def diagnosed(lines: list[str]) -> str:
    scanner = Scanner(RULES)
    scanner.feed(("\n".join(lines) + "\n").encode())
    return explain(scanner, 1).rule


def quality() -> None:
    names = sorted(path.stem for path in LOGS.glob("*.log"))
    tiers = {rule.id: rule.tier for rule in RULES.rules}
    for title, hidden in (("alone", False), (f"in {LINES} ordinary lines", True)):
        told: list[tuple[str, str]] = []
        for seed in range(SEEDS if hidden else 1):
            chance = random.Random(seed)
            around = ordinary_lines(LINES, chance) if hidden else []
            for name in names:
                excerpt = (LOGS / f"{name}.log").read_text().splitlines()
                at = chance.randrange(len(around) + 1)
                told.append((name, diagnosed([*around[:at], *excerpt, *around[at:]])))
        right = sum(name == found for name, found in told)
        named = sum(found != "unknown" for _, found in told)
        specific = [(name, found) for name, found in told if tiers[name] == 1]
        first = sum(name == found for name, found in specific)
        print(
            f"{title}: precision {right / named:.1%}, recall {right / len(told):.1%} of "
            f"{len(told)}; specific rules first {first / len(specific):.1%} of {len(specific)}"
        )
        for name, found in sorted(set(told)):
            if name != found:
                print(f"  {name} was taken for {found}")
    silent = [diagnosed(ordinary_lines(LINES, random.Random(seed))) for seed in range(SEEDS)]
    print(
        f"{SEEDS} logs without a failure: {silent.count('unknown')} of {SEEDS} said to be unknown"
    )


def speed() -> None:
    chance = random.Random(1)
    piece = ("\n".join(ordinary_lines(LINES, chance)) + "\n").encode()
    rounds = MEGABYTES * 10**6 // len(piece) + 1
    megabytes = rounds * len(piece) / 1e6
    rates = []
    for _ in range(3):
        scanner = Scanner(RULES)
        # Processor time: what else runs on the machine does not count.
        begun = time.process_time()
        for _ in range(rounds):
            scanner.feed(piece)
        assert explain(scanner, 1).rule == "unknown"
        rates.append(megabytes / (time.process_time() - begun))
    print(f"speed: {min(rates):.0f} to {max(rates):.0f} MB/s over {megabytes:.0f} MB")


if __name__ == "__main__":
    quality()
    speed()
