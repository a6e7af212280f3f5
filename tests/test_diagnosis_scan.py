"""Logs of any length: read in pieces, quickly, and told as if read line by line."""

from __future__ import annotations

import random
import re
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diagnosis_support import Scanner, diagnose, rules
from gdl.diagnosis.literals import required
from gdl.diagnosis.prefixes import LINE
from gdl.diagnosis.rule_engine import Diagnosis, explain
from gdl.diagnosis.rules import Rule
from gdl.domain.remedies import Remedy, RemedyKind
from log_excerpts import LOGS

STARTED_WELL = Path(__file__).parent / "data" / "engine" / "start-cpu.log"
BY_TEXT = [rule for rule in rules if rule.pattern is not None]
SHOWN = [r for r in BY_TEXT if not r.generic and (LOGS / f"{r.id}.log").exists()]
"""Those that the simulated servers print."""


def read(data: bytes, size: int, status: int | None = 1) -> Diagnosis:
    scanner = Scanner()
    for at in range(0, len(data), size):
        scanner.feed(data[at : at + size])
    return explain(scanner, status)


@pytest.mark.parametrize("rule", BY_TEXT, ids=lambda r: r.id)
@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_no_line_that_a_rule_matches_is_passed_over(rule: Rule, data: st.DataObject) -> None:
    assert rule.pattern is not None
    line = data.draw(st.from_regex(rule.pattern).filter(lambda text: len(text) < 400))
    assert any(text in line for text in required(rule.pattern.pattern))


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("plain text", ["plain text"]),
        (r"a\.word: (x|y)+ ending\(s\)?", [" ending(s"]),
        (r"[Aa]ddress (?:b|c) in use", ["ddress "]),
        (r"colou?r|sha+de", ["colo", "sha"]),
        (r"^[]a|b]*words[^]x]{2,3}", ["words"]),
    ],
)
def test_the_text_a_pattern_needs(pattern: str, found: list[str]) -> None:
    assert list(required(pattern)) == found


@pytest.mark.parametrize("pattern", [r"\d+", r"(\d|b)", "text|"])
def test_a_pattern_that_needs_no_text_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="no plain text"):
        required(pattern)


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("name", ["context-does-not-fit", "engine-start", "nccl", "wrong-python"])
def test_the_pieces_do_not_matter(name: str, size: int) -> None:
    data = (LOGS / f"{name}.log").read_bytes()
    assert read(data, size) == read(data, len(data))
    assert read(data, size) == diagnose(data.decode().splitlines(), exit_status=1)


@settings(deadline=None)
@given(st.text(alphabet="xnetl"))
def test_any_order_of_lines_is_told_alike_in_pieces_and_whole(drawn: str) -> None:
    lines = {
        "x": "x",
        "n": "No space left on device",
        "e": "KeyError: 'a'",
        "t": "",
        "l": "y" * 9000,
    }
    data = "\n".join(lines[letter] for letter in drawn).encode()
    same = read(data, 11) == read(data, len(data) or 1)
    assert same


def test_a_progress_bar_and_colours_hide_nothing() -> None:
    data = b"\rLoading  10%\r 20%\r\x1b[31mOSError\x1b[0m: [Errno 28] No \x1b[1mspace\x1b[0m"
    assert read(data + b" left on device\r\n", 5).rule == "no-space"


