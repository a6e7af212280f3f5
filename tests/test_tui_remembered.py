"""What the terminal UI keeps between two starts, and what it says in the window's title."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from textual.widgets import OptionList

from gdl.domain import events as ev
from gdl.domain.health import Condition
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing, Phase
from gdl.settings import Settings
from gdl.tui.app import GdlApp
from gdl.tui.remembered import Remembered
from gdl.tui.screens.theme_dialog import ThemeDialog
from gdl.tui.store import Store
from gdl.tui.window_title import window_title
from test_tui_snapshots import at, open_deployment, settle
from tui_pilot import choose, loaded, shows, until
from tui_support import ScriptedOrchestrator, make_app, to_failed, to_installing, to_serving
from waiting import block_until

LIMIT_S = 60


def started(folder: Path, theme: str = "") -> tuple[GdlApp, ScriptedOrchestrator]:
    orchestrator = ScriptedOrchestrator()
    settings = Settings(backend="shopper", data_dir=folder, theme=theme)
    app = GdlApp(orchestrator, settings, clock=orchestrator.clock, version="1", reduced_motion=True)
    return app, orchestrator


async def test_a_theme_is_seen_at_the_cursor_kept_by_enter_and_undone_by_escape(
    tmp_path: Path,
) -> None:
    app, _ = started(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        before = app.theme
        app.action_change_theme()
        await until(pilot, lambda: isinstance(app.screen, ThemeDialog))
        await pilot.press("up")
        seen = app.theme
        assert seen != before
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, ThemeDialog))
        assert app.theme == before
        app.action_change_theme()
        await until(pilot, lambda: isinstance(app.screen, ThemeDialog))
        await pilot.press("up", "enter")
        await until(pilot, lambda: (tmp_path / "ui.json").exists())
    again, _ = started(tmp_path)
    async with again.run_test(size=(80, 24)):
        assert again.theme == seen != before


async def test_the_theme_of_the_configuration_comes_first_and_that_is_said(tmp_path: Path) -> None:
    Remembered(tmp_path).keep_theme("nord")
    app, _ = started(tmp_path, theme="dracula")
    async with app.run_test(size=(120, 24)) as pilot:
        assert app.theme == "dracula"
        app.action_change_theme()
        await until(pilot, lambda: isinstance(app.screen, ThemeDialog))
        app.screen.query_one(OptionList).highlighted = 0
        await pilot.press("enter")
        await until(pilot, lambda: len(app._notifications) > 0)
        (news,) = app._notifications
        assert news.message.startswith("for this run only") and "dracula" in news.message
    assert Remembered(tmp_path).theme == "nord"


async def test_the_model_and_its_load_are_those_of_the_last_start(tmp_path: Path) -> None:
    app, _ = started(tmp_path)
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        await choose(pilot, "mistral-7b")
    again, orchestrator = started(tmp_path)
    async with again.run_test(size=(80, 24)) as pilot:
        await loaded(pilot)
        await until(pilot, shows(again, "mistral-7b"))
        # Enter goes on with it: nobody has to choose once more.
        await pilot.press("enter")
        await until(pilot, shows(again, "Deploy this model"))
    assert orchestrator.queries[0].model == "mistral-7b"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"theme": 3, "model": []}',
        '{"model": {"name": "a\\u001bb"}}',
        "\xff",
        "[" * 60_000,
    ],
)
def test_a_file_that_is_wrong_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "ui.json").write_bytes(text.encode("latin-1"))
    told = Remembered(tmp_path)
    assert (told.theme, told.wanted(OfferQuery())) == ("", OfferQuery())
    told.keep_theme("nord")
    assert Remembered(tmp_path).theme == "nord"


def test_what_is_kept_beside_the_other_stays(tmp_path: Path) -> None:
    one, other = Remembered(tmp_path), Remembered(tmp_path)
    one.keep_theme("nord")
    asked = OfferQuery(model="m", context=8192, concurrency=2, quantization="fp8")
    other.keep_model(asked)
    told = Remembered(tmp_path)
    assert (told.theme, told.wanted(OfferQuery())) == ("nord", asked)
    assert [path.name for path in tmp_path.iterdir()] == ["ui.json"]


def _dead(orchestrator: ScriptedOrchestrator, ident: str) -> None:
    to_serving(orchestrator, ident)
    orchestrator.push(ident, 500, ev.HealthChanged(1, Condition.DEAD, "no answer"))


def _in_doubt(orchestrator: ScriptedOrchestrator, ident: str) -> None:
    """It was to be released, and that is not proven."""
    to_serving(orchestrator, ident)
    orchestrator.push(ident, 500, ev.PhaseChanged(1, Phase.STOPPING))
    orchestrator.push(ident, 501, ev.BillingChanged(1, Billing.UNKNOWN, "s-1"))
    done = ev.DeploymentFinished("released", None, "m", "s-1", Billing.UNKNOWN, ())
    orchestrator.push(ident, 502, done)


@pytest.mark.parametrize(
    ("script", "title"),
    [
        (to_installing, "gdl-tui – smollm2-135m: installing vLLM, $0.131/h"),
        (to_serving, "gdl-tui – serving smollm2-135m, $0.131/h"),
        (to_failed, "gdl-tui – failed: smollm2-135m"),
        (_dead, "gdl-tui – dead: smollm2-135m, $0.131/h"),
        (_in_doubt, "gdl-tui – done: smollm2-135m, may be billing $0.131/h"),
    ],
)
async def test_the_title_says_what_goes_on(script: object, title: str) -> None:
    orchestrator = ScriptedOrchestrator(at(600))
    app, _ = make_app(orchestrator)
    async with app.run_test(size=(80, 24)) as pilot:
        assert window_title(app.store, app.now) == "gdl-tui"
        assert callable(script)
        await open_deployment(pilot, orchestrator, script)
        await settle(pilot)
        assert window_title(app.store, app.now) == title
    assert window_title(Store(), app.now) == "gdl-tui"


@pytest.mark.long
def test_the_windows_title_is_set_and_given_back(tmp_path: Path) -> None:
    near, far = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "GDL_DATA_DIR": str(tmp_path),
           "XDG_CONFIG_HOME": str(tmp_path)}  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "gdl", "demo"], stdin=far, stdout=far, stderr=far, env=env,
        start_new_session=True,
    )  # fmt: skip
    os.close(far)
    shown = bytearray()

    def read() -> None:
        try:
            while data := os.read(near, 65536):
                shown.extend(data)
        except OSError:
            pass  # the other end is closed

    reader = threading.Thread(target=read)
    reader.start()
    try:
        block_until(lambda: b"60/60" in shown, limit_s=LIMIT_S)
        os.write(near, b"q")
        assert process.wait(LIMIT_S) == 0
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(near)
    kept, given_back = shown.index(b"\x1b[22;2t\x1b]2;gdl-tui\x1b\\"), shown.index(b"\x1b[23;2t")
    assert kept < given_back
    assert shown.count(b"\x1b[22;2t") == shown.count(b"\x1b[23;2t") == 1
