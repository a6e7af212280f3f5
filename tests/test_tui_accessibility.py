"""What everybody can read: enough contrast in every theme, and nothing said by a colour alone."""

from __future__ import annotations

import colorsys
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from textual.app import App
from textual.widget import Widget
from textual.widgets import Checkbox

import pictures
from gdl.tui.legible import LEAST_CONTRAST, Rgb, contrast, legible, luminance
from gdl.tui.widgets.key_bar import KeyBar
from pictures import Run
from test_tui_snapshots import at, open_deployment, settle
from tui_pilot import screen_text
from tui_support import ScriptedOrchestrator, make_app, to_remedy

GRAPHICS = re.compile(r"[\s\u2500-\u259f\u2800-\u28ff]*")
SIGNS = re.compile(r"[✓✗✘!?●○◐▶■▲▼·…–+★‹›»*@]")
WORD = re.compile(r"[A-Za-z]{2}")
PICTURES = sorted(path for path in pictures.FOLDER.rglob("*.svg") if "ansi" not in path.name)
"""The terminal's own colours apart, which nobody but the terminal knows."""
LEAST_OF_MARKS = 3.0
"""WCAG 2.2, success criterion 1.4.11 (AA): between what is to be seen of a control and what is
beside it."""
rgb_colours = st.tuples(*[st.integers(0, 255)] * 3)


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [
        ((0, 0, 0), (255, 255, 255), 21.0),
        ((255, 255, 255), (0, 0, 0), 21.0),
        ((0x77, 0x77, 0x77), (255, 255, 255), 4.48),
        ((0x76, 0x76, 0x76), (255, 255, 255), 4.54),
        ((255, 0, 0), (255, 255, 255), 4.0),
        ((9, 9, 9), (9, 9, 9), 1.0),
    ],
)
def test_the_contrast_is_that_of_the_guidelines(one: Rgb, other: Rgb, ratio: float) -> None:
    assert contrast(one, other) == pytest.approx(ratio, abs=0.005)


@given(rgb_colours, rgb_colours)
@example((118, 118, 118), (118, 118, 118))
@example((255, 255, 255), (120, 120, 120))
def test_every_text_can_be_read_and_no_colour_is_changed_for_nothing(
    text: Rgb, behind: Rgb
) -> None:
    told = legible(text, behind)
    assert contrast(told, behind) >= LEAST_CONTRAST
    if contrast(text, behind) >= LEAST_CONTRAST:
        assert told == text
    elif luminance(text) < luminance(behind) and contrast((0, 0, 0), behind) >= LEAST_CONTRAST:
        assert luminance(told) < luminance(behind)  # dark text stays dark


def hard_to_read(picture: Path) -> list[tuple[float, Run]]:
    measured = ((contrast(run.colour, run.behind), run) for run in pictures.runs(picture))
    return [
        (ratio, run)
        for ratio, run in measured
        if ratio < LEAST_CONTRAST and not GRAPHICS.fullmatch(run.text)
    ]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_all_text_of_the_pictures_can_be_read(picture: Path) -> None:
    assert not hard_to_read(picture)


async def test_every_theme_can_be_read() -> None:
    orchestrator = ScriptedOrchestrator(at(600))
    app, _ = make_app(orchestrator)
    bad = {}
    async with app.run_test(size=(100, 30)) as pilot:
        await open_deployment(pilot, orchestrator, to_remedy)
        await settle(pilot)
        for name, theme in app.available_themes.items():
            if theme.ansi:
                continue
            app.theme = name
            await pilot.pause()
            if worst := least(app):
                bad[name] = worst
            styles = app.screen.query_one("#status").styles
            track = styles.scrollbar_background
            if (
                ratio := contrast((track + styles.scrollbar_color).rgb, track.rgb)
            ) < LEAST_OF_MARKS:
                bad[name] = {"scroll bar": ratio}
        assert "✗ Failed" in screen_text(app)
    assert not bad


async def test_the_keys_take_the_colours_of_another_theme() -> None:
    app, _ = make_app()
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        bar = app.screen.query_one(KeyBar)
        for name in ("textual-light", "nord", "textual-dark"):
            app.theme = name
            await settle(pilot, lambda: drawn(bar) == bar.get_component_rich_style("key-bar--key"))


def drawn(bar: KeyBar) -> object:
    """The style of the first key, as it is shown."""
    return bar._said.spans[0].style


async def test_an_empty_field_of_a_window_can_be_seen() -> None:
    app, orchestrator = make_app()
    async with app.run_test(size=(80, 24)) as pilot:
        await open_deployment(pilot, orchestrator, to_remedy)
        await pilot.press("m")
        await settle(pilot, lambda: bool(app.screen.query(".field-row Input")))
        for name in ("textual-light", "textual-dark"):
            app.theme = name
            await pilot.pause()
            field = app.screen.query(".field-row Input").last()
            around = field.parent
            assert isinstance(around, Widget)
            one, other = field.background_colors[1], around.background_colors[1]
            assert contrast(one.rgb, other.rgb) > 1.15


def least(app: App[None]) -> dict[str, float]:
    """What is on the screen and hard to read, with its contrast."""
    found = {}
    for strip in app.screen._compositor.render_strips(app.size):
        for text, style, _ in strip:
            if style is None or GRAPHICS.fullmatch(text):
                continue
            assert style.color is not None and style.bgcolor is not None
            one, other = style.color.triplet, style.bgcolor.triplet
            assert one is not None and other is not None
            if (ratio := contrast(one, other)) < LEAST_CONTRAST:
                found[text] = ratio
    return found


def says_by_colour(run: Run) -> bool:
    """Green, yellow or red, as what is good, doubtful or bad is drawn."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(part / 255 for part in run.colour))
    return saturation > 0.5 and 0.15 < lightness < 0.9 and (hue < 0.42 or hue > 0.9)


CURVES = re.compile(r"[xo+#•]+")
"""The marks by which curves of a chart are told apart."""


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_nothing_is_said_by_a_colour_alone(picture: Path) -> None:
    """Whatever is green, yellow or red has a sign or a word in it, or a sign before it in its
    line."""
    alone = []
    for line in lines(picture):
        signed = False
        for run in line:
            text = run.text.strip()
            signed = signed or bool(SIGNS.search(text))
            if says_by_colour(run) and not (
                signed or WORD.search(text) or GRAPHICS.fullmatch(text) or CURVES.fullmatch(text)
            ):
                alone.append(run)
    assert not alone


def lines(picture: Path) -> list[list[Run]]:
    """All but the last one, in which keys stand beside their words; of a line with a window, what
    is in it: the rest may be cut anywhere."""
    found: dict[int, list[Run]] = {}
    for run in pictures.runs(picture):
        found.setdefault(run.row, []).append(run)
    last = max(found)
    told = []
    for row, line in found.items():
        walls = [at for at, run in enumerate(line) if run.text.strip() == "│"]
        if row != last and not any(run.text.startswith(("╭", "╰")) for run in line):
            told.append(line[walls[0] : walls[-1]] if len(walls) > 1 else line)
    return told


async def test_a_box_shows_whether_it_is_ticked_without_its_colour() -> None:
    app, _ = make_app()
    async with app.run_test(size=(80, 30)) as pilot:
        await pilot.press("m", "enter")
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot, lambda: "Deploy this model" in screen_text(app))
        box = app.screen.query(Checkbox).first()
        before = screen_text(app)
        assert "[x] If it fails" in before
        box.toggle()
        await settle(pilot)
        assert screen_text(app) == before.replace("[x] If it fails", "[ ] If it fails")
