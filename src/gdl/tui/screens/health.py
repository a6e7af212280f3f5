"""Health checks, quality answers and benchmark figures of the current deployment."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from gdl.domain.errors import GdlError
from gdl.tui.screens.base import GdlScreen, Scroll
from gdl.tui.store import Followed
from gdl.tui.widgets.measurements import answers, benchmark, checks, engine_line
from gdl.tui.widgets.status_panel import headline
from gdl.tui.widgets.words import Words


class HealthScreen(GdlScreen):
    MODE = "health"
    AUTO_FOCUS = "#measured"
    SPENDS = frozenset({"run_bench"})
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h", "run_health", "Check again", id="health.check",
                tooltip="Run the health checks once more"),
        Binding("b", "run_bench", "Benchmark again", id="health.bench",
                tooltip="Run the benchmark once more"),
        Binding("c", "compare", "Compare", id="health.compare",
                tooltip="All that was measured: charts, other machines, and a sweep"),
        Binding("left_square_bracket", "step(-1)", "Previous deployment", show=False,
                id="health.previous", tooltip="The deployment before, of this run"),
        Binding("right_square_bracket", "step(1)", "Next deployment", show=False,
                id="health.following", tooltip="The next deployment of this run"),
        Binding("escape", "app.show('deployment')", "Back", id="health.back",
                tooltip="To the deployment"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._keys: tuple[object, ...] = ()
        self._shown: tuple[object, ...] = ()

    def body(self) -> ComposeResult:
        yield Words(id="health-none")
        with Vertical(id="health"):
            yield Words(id="health-head")
            yield Words(id="health-now")
            with Scroll(id="measured"):
                yield Static(id="checks")
                yield Static(id="benchmark")
                yield Static(id="answers")

    def on_mount(self) -> None:
        for name, title in (
            ("checks", "Health"), ("benchmark", "Benchmark"), ("answers", "Quality answers")
        ):  # fmt: skip
            self.query_one(f"#{name}").border_title = title
        super().on_mount()

    def refresh_view(self) -> None:
        followed = self.gdl.store.followed
        self.query_one("#health").display = followed is not None
        none = self.query_one("#health-none", Words)
        none.display = followed is None
        if followed is None:
            none.say("Nothing to measure yet.\n\n1 shows the offers, 4 the sessions to attach to.")
        else:
            now = self.now
            self.query_one("#health-head", Words).say(headline(followed.state, followed.clock(now)))
            self.query_one("#health-now", Words).say(self._engine_now(followed))
            self._draw_tables(followed)
        keys = (self._can_measure(followed),)
        if keys != self._keys:
            self._keys = keys
            self.refresh_bindings()

    def _engine_now(self, followed: Followed) -> Text:
        """What the engine does now, while the deployment is held here."""
        sample = self.gdl.orchestrator.health_now(followed.state.deployment_id)
        return Text("") if sample is None else engine_line(sample)

    def _draw_tables(self, followed: Followed) -> None:
        """Draw what was measured, if that has changed since it was last drawn."""
        now, state = self.now, followed.state
        second = now.replace(microsecond=0) if followed.running else None
        measured = (followed.checks, followed.benchmark, followed.running, second)
        shown = (state.deployment_id, state.last_seq, *measured)
        if shown != self._shown:
            self._shown = shown
            self.query_one("#checks", Static).update(checks(followed, now))
            self.query_one("#benchmark", Static).update(benchmark(followed, now))
            self.query_one("#answers", Static).update(answers(followed))

    def _can_measure(self, followed: Followed | None) -> bool:
        return followed is not None and followed.holds and not followed.running

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action in ("run_health", "run_bench") and not self._can_measure(self.gdl.store.followed):
            return None
        return super().check_action(action, parameters)

    def action_step(self, by: int) -> None:
        self.gdl.store.step(by)
        self.poke()

    def action_compare(self) -> None:
        from gdl.tui.screens.compare import CompareScreen

        followed = self.gdl.store.followed
        model = followed.state.served_name if followed is not None else None
        ident = followed.state.deployment_id if followed is not None and followed.holds else None
        self.app.push_screen(CompareScreen(model or None, ident))

    def action_run_health(self) -> None:
        if (followed := self.gdl.store.followed) is not None:
            self._measure(followed, "health")

    def action_run_bench(self) -> None:
        if (followed := self.gdl.store.followed) is not None:
            self._measure(followed, "bench")

    @work(group="measure")
    async def _measure(self, followed: Followed, what: str) -> None:
        """Ask the orchestrator to measure, and keep what it found with the deployment."""
        ident = followed.state.deployment_id
        followed.running, followed.running_since = what, self.now
        self.poke()
        try:
            if what == "health":
                found = await self.gdl.orchestrator.health(ident)
                followed.checks = {check.name: check for check in found}
            else:
                followed.benchmark = await self.gdl.orchestrator.bench(ident)
        except GdlError as error:
            self.gdl.report(error)
        finally:
            followed.running, followed.running_since = "", None
        self.poke()
