"""The log panes: finding, errors, wrapping, pausing, saving; and the lines behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.pilot import Pilot

from gdl.domain.decisions import AfterFailure
from gdl.domain.events import LogLines as Lines
from gdl.tui.save_file import save_text
from gdl.tui.screens.deployment import DeploymentScreen
from gdl.tui.screens.dialogs import Confirm
from gdl.tui.screens.help import keys_of
from gdl.tui.screens.offers import OffersScreen
from gdl.tui.store import LogRing
from gdl.tui.widgets.log_lines import Finder, LogLines, chop, levels
from gdl.tui.widgets.log_pane import FindLine, LogPane
from gdl.tui.widgets.log_view import LogView
from tui_pilot import SIZE, screen_text, show, until
from tui_support import START, ScriptedOrchestrator, make_app, to_installing, to_waiting

pytestmark = pytest.mark.long

LOG = tuple(
    f"line {n} Wheel torch-{n}" if n % 10 == 0 else f"line {n} nothing here" for n in range(200)
)


async def with_log(
    pilot: Pilot[Any], orchestrator: ScriptedOrchestrator, lines: tuple[str, ...] = LOG
) -> LogPane:
    ident = await show(pilot, orchestrator, to_installing)
    orchestrator.push(ident, 70, Lines(1, "install", lines, 0))
    pane = pilot.app.screen.query_one("#install-log", LogPane)
    await until(pilot, lambda: pane.lines_seen >= len(lines))
    return pane


def marked(pane: LogPane) -> str:
    assert pane.view.marked is not None
    return pane.view.lines[pane.view.marked]


async def test_finds_steps_and_ends() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        pane = await with_log(pilot, orchestrator)
        await pilot.press("g", "slash", *"Wheel")
        await until(pilot, lambda: "1/20 found" in screen_text(app))
        assert isinstance(app.focused, FindLine)
        assert marked(pane) == LOG[0]
        await pilot.press("down")
        await until(pilot, lambda: "2/20 found" in screen_text(app))
        await pilot.press("enter", "n", "n")
        await until(pilot, lambda: "4/20 found" in screen_text(app))
        assert marked(pane) == LOG[30]
        assert "line 30 Wheel" in screen_text(app)
        await pilot.press("N", "N", "N", "N")
        await until(pilot, lambda: "20/20 found" in screen_text(app))
        assert "line 190 Wheel" in screen_text(app)
        await pilot.press("escape")
        await until(pilot, lambda: "found" not in screen_text(app))
        assert isinstance(app.screen, DeploymentScreen), "the first Esc ends the search alone"
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, OffersScreen))


async def test_n_is_the_screens_key_unless_something_is_searched() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_waiting)
        await pilot.press("slash", *"torch", "enter", "n")
        assert orchestrator.calls == []
        await pilot.press("escape", "n")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        await pilot.press("y")
        await until(pilot, lambda: ("decide", ident, AfterFailure.NEXT) in orchestrator.calls)


async def test_what_comes_while_searching_is_found_too() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await with_log(pilot, orchestrator)
        await pilot.press("slash", *"fresh")
        await until(pilot, lambda: "nothing found" in screen_text(app))
        orchestrator.push("d-1", 71, Lines(1, "install", ("Fresh [b]x[/b]", "fresh 2"), 0))
        await until(pilot, lambda: "-/2 found" in screen_text(app))


async def test_jumps_to_errors_and_says_when_there_is_none() -> None:
    app, orchestrator = make_app()
    lines = (*LOG[:50], "ValueError: a", *LOG[50:90], "ERROR b", "0 errors so far", *LOG[90:])
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        pane = await with_log(pilot, orchestrator)
        await pilot.press("e")
        await until(pilot, lambda: "there is no error in this log" in screen_text(app))
        app.clear_notifications()
        orchestrator.push("d-1", 71, Lines(1, "install", lines, 0))
        await until(pilot, lambda: pane.lines_seen == len(LOG) + len(lines) + 6)
        await pilot.press("g", "e")
        await until(pilot, lambda: "ValueError: a" in screen_text(app))
        assert "error in line 257" in screen_text(app)
        await pilot.press("e")
        await until(pilot, lambda: "ERROR b" in screen_text(app))
        await pilot.press("e")
        await until(pilot, lambda: "ValueError: a" in screen_text(app))
        assert not pane.view.following


async def test_pauses_at_the_end_and_follows_again() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await with_log(pilot, orchestrator)
        await pilot.press("space")
        await until(pilot, lambda: "paused" in screen_text(app))
        orchestrator.push("d-1", 71, Lines(1, "install", ("one", "two"), 0))
        await until(pilot, lambda: "2 new lines" in screen_text(app))
        await pilot.press("space")
        await until(pilot, lambda: "two" in screen_text(app) and "following" in screen_text(app))


async def test_moves_line_by_line_to_the_top_and_to_the_end() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        pane = await with_log(pilot, orchestrator)
        await pilot.press("g")
        await until(pilot, lambda: pane.view.scroll_offset.y == 0)
        await pilot.press("j", "j", "k")
        await until(pilot, lambda: pane.view.scroll_offset.y == 1)
        for key in ("G", "end"):
            await pilot.press("g")
            await until(pilot, lambda: not pane.view.following)
            await pilot.press(key)
            await until(pilot, lambda: pane.view.following and LOG[-1] in screen_text(app))


async def test_steps_back_from_the_line_that_is_typed() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await with_log(pilot, orchestrator)
        await pilot.press("g", "slash", *"Wheel", "up")
        await until(pilot, lambda: "20/20 found" in screen_text(app))
        await pilot.press("escape")
        await until(pilot, lambda: "following" in screen_text(app) or "End" in screen_text(app))
        assert isinstance(app.focused, LogView)


async def test_wrapping_keeps_the_line_on_top() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        pane = await with_log(pilot, orchestrator, tuple(f"<{n}> {'x' * 300}" for n in range(60)))
        for _ in range(9):
            await pilot.press("pageup")
        top = pane.view._top_line
        assert 0 < top < 59
        await pilot.press("w")
        await until(pilot, lambda: pane.view.scroll_offset.y == top)
        await pilot.press("w")
        await until(pilot, lambda: pane.view._top_line == top)


async def test_saves_the_pane_and_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloads = tmp_path / "Downloads"
    downloads.mkdir()
    monkeypatch.setattr("platformdirs.user_downloads_path", lambda: downloads)
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await with_log(pilot, orchestrator)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "saved 206 lines to" in screen_text(app))
    (file,) = downloads.iterdir()
    assert file.name.startswith("gdl-tui-d-1-install-")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().splitlines()[6:] == list(LOG)


async def test_a_file_is_never_written_over_and_failures_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platformdirs.user_downloads_path", lambda: tmp_path / "none")
    logs = tmp_path / "logs"
    first = await save_text("../d-1", "a", START, logs)
    second = await save_text("../d-1", "b", START, logs)
    assert first.parent == second.parent == logs
    assert (first.read_text(), second.read_text()) == ("a\n", "b\n")
    (tmp_path / "file").write_text("")
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await with_log(pilot, orchestrator)
        app.settings = app.settings.model_copy(update={"data_dir": tmp_path / "file"})
        app.settings.__dict__.pop("logs_dir", None)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: "cannot save to" in screen_text(app))


async def test_a_view_that_is_paused_stays_where_it_is_while_old_lines_go() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        pane = await with_log(pilot, orchestrator, tuple(f"old {n}" for n in range(19_994)))
        await pilot.press("pageup", "pageup")
        top = pane.view.lines[pane.view._top_line]
        orchestrator.push("d-1", 71, Lines(1, "install", tuple(f"new {n}" for n in range(500)), 0))
        await until(pilot, lambda: "500 new lines" in screen_text(app))
        assert len(pane.view.lines) == 20_000
        assert pane.view.lines[pane.view._top_line] == top
        assert top in screen_text(app)


# The lines


def lines_of(texts: list[str], width: int = 0) -> LogLines:
    lines = LogLines()
    lines.lay_out(width)
    lines.add(texts, 0)
    return lines


@given(
    st.lists(st.text(st.characters(exclude_categories=["C"]), max_size=30), max_size=40),
    st.integers(0, 12),
    st.lists(st.integers(1, 15), max_size=8),
)
def test_every_row_shows_its_part_however_the_lines_came(
    texts: list[str], width: int, steps: list[int]
) -> None:
    """Added in steps with a limit of 20 lines, as the ring does it."""
    ring, lines, seen = LogRing(limit=20), LogLines(), 0
    lines.lay_out(width)
    start = 0
    for step in [*steps, len(texts)]:
        ring.extend(texts[start : start + step])
        start += step
        lines.add(ring.since(seen), ring.first)
        seen = ring.total
    kept = ring.since(0)
    assert [lines[lines.first + n] for n in range(len(lines))] == kept
    shown = []
    for row in range(lines.rows):
        number, index = lines.at(row)
        parts = chop(lines[number], width)
        assert index < len(parts)
        assert lines.row_of(number) == row - index
        shown.append(parts[index])
    assert "".join(shown) == "".join(kept)
    if width > 1:
        assert all(cell_len(part) <= width for part in shown)


def test_capitals_count_only_when_some_are_typed() -> None:
    lines = lines_of(["cuda", "CUDA", "Cuda"])
    found = {}
    for words in ("cuda", "CUDA", "Cuda"):
        finder = Finder(words)
        finder.look(lines)
        found[words] = finder.found
    assert found == {"cuda": [0, 1, 2], "CUDA": [1], "Cuda": [2]}


def test_found_lines_are_forgotten_with_the_lines() -> None:
    lines = lines_of(["x", "-", "x", "x"])
    finder = Finder("x")
    finder.look(lines)
    lines.add(["-", "x"], 3)
    finder.look(lines)
    assert finder.found == [3, 5]
    assert [finder.next(4), finder.next(6), finder.previous(3)] == [5, 3, 5]
    assert [finder.position(n) for n in (3, 4, 5)] == [1, 0, 2]


def test_the_ring_is_bounded_in_lines_and_in_characters() -> None:
    ring = LogRing(limit=10, characters=100)
    ring.extend("x" * 30 for _ in range(8))
    assert len(ring.since(0)) == 3
    assert ring.first == 5
    ring.extend("" for _ in range(50))
    assert len(ring.since(0)) == 10


@pytest.mark.parametrize(
    ("line", "is_error"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory.", True),
        ("ERROR 03-01 12:03:11 [core.py:700] EngineCore failed to start.", True),
        ("error: failed to write to file", True),
        ("Traceback (most recent call last):", True),
        ("done, 0 errors", False),
        ("INFO no error here", False),
    ],
)
def test_what_an_error_line_is(line: str, is_error: bool) -> None:
    assert (lines_of(["a", line]).error_after(0) is not None) == is_error


async def test_help_tells_the_keys_of_a_log() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await with_log(pilot, orchestrator)
        assert isinstance(app.focused, LogView)
        keys = dict(keys_of(app.screen))["In this pane"]
        assert {"Find", "Next error", "Wrap", "Save", "Pause", "Follow"} <= {k.name for k in keys}
        assert "Next found" not in {k.name for k in keys}, "nothing is searched"


@pytest.mark.parametrize("theme", ["textual-light", "ansi-dark"])
async def test_the_words_of_errors_and_warnings_stand_out(theme: str) -> None:
    lines = (
        "INFO [a.py:1] as ever",
        "WARNING [b.py:2] the tokenizer is slow",
        "ERROR [c.py:3] ValueError: no KV cache left",
    )
    app, orchestrator = make_app()
    async with app.run_test(size=(120, 40)) as pilot:
        app.theme = theme
        pane = await with_log(pilot, orchestrator, lines)
        await until(pilot, lambda: lines[2] in screen_text(app))  # the word is there in any case
        kinds = {}
        for y in range(20):
            for word, style, _ in pane.view.render_line(y):
                if style is not None and style.bold:
                    kinds[word] = style.color
        assert list(kinds) == ["WARNING", "ERROR", "ValueError"]
        assert kinds["ERROR"] == kinds["ValueError"] != kinds["WARNING"]


def test_which_words_tell_a_level() -> None:
    def told(line: str) -> list[str]:
        return [line[start:end] for start, end, _level in levels(line)]

    assert told("(EngineCore_0 pid=3) WARNING 03-01 12:00 x") == ["WARNING"]
    assert told("/a/b.py:3: UserWarning: old") == ["UserWarning"]
    assert told("warning: skipped") == ["warning:"]
    assert told("0 errors, 0 warnings, WARNINGS off") == []
