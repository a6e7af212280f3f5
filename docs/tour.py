"""Makes the pictures of the README's tour: the terminal UI on the simulated market, by keyboard.

    .venv/bin/python docs/tour.py    # writes docs/tour/*.svg, tells the seconds of each step

It presses what the screen says and waits for what the screen shows, as somebody would who sees
the program for the first time.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from textual.pilot import Pilot

FOLDER = Path(__file__).parent / "tour"
SIZE = (110, 30)
QUESTION = "What is the capital of France?"


def text(pilot: Pilot[int]) -> str:
    """What the terminal shows."""
    app = pilot.app
    strips = app.screen._compositor.render_strips(app.size)
    return "\n".join(strip.text for strip in strips)


async def until(pilot: Pilot[int], *words: str, limit: float = 60.0) -> None:
    """Wait until all the words are seen."""
    end = time.monotonic() + limit
    while not all(word in text(pilot) for word in words):
        if time.monotonic() > end:
            raise SystemExit(f"never seen: {words}\n{text(pilot)}")
        await pilot.pause(0.05)
    await pilot.pause()


async def walk(pilot: Pilot[int], picture: Callable[[str], None]) -> None:
    await until(pilot, "60/60")
    await pilot.press("enter")
    await until(pilot, "Weights")
    await pilot.press(*"tinyllama")
    await until(pilot, "free", "✓ fits")
    picture("1-model")
    await pilot.press("enter")
    await until(pilot, "Deploy this model")
    picture("2-plan")
    await pilot.press("y")
    await until(pilot, "attempt 3 of", "▶ Install", "following", limit=120)
    picture("3-third-offer")
    await until(pilot, "Serving", limit=120)
    picture("4-serving")
    await pilot.press("t")
    await until(pilot, "ask the model")
    await pilot.press(*QUESTION, "enter")
    await until(pilot, "tokens/s")
    picture("5-chat")


async def main() -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"GDL_DATA_DIR": f"{home}/data", "XDG_CONFIG_HOME": home}
        from gdl.bootstrap import open_orchestrator
        from gdl.settings import Settings
        from gdl.tui.app import GdlApp

        settings = Settings(backend="sandbox", sandbox={"scenario": "demo"})
        async with open_orchestrator(settings) as orchestrator:
            app = GdlApp(orchestrator, settings, clock=lambda: datetime.now(UTC), version="tour")

            def picture(name: str) -> None:
                FOLDER.mkdir(exist_ok=True)
                (FOLDER / f"{name}.svg").write_text(app.export_screenshot(title="gdl-tui demo"))
                print(f"{time.monotonic() - began:5.1f} s  {name}")

            async with app.run_test(size=SIZE) as pilot:
                await walk(pilot, picture)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
