"""How right and how quick the diagnosis is.

    .venv/bin/python bench/diagnosis.py [--calibrate] [--quick]

Every case of tests/data/failures is read alone, in the frame that vLLM's V1 engine puts around an
error, in the middle of a long log (10 000 lines for public reports), and said by two workers at
once. The corpus is what the rules were written from: its figures say that nothing was lost, not how
the diagnosis does on logs that it has not seen (bench/README.md has that, graded by others).

--calibrate writes src/gdl/diagnosis/confidence.toml: the rules that are right too seldom. --quick
omits the speed, which is that of reading long logs without a cause to their end.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from failure_cases import STARTED_WELL, Case, cases, levels, ordinary, variants  # noqa: E402
from gdl.diagnosis.rule_engine import Diagnosis, Scanner, explain, rule_set  # noqa: E402
from gdl.engines.registry import get, names  # noqa: E402

RULES = rule_set(*((name, get(name).rules()) for name in names()))
CONFIDENCE = ROOT / "src" / "gdl" / "diagnosis" / "confidence.toml"
LINES = 10_000
SEEDS = 5
MEGABYTES = 100
ROUNDS = 3


def diagnosed(lines: list[str], status: int | None = 1) -> Diagnosis:
    scanner = Scanner(RULES)
    scanner.feed(("\n".join(lines) + "\n").encode())
    return explain(scanner, status)


def read_all() -> list[tuple[Case, str, Diagnosis]]:
    """(case, variant, what was told) of the whole corpus."""
    return [(case, name, diagnosed(lines)) for case in cases() for name, lines in variants(case)]


def grade(case: Case, found: Diagnosis) -> str:
    if found.rule == case.rule:
        return "right"
    return "wrong" if found.known else "unknown"


def quality(told: list[tuple[Case, str, Diagnosis]]) -> None:
    specific = sum(rule.tier == 1 for rule in RULES.rules)
    print(f"{len(RULES.rules)} rules, {specific} of them specific")
    table: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    by_level: dict[str, Counter[str]] = defaultdict(Counter)
    for case, variant, found in told:
        table[case.source, variant][grade(case, found)] += 1
        if found.known:
            by_level[found.confidence][grade(case, found)] += 1
        if found.rule != case.rule:
            print(f"  {case.name} ({variant}): {case.rule} was taken for {found.rule}")
    for (source, variant), count in sorted(table.items()):
        print(
            f"{source}, {variant}: {count['right']} right, {count['wrong']} wrong, "
            f"{count['unknown']} unknown of {count.total()}"
        )
    for confidence, count in sorted(by_level.items()):
        print(f"confidence {confidence}: {count['right'] / count.total():.1%} right")
    well = STARTED_WELL.read_text().splitlines()
    silent = [diagnosed(ordinary(LINES, random.Random(seed)), None) for seed in range(SEEDS)]
    silent.append(diagnosed(well, 0))
    named = [found.rule for found in silent if found.known]
    print(f"{len(silent)} logs without a failure: {len(named)} were given a cause {named or ''}")


def calibrate(told: list[tuple[Case, str, Diagnosis]]) -> None:
    """Keep the comment, write the names."""
    deserved = levels((case.rule, found.rule) for case, _, found in told)
    head = CONFIDENCE.read_text().partition("\nmedium = ")[0]
    rows = []
    for level in ("medium", "unknown"):
        names = sorted(rule for rule, what in deserved.items() if what == level != rule)
        quoted = ", ".join(f'"{name}"' for name in names)
        rows.append(f"{level} = [{quoted}]\n")
    CONFIDENCE.write_text(f"{head}\n{''.join(rows)}")


def prompts(chance: random.Random) -> Iterator[str]:
    """Lines of which no two are alike, in words that nobody has heard of."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(chance.choices(letters, k=chance.randrange(3, 9))) for _ in range(20_000)]
    while True:
        said = " ".join(chance.choices(words, k=15))
        yield (
            "(APIServer pid=1) INFO 11-01 10:00:00 [logger.py:43] Received request "
            f"cmpl-{chance.getrandbits(128):032x}: prompt: {said!r}"
        )


def failing_requests(chance: random.Random) -> Iterator[str]:
    path = "/usr/lib/python3/dist-packages"
    while True:
        yield "Traceback (most recent call last):"
        yield f'  File "{path}/uvicorn/protocols/http/httptools_impl.py", line 401, in run_asgi'
        yield "    result = await app("
        yield f'  File "{path}/vllm/entrypoints/openai/api_server.py", line 33, in chat'
        yield "    return await handler()"
        yield f"ValueError: request {chance.getrandbits(64):x} is none that is understood"


def sorts() -> Iterator[tuple[str, Iterator[str], Callable[[str], bytes]]]:
    """(title, lines, how each is written down)."""
    chance = random.Random(1)
    everyday = ordinary(LINES, chance)
    stamp = "2026-01-01T00:00:00.000000000Z"
    as_it_is = "{}\n".format
    yield "ordinary lines", cycle(everyday), lambda line: as_it_is(line).encode()
    yield "coloured", cycle(everyday), lambda line: f"\x1b[1;36m(x)\x1b[0;0m {line}\n".encode()
    yield (
        "of Docker", cycle(everyday),
        lambda line: json.dumps({"log": f"{line}\n", "time": stamp}).encode() + b"\n",
    )  # fmt: skip
    yield "prompts, no two alike", prompts(chance), lambda line: as_it_is(line).encode()
    yield "failing requests", failing_requests(chance), lambda line: as_it_is(line).encode()


def speed() -> None:
    """Whole reading, to the answer. Processor time: what else runs does not count, though it takes
    the caches away."""
    for title, lines, written in sorts():
        whole = bytearray()
        while len(whole) < MEGABYTES * 10**6:
            whole += written(next(lines))
        rates, begun_at = [], time.perf_counter()
        for _ in range(ROUNDS):
            scanner = Scanner(RULES)
            begun = time.process_time()
            for at in range(0, len(whole), 1 << 20):
                scanner.feed(bytes(whole[at : at + (1 << 20)]))
            explain(scanner, 1)
            rates.append(len(whole) / 1e6 / (time.process_time() - begun))
        wall = (time.perf_counter() - begun_at) / ROUNDS
        print(
            f"speed, {title}: {statistics.median(rates):.0f} MB/s ({min(rates):.0f} to "
            f"{max(rates):.0f}), {len(whole) / 1e6:.0f} MB in {wall:.1f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calibrate", action="store_true", help="write confidence.toml")
    parser.add_argument("--quick", action="store_true", help="omit the speed")
    asked = parser.parse_args()
    everything = read_all()
    quality(everything)
    if asked.calibrate:
        calibrate(everything)
    if not asked.quick:
        speed()


if __name__ == "__main__":
    main()
