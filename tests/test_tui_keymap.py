"""The user's own keys, themes and colours."""

from __future__ import annotations

from pathlib import Path

import pytest

from gdl import settings as settings_module
from gdl.domain.errors import UsageError
from gdl.tui.app import GdlApp
from gdl.tui.keymap_check import check_names, problems
from gdl.tui.screens.chat import ChatScreen
from gdl.tui.screens.help import keys_of
from gdl.tui.screens.model_dialog import ModelDialog
from tui_pilot import SIZE, loaded, screen_text, until
from tui_support import ScriptedOrchestrator, make_app


def app_with(**more: object) -> GdlApp:
    made, orchestrator = make_app(ScriptedOrchestrator())
    settings = made.settings.model_copy(update=more)
    return GdlApp(
        orchestrator, settings, clock=orchestrator.clock, version="1", reduced_motion=True
    )


def test_every_theme_can_be_set_and_no_other() -> None:
    for theme in app_with().available_themes:
        check_names(GdlApp, theme, ())
    with pytest.raises(UsageError, match="there is no theme nrod"):
        check_names(GdlApp, "nrod", ())


async def test_keys_are_replaced_and_shown() -> None:
    app = app_with(keys={"offers.model": "ctrl+o,f9", "app.chat": "c"})
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        await pilot.press("m")
        assert not isinstance(app.screen, ModelDialog)
        groups = dict(keys_of(app.screen))
        (model,) = [key for key in groups["On this screen"] if key.name == "Model"]
        assert model.keys == "^o f9" and model.id == "offers.model"
        await pilot.press("f9")
        await until(pilot, lambda: isinstance(app.screen, ModelDialog))
        await pilot.press("escape", "c")
        await until(pilot, lambda: isinstance(app.screen, ChatScreen))


async def test_a_clash_is_told_at_the_start() -> None:
    app = app_with(keys={"offers.model": "r", "nosuch.thing": "x"})
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "r is used for both offers.refresh" in screen_text(app))
        assert "is no action nosuch.thing" in screen_text(app)


def test_the_keys_that_come_with_it_do_not_clash() -> None:
    assert problems(GdlApp, {}) == []


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (
            {"app.chat": "x"},
            ["x is used for both deployment.exclude and", "x is used for both offers."],
        ),
        ({"offers.model": "r", "offers.refresh": "m"}, []),
        ({"deployment.retry": "ctrl+q"}, ["ctrl+q is used for both app.quit_anywhere and"]),
        ({"table.down": "n"}, []),
        ({"app.jump": "f11,J"}, ["J could not be typed any more: it would always be app.jump"]),
        ({"app.jump": "f11", "app.larger": "J"}, []),
    ],
)
def test_what_clashes(keys: dict[str, str], told: list[str]) -> None:
    found = problems(GdlApp, keys)
    assert len(found) == len(told)
    for got, wanted in zip(found, told, strict=True):
        assert got.startswith(wanted)


def test_keys_are_read_from_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "_config_file", Path())
    path = tmp_path / "config.toml"
    path.write_text('[keys]\noffers.deploy = "ctrl+d"\n"app.quit" = "f10"\n')
    read = settings_module.load(path)
    assert read.keys == {"offers.deploy": "ctrl+d", "app.quit": "f10"}


async def test_the_theme_is_taken_or_said_to_be_unknown() -> None:
    app = app_with(theme="high-contrast")
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        assert app.theme == "high-contrast"
    app = app_with(theme="nosuch")
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await until(pilot, lambda: "there is no theme nosuch" in screen_text(app))


@pytest.mark.parametrize("no_color", [True, False])
async def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch, no_color: bool) -> None:
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    app, _ = make_app()
    async with app.run_test(size=SIZE) as pilot:
        await loaded(pilot)
        strips = app.screen._compositor.render_strips(app.size)
        styles = [segment.style for strip in strips for segment in strip if segment.style]
        colours = {c.get_truecolor() for style in styles for c in (style.color, style.bgcolor) if c}
    grey = all(red == green == blue for red, green, blue in colours)
    assert colours and grey == no_color
