"""What is preferred among rules, and what is said where none knows the error."""

from __future__ import annotations

import pytest

from diagnosis_support import diagnose
from gdl.diagnosis import rule_engine
from gdl.diagnosis.rule_engine import Diagnosis
from gdl.diagnosis.rules import RuleSet, rule_set


def by_lines(rules: RuleSet, lines: list[str]) -> Diagnosis:
    return rule_engine.diagnose(rules, lines, exit_status=1)


RULE = """
[[rule]]
id = "{id}"
pattern = '{pattern}'
cause = "{cause}"
remedy = "look."
kind = "change"
blame = "user"
"""


def own_rules(*rows: dict[str, str], more: str = "") -> RuleSet:
    texts = (RULE.format(**{"cause": "It is so.", **row}) for row in rows)
    return rule_set(("mine", "\n".join(texts) + more))


def test_two_rules_that_are_each_over_the_other_are_refused() -> None:
    first = RULE.format(id="one-way", pattern="fluxes", cause="a") + 'over = ["other-way"]\n'
    second = RULE.format(id="other-way", pattern="fluxes", cause="b") + 'over = ["one-way"]\n'
    with pytest.raises(ValueError, match="preferred to itself"):
        rule_set(("mine", first + second))


def test_of_a_value_that_the_log_does_not_have_no_brackets_are_left() -> None:
    rules = own_rules(
        {"id": "flux", "pattern": "flux (?P<size>off)?", "cause": "Flux ({size}) of {size} ends."},
        more='unnamed = { size = "" }\n',
    )
    assert by_lines(rules, ["ERROR: flux on"]).cause == "Flux of ends."
    assert by_lines(rules, ["ERROR: flux off"]).cause == "Flux (off) of off ends."


def test_of_a_value_that_no_alternative_had_no_brackets_are_left() -> None:
    rules = own_rules(
        {"id": "flux", "pattern": "flux (?:of (?P<size>\\d+)|on)", "cause": "Flux ({size}) ends."}
    )
    assert by_lines(rules, ["ERROR: flux on"]).cause == "Flux ends."
    assert by_lines(rules, ["ERROR: flux of 7"]).cause == "Flux (7) ends."


def test_a_pronoun_in_the_place_of_a_name_is_no_name() -> None:
    rules = own_rules(
        {"id": "flux", "pattern": "install (?P<name>\\w+) with", "cause": "It lacks {name}."}
    )
    assert by_lines(rules, ["ERROR: install items with pip"]).cause == "It lacks items."
    found = by_lines(rules, ["ERROR: install it with pip"])
    assert (found.rule, found.confidence) == ("unknown", "low")


def test_what_a_complaint_ends_in_says_more_than_how_it_begins() -> None:
    rules = own_rules(
        {"id": "flux-outer", "pattern": "nothing at all goes together in the flux"},
        {"id": "flux-inner", "pattern": "flux eof"},
    )
    lines = ["  × Failed to build flux", "  ├─▶ nothing at all goes together in the flux"]
    assert by_lines(rules, [*lines, "  ╰─▶ flux eof"]).rule == "flux-inner"


def test_a_workers_error_knows_what_was_said_right_before_it() -> None:
    rules = own_rules(
        {"id": "flux-near", "pattern": "flux"}, more="near = 'with BitsAndBytes quantization'\n"
    )
    before = "INFO 11-01 17:09:42 loader.py:1] Loading weights with BitsAndBytes quantization."
    far = [f"INFO 11-01 17:09:43 x.py:1] line {number}" for number in range(40)]
    assert by_lines(rules, [before, "[rank0]: KeyError: 'flux'"]).rule == "flux-near"
    assert by_lines(rules, [before, *far, "[rank0]: KeyError: 'flux'"]).rule != "flux-near"


def test_an_error_that_says_what_to_do_is_taken_at_its_word() -> None:
    found = diagnose(["RuntimeError: The flux is gone. Please set a smaller --flux-rate."])
    assert "Please set a smaller --flux-rate" in found.remedy
    reported = diagnose(["RuntimeError: The flux is gone. Please file an issue at our page."])
    assert "issue" not in reported.remedy


def test_options_out_of_the_ordinary_are_named_for_an_error_that_no_rule_explains() -> None:
    given = "INFO 11-01 10:00:00 [utils.py:1] non-default args: {'model': 'm', "
    lines = [f"{given}'mamba_block_size': 512, 'quantization': None}}", "foo.BarError: flux off"]
    remedy = diagnose(lines).remedy
    assert "It was started with --mamba-block-size: try without." in remedy


@pytest.mark.parametrize(
    ("error", "place"),
    [
        ("EagleFlux has gone", "the speculative decoding"),
        ("no room for pixel_values", "the part for images and audio"),
        ("conv_state is off", "a layer with a state"),
    ],
)
def test_an_error_without_frames_is_placed_by_its_own_words(error: str, place: str) -> None:
    assert place in diagnose([f"foo.BarError: {error}"]).cause
