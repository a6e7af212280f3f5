"""Whatever comes from elsewhere: nothing that a terminal obeys, nothing endless."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdl.domain.text import block, bounded, flat, one_line, visible

NASTY = st.text(
    st.sampled_from("ab \t\r\n\v\x1b[]0;m\\\x07\x9b\x9d\x9c\u202e\u200b\u2028\ud800\U000e0fff東")
)


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;http://evil\x07link\x1b]8;;\x07", "link"),
        ("\x1b]52;c;cm0=\x1b\\after", "after"),
        ("\x1bP1$r q\x1b\\dcs", "dcs"),
        ("\x9b2Jgone", "gone"),
        ("\x1b]never ends\nbut the line does", "but the line does"),
        ("user\u202egnp.exe", "usergnp.exe"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("lone \ud800 surrogate", "lone surrogate"),
        ("  two\r\n lines\tand\u2028more ", "two lines and more"),
        ("of no \U000e0fff Unicode \ufffe yet", "of no \ufffd Unicode \ufffd yet"),
        ("naïve 東京 ✓", "naïve 東京 ✓"),
    ],
)
def test_only_what_can_be_read_is_left(hostile: str, shown: str) -> None:
    assert one_line(hostile) == shown


def test_blanks_stay_where_they_mean_something() -> None:
    assert flat('    File "x.py"\r\n\tline', 80) == '    File "x.py" line'
    assert block("a\n\n  b\x07", 80) == "a\n\n  b"


@given(NASTY, st.integers(2, 40))
def test_every_way_is_bounded_and_harmless(text: str, limit: int) -> None:
    for shown in (flat(text, limit), one_line(text, limit)):
        assert len(shown) <= limit
        assert not any(unicodedata.category(c)[0] == "C" for c in shown)
        assert not any(unicodedata.category(c) in ("Zl", "Zp") for c in shown)
    shown = block(text, limit)
    assert len(shown) <= limit
    assert not any(unicodedata.category(c)[0] == "C" for c in shown if c not in "\t\n\r")


@given(st.text(), NASTY)
def test_what_was_cleaned_stays_as_it_is(any_text: str, nasty: str) -> None:
    for text in (any_text, nasty):
        assert one_line(one_line(text)) == one_line(text)
        assert visible(visible(text)) == visible(text)


def test_a_huge_text_is_cut_before_it_is_looked_at() -> None:
    assert one_line("x" * 10_000_000, 10) == bounded("x" * 40, 10) == "x" * 9 + "…"
