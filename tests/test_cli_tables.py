"""Text for terminals, and the table of exit codes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdl.cli import exit_codes
from gdl.cli.narrator import Narrator
from gdl.cli.output import Output
from gdl.cli.tables import folded, named_values, table, width
from gdl.domain import errors
from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import GdlError
from gdl.domain.events import Recorded
from gdl.domain.offers import Offer
from gdl.orchestrator.run import attempt_offer


def test_table_aligns_left_and_right() -> None:
    assert table(("NAME", ">N"), [("a", 1), ("long name", 22)]) == [
        "NAME        N",
        "a           1",
        "long name  22",
    ]


def test_a_hint_in_the_last_column_is_told_in_full() -> None:
    hint = "a b " * 80
    lines = table(("NAME", "FINDING"), [("x" * 130, hint)])
    assert lines[1] == "x" * 119 + "…  " + hint.strip()


def test_a_table_is_folded_to_the_terminal_and_its_last_column_first() -> None:
    rows = [("vastai-1", "over the limit of ten dollars"), ("vastai-2", "東京東京東京東京東京")]
    assert table(("OFFER", "REASON"), rows, 30) == [
        "OFFER     REASON",
        "vastai-1  over the limit of",
        "          ten dollars",
        "vastai-2  東京東京東京東京東京",
    ]
    assert table(("OFFER", "REASON"), rows, 10_000) == table(("OFFER", "REASON"), rows)


def test_a_narrow_terminal_folds_what_is_widest() -> None:
    rows = [("x" * 30, "$0.131/h", "a reason of some length")]
    lines = table(("ID", ">PRICE", "REASON"), rows, 50)
    assert lines[0].startswith("ID") and all(len(line) <= 50 for line in lines)
    told = [line.split("  ") for line in lines[1:]]
    assert "".join(line[0] for line in told).replace(" ", "") == "x" * 30
    assert "".join(table(("A",), [("x" * 25,)], 3)[1:]) == "x" * 25


def test_what_can_be_spared_is_omitted_and_ids_stay_whole() -> None:
    ident = "tensordock-603e5f7e-9f6d-4c56-a16c"
    rows = [("$0.200/h", "Chubbuck, Idaho, United States", "99.0%", ident, "over the limit")]
    headings, spare = (">PRICE", "PLACE", ">RELIABLE", "OFFER", "WHY"), ("PLACE", "RELIABLE")
    omitted: list[str] = []
    lines = table(headings, rows, 60, spare, omitted)
    assert omitted == ["PLACE", "RELIABLE"]
    assert lines == [
        "   PRICE  OFFER                               WHY",
        f"$0.200/h  {ident}  over the limit",
    ]
    assert table(headings, rows, 200, spare, omitted) == table(headings, rows)
    assert len(omitted) == 2


def test_a_reason_stands_beneath_its_row_where_ids_would_be_cut_beside_it() -> None:
    ident = "28a52dae-189d-459b-8aac-564afc2281c4"
    row = ("2026-11-29 10:29:40", "release requested", ident, "$0.058/h", "asked once " * 4)
    lines = table(("WHEN", "WHAT", "SESSION", ">PRICE", "EVIDENCE"), [row, (*row[:4], "")], 80)
    assert lines[:2] == [
        "WHEN             WHAT             SESSION                                  PRICE",
        "    EVIDENCE",
    ]
    assert [line.split() for line in lines[2:]] == [
        ["2026-11-29", "release", ident, "$0.058/h"],
        ["10:29:40", "requested"],
        ["asked", "once"] * 4,
        ["2026-11-29", "release", ident, "$0.058/h"],
        ["10:29:40", "requested"],
    ]
    assert lines[4] == "    asked once asked once asked once asked once"
    assert max(map(len, lines)) <= 80
    # Beside it wherever there is room, and without a terminal.
    assert all(line.startswith("2026") for line in table(("A", "B"), [row[::3]], None)[1:])
    assert table(("WHEN", "EVIDENCE"), [(row[0], row[4])], 80)[1].endswith("asked once")


def test_what_a_reason_would_fold_deeply_beside_it_stands_beneath() -> None:
    row = ("$0.0027", "1x RTX 3090 24 GB", "scaled: your own benchmarks: RTX A4000 at 4 at a time")
    assert table((">$/1M", "MACHINE", "FROM"), [row], 44)[2:] == [
        "$0.0027  1x RTX 3090 24 GB",
        "    scaled: your own benchmarks: RTX A4000",
        "    at 4 at a time",
    ]


def test_sentences_and_values_end_where_the_terminal_does() -> None:
    assert folded("as many words as there are", 12) == ["as many", "words as", "there are"]
    assert folded("as many words as there are", None) == ["as many words as there are"]
    assert named_values([("model", "a b c d e f g"), ("known", "")], 17) == [
        "model  a b c d e",
        "       f g",
        "known  ",
    ]


_WORDS = st.text(st.sampled_from("abc 東-"), max_size=60)


@given(
    st.lists(st.tuples(*[_WORDS] * 9), min_size=1, max_size=4),
    st.integers(45, 200),
)
def test_no_line_is_wider_than_the_terminal(rows: list[tuple[str, ...]], columns: int) -> None:
    headings = ("A", "B", "C", "D", "E", "F", "G", "H", "I")
    lines = table(headings, rows, columns, ("B", "C"))
    assert max(map(width, lines)) <= columns
    # Whatever the terminal, the smallest among them, nothing is waited for.
    assert table(headings, rows, columns - 44, ("B", "C"))


def _children(cls: type[GdlError]) -> list[type[GdlError]]:
    return [cls, *(below for child in cls.__subclasses__() for below in _children(child))]


def test_every_error_has_the_exit_code_of_its_family() -> None:
    families = {
        errors.UsageError: 2,
        errors.NoSuitableOffer: 3,
        errors.MachineError: 4,
        errors.DeployError: 5,
        errors.VerificationError: 6,
        errors.BackendError: 7,
        errors.HubAway: 7,
        errors.Cancelled: 8,
        errors.ReleaseUnconfirmed: 9,
        errors.SpendLimitReached: 10,
    }
    told = {cls: code for family, code in families.items() for cls in _children(family)}
    ours = {cls for cls in _children(GdlError) if cls.__module__ == GdlError.__module__}
    assert ours == {cls for cls in (*told, GdlError) if cls.__module__ == GdlError.__module__}
    for cls, code in told.items():
        assert exit_codes.BY_KIND[cls.kind] == code, cls


def test_json_stays_json_whatever_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).json({"rate": float("nan"), "all": [1.5, float("inf")]})
    assert capsys.readouterr().out == '{"rate": null, "all": [1.5, null]}\n'


def test_progress_is_told_when_it_changes_or_now_and_then() -> None:
    narrator, state = Narrator(), DeploymentState("d")
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def told(second: float, text: str) -> list[str]:
        at = start + timedelta(seconds=second)
        return list(narrator.lines(Recorded("d", 1, at, ev.Progressed(1, text)), state))

    assert told(0, "downloading 1.0 of 9 GB")
    assert not told(1, "downloading 1.5 of 9 GB")
    assert told(2, "unpacking")
    assert told(3, "downloading 2.0 of 9 GB")
    assert not told(12, "downloading 3.0 of 9 GB")
    assert told(14, "downloading 4.0 of 9 GB")


def test_colour_dims_the_machines_words_and_only_when_asked() -> None:
    recorded = Recorded("d", 1, datetime.now(UTC), ev.LogLines(1, "engine", ("hello",), 0))
    state = DeploymentState("d")
    assert list(Narrator().lines(recorded, state)) == ["   engine | hello"]
    assert list(Narrator(colour=True).lines(recorded, state)) == ["\x1b[2m   engine | hello\x1b[0m"]


def test_one_offer_is_told_as_one_and_a_free_machine_has_no_price() -> None:
    def told(suitable: int) -> list[str]:
        recorded = Recorded("d", 1, datetime.now(UTC), ev.OffersRanked(suitable, 0, ()))
        return list(Narrator().lines(recorded, DeploymentState("d")))

    assert told(1)[0].endswith("1 suitable offer, 0 excluded")
    assert told(2)[0].endswith("2 suitable offers, 0 excluded")
    offer = Offer("o", "shopper", "vastai", "RTX 4090", 1, 24.0, 0.289)
    assert attempt_offer.words(offer) == "RTX 4090 at $0.289/h"
    free = Offer("local", "local", "local", "CPU (2 cores, 24 GB)", 0, 0.0, 0.0)
    assert attempt_offer.words(free) == "CPU (2 cores, 24 GB), free"
