"""Values as text, the same in both faces."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdl.domain.benchmark import OWN
from gdl.domain.clock import day_and_time, time_of_day
from gdl.domain.money import dollars, hourly, price
from gdl.domain.offers import Exclusion
from gdl.domain.session import Session, SessionStatus
from gdl.presentation.durations import age, clock_time, duration, hours_left, since
from gdl.presentation.hardware import gigabytes, gpu_name, gpus, machine
from gdl.presentation.lines import plain, plain_block, plain_line
from gdl.presentation.money import in_cell
from gdl.presentation.words import milliseconds, plural, sentence, workload_words

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0.00"),
        (0.000_001, "<$0.0001"),
        (0.0035, "$0.0035"),
        (0.05, "$0.050"),
        (0.0521, "$0.052"),
        (0.0999, "$0.10"),
        (0.4, "$0.40"),
        (1.2, "$1.20"),
        (1234.5, "$1234.50"),
        (-0.0035, "-$0.0035"),
    ],
)
def test_small_amounts_keep_two_significant_digits(amount: float, text: str) -> None:
    assert dollars(amount) == text


def test_a_workload_of_ours_has_a_name_that_says_so_and_others_are_cleaned() -> None:
    assert workload_words(OWN) == "built-in"
    assert workload_words("sharegpt\x1b[2J, 512 out") == plain("sharegpt\x1b[2J, 512 out")


def test_a_sentence_begins_with_a_capital_but_a_name_stays_as_it_is() -> None:
    assert sentence("it serves, vLLM says") == "It serves, vLLM says"
    assert sentence("vLLM says 293 sequences") == "vLLM says 293 sequences"


def test_an_amount_fits_a_column_of_seven() -> None:
    told = [in_cell(amount) for amount in (0, 0.00053, 0.00099, 0.001, 0.0035, 0.4, 999.99)]
    assert told == ["$0.00", "<$0.001", "<$0.001", "$0.0010", "$0.0035", "$0.40", "$999.99"]


@given(st.floats(min_value=0.0001, max_value=0.09))
def test_an_amount_of_less_than_ten_cents_is_told_to_five_percent(amount: float) -> None:
    assert abs(float(dollars(amount).removeprefix("$")) - amount) <= 0.05 * amount + 1e-12


@pytest.mark.parametrize(
    ("per_hour", "text"),
    [
        (0, "free"),
        (0.0035, "$0.0035"),
        (0.062, "$0.062"),
        (0.4, "$0.400"),
        (12.5, "$12.50"),
        (250, "$250"),
    ],
)
def test_prices(per_hour: float, text: str) -> None:
    assert price(per_hour) == text
    assert hourly(per_hour) == (f"{text}/h" if per_hour else text)


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0:00"), (7, "0:07"), (750, "12:30"), (3723, "1:02:03")]
)
def test_clock_time(seconds: float, text: str) -> None:
    assert clock_time(seconds) == text


def test_spans() -> None:
    assert [duration(s) for s in (4.21, 65)] == ["4.2 s", "1:05"]
    assert [since(s) for s in (-1, 40, 720, 10_800)] == ["0 s", "40 s", "12 min", "3 h"]
    assert [age(s) for s in (1, 42, 300)] == ["just now", "42 s old", "5 min old"]
    assert hours_left(NOW + timedelta(minutes=47, seconds=30), NOW) == "0h47"
    assert hours_left(NOW, NOW) == "now"
    assert hours_left(NOW + timedelta(hours=47, minutes=59), NOW) == "47h59"
    assert hours_left(NOW + timedelta(hours=52, minutes=19), NOW) == "2 d 4 h"
    assert hours_left(NOW + timedelta(hours=1524, minutes=57), NOW) == "63 d"


def _session(name: str, count: int) -> Session:
    return Session("s", "shopper", "vastai", SessionStatus.RUNNING, gpu_name=name, gpu_count=count)


def test_gpus_in_short_and_in_full() -> None:
    one, two = _session("NVIDIA GeForce RTX 4090", 1), _session("A100", 2)
    assert [gpus(one), gpus(two), gpus(_session("", 0))] == ["RTX 4090", "2x A100", "CPU only"]
    assert machine(one, 24.0) == "1x NVIDIA GeForce RTX 4090 24 GB"
    assert [machine(two), machine(_session("", 1))] == ["2x A100", "1x GPU"]
    assert [machine(_session("", 0)), machine(_session("Xeon", 0))] == ["CPU only", "Xeon"]
    assert gpu_name("NVIDIA \x1b[31mL4") == "L4"
    assert [gigabytes(v) for v in (24.0, 1.53, 4.0)] == ["24 GB", "1.5 GB", "4 GB"]


def test_counts_and_measured_times() -> None:
    assert [plural(n, "offer") for n in (1, 1204)] == ["1 offer", "1,204 offers"]
    assert [milliseconds(v) for v in (None, 4.2, 12, 1200)] == ["-", "4.2 ms", "12 ms", "1.20 s"]
    assert sentence("it is vLLM") == "It is vLLM"


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07shown", "shown"),
        ("\x1b]8;;http://evil\x07link\x1b]8;;\x07", "link"),
        ("\x1b]52;c;c3RvbGVu\x1b\\shown", "shown"),
        ("\x9b2Jgone", "gone"),
        ("a\u202eb\u2066c", "abc"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("nul\x00 bell\x07 del\x7f c1\x9b31m", "nul bell del c1"),
        ("a\rb\nc\td", "a b c d"),
        ("[red]x[/]", "[red]x[/]"),
        ("lone \ud800 surrogate", "lone  surrogate"),
        ("\n\tends \n", "ends"),
        ("naïve 東京 ✓", "naïve 東京 ✓"),
        ("\x1b]never ends", ""),
    ],
)
def test_plain_leaves_nothing_that_a_terminal_obeys(hostile: str, shown: str) -> None:
    assert plain(hostile) == shown


@given(st.text(max_size=300))
def test_plain_is_always_one_bounded_printable_line(text: str) -> None:
    shown = plain(text, 50)
    assert len(shown) <= 50
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in shown)
    assert "\u202e" not in shown


def test_plain_says_where_something_was_cut() -> None:
    assert plain("x" * 10_000_000, 10) == "x" * 9 + "…"


def test_a_log_line_keeps_its_blanks_and_of_a_progress_bar_the_last_state() -> None:
    assert plain_line("  5%|#   |\r 50%|##  |\r100%|####|\r") == "100%|####|"
    assert plain_line("    at x\t\x1b[1my") == "    at x    y"
    assert plain_line("  " + "x" * 20, 10) == "  " + "x" * 7 + "…"
    assert plain_block("one\n  two\x1b[0m") == "one\n  two"


def test_times_are_those_of_the_clock_on_the_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    at = datetime(2026, 11, 28, 23, 30, tzinfo=UTC)
    assert day_and_time(at) == "28 Nov 23:30 UTC"
    try:
        monkeypatch.setenv("TZ", "Europe/Berlin")
        time.tzset()
        assert time_of_day(at) == "00:30 CET"
        assert day_and_time(at) == "29 Nov 00:30 CET"
        told = Exclusion("host", "7", "its SSH failed", at, at)
        assert told.words == "its SSH failed, until 29 Nov 00:30 CET"
    finally:
        monkeypatch.undo()
        time.tzset()
