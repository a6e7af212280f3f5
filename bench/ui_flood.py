"""The terminal UI under a flood of log lines, for `ui.py`: `!` starts it, and ends it with a toast
that tells how many lines there were. Argument: lines a second."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import ClassVar

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from textual.binding import Binding, BindingType

from gdl.domain.events import LogLines, Recorded
from gdl.tui import garbage_collection
from gdl.tui.app import GdlApp
from tui_support import SPEC, ScriptedOrchestrator, make_app, to_installing

BATCH_S = 0.05
"""As the orchestrator sends them."""


class Flooded(GdlApp):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("exclamation_mark", "flood", "Flood")]
    rate = 0
    ident = ""
    flooding: asyncio.Task[None] | None = None

    def on_mount(self) -> None:
        super().on_mount()
        orchestrator = self.orchestrator
        assert isinstance(orchestrator, ScriptedOrchestrator)
        self.ident = orchestrator.begin(SPEC)
        to_installing(orchestrator, self.ident)
        self.call_after_refresh(self.open_deployment, self.ident)
        self.set_timer(
            1.0, garbage_collection.settle
        )  # as the program does when its offers are shown

    def action_flood(self) -> None:
        if self.flooding is None:
            self.flooding = asyncio.create_task(self.flood())
        else:
            self.flooding.cancel()

    async def flood(self) -> None:
        began, sent = time.perf_counter(), 0
        try:
            while True:
                due = int((time.perf_counter() - began) * self.rate) - sent
                lines = tuple(
                    f"{sent + n:09} INFO loading shard of weights, {n} of many: some words more"
                    for n in range(due)
                )
                sent += due
                event = LogLines(1, "install", lines, 0)
                # Not through the script: it keeps every event for ever.
                self.store.deployments[self.ident].fold(
                    Recorded(self.ident, 0, self.clock(), event)
                )
                self.touch()
                await asyncio.sleep(BATCH_S)
        except asyncio.CancelledError:
            took = time.perf_counter() - began
            self.say(f"flooded {sent:,} lines in {took:.1f} s")


def main() -> None:
    made, _orchestrator = make_app()
    app = Flooded(made.orchestrator, made.settings, clock=made.clock, version="bench")
    app.rate = int(sys.argv[1])
    app.run()


if __name__ == "__main__":
    main()
