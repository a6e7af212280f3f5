"""Every case of the corpus is told rightly however it is wrapped, and every rule has a case."""

from __future__ import annotations

import pytest

from diagnosis_support import ALL as RULES
from failure_cases import FOLDER, HIGH, MEDIUM, Case, cases, levels, variants
from gdl.diagnosis.actions import SORTS
from gdl.diagnosis.rule_engine import Diagnosis, Scanner, diagnose, explain
from gdl.diagnosis.rules import BLAMES, Rule, measured
from gdl.domain.remedies import RemedyKind
from log_excerpts import LOGS

CASES = cases()
DEEP = [case for case in CASES if case.source == "public report" and case.engine in ("", "vllm")]
SOME = 8
"""Of how many one is looked for in a long log at every run; all of them by `-m soak`."""
SOURCES = {"public report", "made for real", "wording"}
ELSEWHERE = {RemedyKind.NEXT, RemedyKind.EXCLUDE_MACHINE, RemedyKind.EXCLUDE_PROVIDER}
LEAST_CAUSES = 150


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_is_told_alone_framed_buried_and_interleaved(case: Case) -> None:
    told = {name: rule_of(lines) for name, lines in variants(case, deep=False)}
    assert told == dict.fromkeys(told, case.rule)


@pytest.mark.parametrize("case", DEEP[::SOME], ids=lambda case: case.name)
def test_a_case_is_told_in_a_long_log(case: Case) -> None:
    assert rule_of(dict(variants(case))["buried"]) == case.rule


@pytest.mark.soak
@pytest.mark.parametrize("case", DEEP, ids=lambda case: case.name)
def test_every_case_is_told_in_a_long_log(case: Case) -> None:
    assert rule_of(dict(variants(case))["buried"]) == case.rule


def rule_of(lines: list[str]) -> str:
    scanner = Scanner(RULES)
    scanner.feed(("\n".join(lines) + "\n").encode())
    return explain(scanner, 1).rule


def test_every_rule_by_text_has_a_case_or_an_excerpt() -> None:
    shown = {case.rule for case in CASES} | {path.stem for path in LOGS.glob("*.log")}
    assert {rule.id for rule in RULES.rules if rule.pattern is not None} - shown == set()


def test_every_case_names_a_rule_and_says_where_it_is_from() -> None:
    known = {rule.id for rule in RULES.rules} | {"unknown"}
    assert {case.rule for case in CASES} <= known
    assert {case.source for case in CASES} <= SOURCES
    assert all(case.lines and case.cause for case in CASES)
    assert all(path.suffix in {".txt", ".md"} for path in FOLDER.iterdir())


def test_there_are_many_specific_causes_and_each_has_one_id() -> None:
    ids = [rule.id for rule in RULES.rules]
    assert len(ids) == len(set(ids))
    assert sum(rule.tier == 1 for rule in RULES.rules) >= LEAST_CAUSES


@pytest.mark.parametrize("rule", RULES.rules, ids=lambda rule: rule.id)
def test_another_offer_is_taken_only_where_a_machine_is_to_blame(rule: Rule) -> None:
    assert rule.kind in SORTS and rule.blame in BLAMES
    elsewhere = rule.action({}).kind in ELSEWHERE
    assert not elsewhere or rule.blame in {"machine", "network"}
    assert rule.over <= {each.id for each in RULES.rules}


def told_alone() -> list[tuple[Case, Diagnosis]]:
    return [(case, diagnose(RULES, case.lines, exit_status=1)) for case in CASES]


def test_the_confidence_of_rules_is_what_the_corpus_says() -> None:
    deserved = levels((case.rule, found.rule) for case, found in told_alone())
    less = {rule: what for rule, what in deserved.items() if what != "high" and rule != "unknown"}
    assert dict(measured()) == less, "run bench/diagnosis.py --calibrate"


def test_diagnoses_of_a_confidence_are_right_as_often_as_it_says() -> None:
    told = told_alone()
    for confidence, least in (("high", HIGH), ("medium", MEDIUM)):
        right = [case.rule == found.rule for case, found in told if found.confidence == confidence]
        assert sum(right) / len(right) > least