def test_a_line_without_an_end_is_bounded_and_what_follows_is_read() -> None:
    scanner = Scanner()
    tracemalloc.start()
    for _ in range(200):
        scanner.feed(b"z" * 100_000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    scanner.feed(b"\nNo space left on device\n")
    found = explain(scanner)
    assert found.rule == "no-space"
    assert max(len(line) for line in found.evidence) <= 300
    assert most < 20 * 2**20


def test_text_beyond_what_is_shown_of_a_line_is_not_matched() -> None:
    assert diagnose(["z" * LINE + " No space left on device"]).rule == "unknown"


def test_the_lines_after_a_match_come_from_the_next_piece() -> None:
    scanner = Scanner()
    scanner.feed(b"before\nNo space left on device\n")
    scanner.feed(b"one\ntwo\nthree\nfour\n")
    evidence = explain(scanner).evidence
    assert evidence == ("before", "No space left on device", "one", "two", "three")


def test_an_unknown_failure_shows_the_tracebacks_own_error() -> None:
    prefix = "(EngineCore pid=12) ERROR 01-01 12:00:00 [core.py:866] "
    lines = [
        prefix + "Traceback (most recent call last):",
        prefix + '  File "x.py", line 3, in run',
        prefix + '    raise ValueError("shown only as source")',
        prefix + "pkg.flux.Unbalanced: the flux is off by 7",
        "ERROR:    Application startup failed. Exiting.",
    ]
    assert "pkg.flux.Unbalanced: the flux is off by 7" in diagnose(lines).cause
    data = "\n".join(lines).encode()
    assert all(read(data, size).cause == diagnose(lines).cause for size in (3, 60, 61, 62))


def test_a_generic_line_names_the_error_of_the_traceback_above_it() -> None:
    lines = [
        "Traceback (most recent call last):",
        "    f()",
        "FluxFault",
        "Traceback (most recent call last):",
        "    g()",
        "RuntimeError: Engine core initialization failed. See root cause above.",
    ]
    found = diagnose(lines)
    assert (found.rule, found.confidence) == ("engine-start", "low")
    assert "FluxFault" in found.cause


@pytest.mark.parametrize("rule", SHOWN, ids=lambda r: r.id)
def test_ordinary_lines_around_an_excerpt_change_nothing(rule: Rule) -> None:
    ordinary = STARTED_WELL.read_text().splitlines()
    lines = random.Random(rule.id).choices(ordinary, k=400)
    excerpt = (LOGS / f"{rule.id}.log").read_text().splitlines()
    assert diagnose([*lines[:300], *excerpt, *lines[300:]]).rule == rule.id


# -- remedies ------------------------------------------------------------------------------------


def action(name: str) -> Remedy:
    return diagnose((LOGS / f"{name}.log").read_text().splitlines()).action


def test_what_the_message_says_is_in_the_remedy() -> None:
    flag = RemedyKind.FLAG
    assert action("context-does-not-fit") == Remedy(flag, "--max-model-len", "24464", True)
    assert action("context-too-long") == Remedy(flag, "--max-model-len", "2048")
    assert action("too-many-sequences") == Remedy(flag, "--max-num-seqs", "256")
    assert action("nccl") == Remedy(RemedyKind.ENV, "NCCL_P2P_DISABLE", "1", True)
    assert action("cuda-init").kind is RemedyKind.EXCLUDE_MACHINE
    assert action("never-reachable").kind is RemedyKind.EXCLUDE_PROVIDER
    assert action("gated-model").kind is RemedyKind.STOP
    assert action("ssh-key-refused").kind is RemedyKind.WAIT


def test_a_message_without_the_value_leaves_nothing_to_apply() -> None:
    found = diagnose(["To serve at least one request with the models's max seq len (9)"])
    assert (found.rule, found.action) == ("context-does-not-fit", Remedy(RemedyKind.STOP))


@pytest.mark.parametrize("value", ["1; id", "$(id)", "-rf", "", "0", "1 --api-key x", "9" * 99])
def test_only_plain_values_of_a_message_are_used(value: str) -> None:
    rule = next(r for r in rules if r.id == "context-does-not-fit")
    assert rule.action({"length": value}) == Remedy(RemedyKind.STOP)


@pytest.mark.parametrize("rule", rules, ids=lambda r: r.id)
def test_every_rule_has_a_remedy_in_words(rule: Rule) -> None:
    groups = dict.fromkeys(re.compile(rule.pattern or "").groupindex, "12")
    remedy = rule.action(groups)
    assert remedy.words
    assert remedy.same_machine or not remedy.automatic
