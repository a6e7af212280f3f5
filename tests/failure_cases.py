"""The corpus of failures (tests/data/failures), and the ways that a test reads each of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "data" / "failures"
STARTED_WELL = Path(__file__).parent / "data" / "engine" / "start-cpu.log"
MANY_LINES, SOME_LINES = 10_000, 300
"""What an excerpt is hidden in."""
_PARTING = "\n---\n"


@dataclass(frozen=True, slots=True)
class Case:
    """rule: the id that is right. cause: in words. source: "public report", "made for real" or
    "wording" (as programs have it; what stands around it is made up). engine, version: as far as
    known. lines: of the log."""

    name: str
    rule: str
    cause: str
    source: str
    engine: str
    version: str
    lines: tuple[str, ...]


def load(path: Path) -> Case:
    """A file of the corpus. Raises KeyError for one that lacks a field."""
    head, _, log = path.read_text("utf-8").partition(_PARTING)
    told = dict(line.split(": ", 1) for line in head.splitlines() if ": " in line)
    return Case(
        path.stem,
        told["rule"],
        told["cause"],
        told["source"],
        told.get("engine", ""),
        told.get("version", ""),
        tuple(log.splitlines()),
    )


def cases() -> list[Case]:
    return [load(path) for path in sorted(FOLDER.glob("*.txt"))]


def variants(case: Case, *, deep: bool = True) -> Iterator[tuple[str, list[str]]]:
    """(name, lines): alone, in the frame of vLLM's V1 engine (its own failures only), in the
    middle of a log, and of two workers whose lines alternate. deep: public reports are hidden in
    more lines than are looked at closely."""
    yield "alone", list(case.lines)
    if case.engine not in ("", "vllm"):
        # What is put around the others is vLLM's.
        return
    if case.engine:
        yield "framed", framed(case.lines)
    count = MANY_LINES if deep and case.source == "public report" else SOME_LINES
    yield "buried", buried(case.lines, count, random.Random(case.name))
    yield "interleaved", interleaved(case.lines, bool(case.engine))


def framed(lines: tuple[str, ...]) -> list[str]:
    """As V1 tells why it did not start: something generic before the error, and after it."""
    mark = "(EngineCore_DP0 pid=4711) ERROR 11-02 10:00:00 [core.py:936] "
    server = "(APIServer pid=4700) "
    return [
        f"{mark}EngineCore failed to start.",
        f"{mark}Traceback (most recent call last):",
        f'{mark}  File "/venv/lib/python3.12/site-packages/vllm/v1/engine/core.py", line 927, in '
        "run_engine_core",
        f"{mark}    engine_core = EngineCoreProc(*args, engine_index=dp_rank, **kwargs)",
        *[mark + line for line in lines],
        f"{server}Traceback (most recent call last):",
        f'{server}  File "/venv/bin/vllm", line 10, in <module>',
        f"{server}    sys.exit(main())",
        f"{server}RuntimeError: Engine core initialization failed. See root cause above. "
        "Failed core proc(s): {}",
    ]


def buried(lines: tuple[str, ...], count: int, chance: random.Random) -> list[str]:
    """In the middle of a log in which all else is well."""
    around = ordinary(count, chance)
    at = count // 2
    return [*around[:at], *lines, *around[at:]]


def interleaved(lines: tuple[str, ...], of_engine: bool) -> list[str]:
    """Said by two at once, line by line."""
    marks = ("(Worker_TP0 pid=811) ", "(Worker_TP1 pid=812) ")
    if not of_engine:
        marks = ("job-1  | ", "job-2  | ")
    return [mark + line for line in lines for mark in marks]


def ordinary(count: int, chance: random.Random) -> list[str]:
    """Lines as logs have them when all is well: of a server that works, and of an installer."""
    well = [
        line
        for line in STARTED_WELL.read_text().splitlines()
        if "startup complete" not in line and "Started server process" not in line
    ]
    made = []
    for number in range(count):
        kind = chance.random()
        if kind < 0.5:
            made.append(chance.choice(well))
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


HIGH, MEDIUM = 0.95, 0.75
"""Above which share of what they are said for diagnoses are of that confidence."""


def levels(told: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The confidence that rules deserve. told: (the rule that is right, the one told) of cases."""
    right: Counter[str] = Counter()
    said: Counter[str] = Counter()
    for wanted, found in told:
        said[found] += 1
        right[found] += wanted == found
    return {rule: level(right[rule] / count) for rule, count in said.items()}


def level(share: float) -> str:
    return "high" if share > HIGH else "medium" if share > MEDIUM else "unknown"
