"""Hostile remote text: what comes out is printable, bounded, and says what was meant."""

from __future__ import annotations

import time
import tracemalloc
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdl.ssh.line_splitter import MAX_LINE, LineSplitter


def _lines(*batches: bytes) -> list[str]:
    splitter = LineSplitter()
    lines = [line for batch in batches for line in splitter.feed(batch)]
    return lines + splitter.flush()


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\n\ntwo", ["one", "", "two"]),
        (b"dos\r\nunix\n", ["dos", "unix"]),
        (b"dos\r\r\n", ["dos"]),
        (b"10%\r50%\r100%\ndone\n", ["100%", "done"]),
        (b"\r 5%\r\n", [" 5%"]),
        (b"\x1b[31mred\x1b[0m \x1b[1;38;5;200mpink\x1b[m\n", ["red pink"]),
        (b"\x1b]0;title\x07shown\n", ["shown"]),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\n", ["link"]),
        (b"\x1bPq#0;2;0~-\x1b\\after\n", ["after"]),
        (b"\x1b]0;never closed\nnext\n", ["", "next"]),
        (b"a\x1b[2J\x1b[Hb\x1b7\x1b(Bc\n", ["abc"]),
        ("\x9b31mred\x9d0;t\x9cend\n".encode(), ["redend"]),
        (b"nul\x00bel\x07bs\x08del\x7f\n", ["nulbelbsdel"]),
        ("abc\u202egnp.exe\u2066\u200f\ufeff\n".encode(), ["abcgnp.exe"]),
        (b"a\tb\n", ["a       b"]),
        (b"bad \xff\xfe byte\n", ["bad \ufffd\ufffd byte"]),
        (b"cut \xe2\x82", ["cut \ufffd"]),
        ("zażółć 漢字 🙂\n".encode(), ["zażółć 漢字 🙂"]),
        (b"\x1b", [""]),
        (b"", []),
    ],
)
def test_lines(raw: bytes, lines: list[str]) -> None:
    assert _lines(raw) == lines
    # Where the batches are cut makes no difference.
    assert _lines(*(raw[at : at + 1] for at in range(len(raw)))) == lines


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_any_bytes_in_any_batches(raw: bytes, sizes: list[int]) -> None:
    batches, at, turn = [], 0, 0
    while at < len(raw):
        batches.append(raw[at : at + sizes[turn % len(sizes)]])
        at += len(batches[-1])
        turn += 1
    lines = _lines(*batches)
    assert lines == _lines(raw)
    for line in lines:
        assert len(line) <= MAX_LINE
        assert not any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in line)


@pytest.mark.parametrize(
    "filler", [b"x", b"\x1b[31m", b"\t", b"\x1b]", b"\xe2", b"\xf0\x9f\x99\x82"]
)
def test_endless_line_stays_small(filler: bytes) -> None:
    splitter = LineSplitter()
    batch = filler * (65536 // len(filler))
    tracemalloc.start()
    started = time.process_time()
    for _ in range(48):
        assert splitter.feed(batch) == []
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.process_time() - started < 5
    assert peak < 1_500_000
    assert len(splitter.pending()) <= MAX_LINE
    lines = splitter.feed(b"\nnext\n")
    assert len(lines) == 2 and lines[1] == "next" and len(lines[0]) <= MAX_LINE


def test_long_line_at_once_is_cut_with_an_ellipsis() -> None:
    (line,) = LineSplitter().feed(b"y" * 10_000_000 + b"\n")
    assert len(line) == MAX_LINE and line.endswith("y…")
    splitter = LineSplitter()
    splitter.feed(b"y" * 50_000)
    assert splitter.feed(b"tail\n") == ["y" * (MAX_LINE - 1) + "…"]


def test_progress_shows_its_last_state() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"loading 10%\rloading 20%\r") == []
    assert splitter.pending() == "loading 20%" and splitter.redrawn()
    assert splitter.feed(b"load") == []
    assert splitter.pending() == "load"
    assert splitter.feed(b"ed\n") == ["loaded"]
    assert splitter.pending() == "" and not splitter.redrawn()


def test_endless_progress_stays_small_and_true() -> None:
    splitter = LineSplitter()
    for step in range(20_000):
        assert splitter.feed(b"\x1b[2K step %d of a long line\r" % step) == []
    assert splitter.pending() == " step 19999 of a long line"
    assert splitter.feed(b"\n") == [" step 19999 of a long line"]


def test_overlong_state_is_replaced_by_the_next() -> None:
    splitter = LineSplitter()
    splitter.feed(b"z" * 100_000)
    splitter.feed(b"zz\rshort")
    assert splitter.pending() == "short"
    assert splitter.feed(b"\n") == ["short"]


def test_many_lines_are_quick() -> None:
    raw = b"INFO 11-23 15:00:00 [core.py:58] Initializing a V1 LLM engine \x1b[0m\n" * 100_000
    splitter = LineSplitter()
    started = time.process_time()
    count = sum(len(splitter.feed(raw[at : at + 65536])) for at in range(0, len(raw), 65536))
    assert count == 100_000
    assert time.process_time() - started < 2
