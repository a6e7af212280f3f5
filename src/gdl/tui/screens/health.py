"""Health checks, quality answers and benchmark figures of the current deployment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Static

from gdl.domain.benchmark import OWN_LOAD
from gdl.domain.errors import GdlError
from gdl.domain.readings import CheckRound
from gdl.domain.serialization import to_plain
from gdl.tui.save_file import save_text
from gdl.tui.screens.base import GdlScreen
from gdl.tui.store import Followed
from gdl.tui.widgets.live_panel import live
from gdl.tui.widgets.live_text import LiveText
from gdl.tui.widgets.measurements import answers, benchmark, checks, last_checks
from gdl.tui.widgets.scroll import Scroll
from gdl.tui.widgets.status_panel import headline


class HealthScreen(GdlScreen):
    MODE = "health"
    AUTO_FOCUS = "#measured"
    SPENDS = frozenset({"run_bench"})
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("h", "run_health", "Check again", id="health.check",
                tooltip="Run the health checks again"),
        Binding("b", "run_bench", "Benchmark", id="health.bench",
                tooltip="Run the benchmark with a number of requests at a time of your choice"),
        Binding("c", "compare", "Compare", id="health.compare",
                tooltip="All measurements: charts, other machines, and a sweep"),
        Binding("ctrl+s", "save", "Save", id="health.save",
                tooltip="Save checks, benchmark and answers as a JSON file"),
        Binding("left_square_bracket", "step(-1)", "Previous deployment", show=False,
                id="health.previous", tooltip="Previous deployment of this run"),
        Binding("right_square_bracket", "step(1)", "Next deployment", show=False,
                id="health.following", tooltip="Next deployment of this run"),
        Binding("escape", "app.show('deployment')", "Back", id="health.back",
                tooltip="Go to the deployment"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._keys: tuple[object, ...] = ()
        self._shown: tuple[object, ...] = ()
        self._looked: tuple[object, ...] = ()
        self._extent = (0, 0)
        self._load = OWN_LOAD

    def body(self) -> ComposeResult:
        yield LiveText(id="health-none")
        with Vertical(id="health"):
            yield LiveText(id="health-head")
            with Scroll(id="measured"):
                yield Static(id="now")
                yield Static(id="checks")
                yield Static(id="benchmark")
                yield Static(id="answers")

    def on_mount(self) -> None:
        for name, title in (
            ("now", "Now"),
            ("checks", "Health"),
            ("benchmark", "Benchmark"),
            ("answers", "Quality answers"),
        ):
            self.query_one(f"#{name}").border_title = title
        super().on_mount()

    def refresh_view(self) -> None:
        followed = self.context.store.followed
        self.query_one("#health").display = followed is not None
        none = self.query_one("#health-none", LiveText)
        none.display = followed is None
        if followed is None:
            none.say("Nothing to measure yet.\n\n1 shows the offers, 4 the sessions to attach to.")
        else:
            now = self.now
            self.query_one("#health-head", LiveText).say(
                headline(followed.state, followed.clock(now), self.app.size.width - 2)
            )
            self._draw_now(followed)
            self._draw_tables(followed)
        keys = (self._can_measure(followed),)
        if keys != self._keys:
            self._keys = keys
            self.refresh_bindings()

    def _draw_now(self, followed: Followed) -> None:
        """What engine and GPUs do, while the deployment is here; drawn once a second at most."""
        sample = self.context.orchestrator.endpoints.readings(followed.state.deployment_id).health
        panel = self.query_one("#now", Static)
        samples = followed.samples
        panel.display = sample is not None or samples.gpu is not None
        width = self.size.width - 6
        looked = (sample, samples.gpu, samples.count, width)
        if panel.display and looked != self._looked:
            self._looked = looked
            drawn, height = live(samples, sample, width)
            panel.update(drawn, layout=(height, width) != self._extent)
            self._extent = height, width

    def _draw_tables(self, followed: Followed) -> None:
        """Draw what was measured, if that has changed since it was last drawn."""
        now, state = self.now, followed.state
        second = now.replace(microsecond=0) if followed.running else None
        rounds = self.context.orchestrator.endpoints.readings(state.deployment_id).rounds
        latest = rounds[-1].at if rounds else None
        ago = int((now - latest).total_seconds()) // 10 if latest else 0
        measured = (followed.checks, followed.benchmark, followed.running, second, latest, ago)
        shown = (state.deployment_id, state.last_seq, *measured)
        if shown != self._shown:
            self._shown = shown
            self.query_one("#checks", Static).update(checks(followed, now, rounds))
            self.query_one("#benchmark", Static).update(benchmark(followed, now))
            self.query_one("#answers", Static).update(answers(followed))

    def why_not(self, action: str) -> str:
        followed = self.context.store.followed
        if followed is None:
            return "no deployment is shown here: 1 shows the offers, 4 the sessions to attach to"
        if action not in ("run_health", "run_bench") or self._can_measure(followed):
            return super().why_not(action)
        if followed.running:
            return "a measurement is under way: one at a time"
        if followed.state.finished is not None:
            return "the deployment is over: nothing answers any more"
        return "nothing answers yet: it can be measured once the model serves"

    def _can_measure(self, followed: Followed | None) -> bool:
        return followed is not None and followed.holds and not followed.running

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "step":
            return len(self.context.store.deployments) > 1
        if action == "save" and self.context.store.followed is None:
            return None
        if action in ("run_health", "run_bench") and not self._can_measure(
            self.context.store.followed
        ):
            return None
        return super().check_action(action, parameters)

    def action_step(self, by: int) -> None:
        self.context.store.step(by)
        self.poke()

    def action_compare(self) -> None:
        from gdl.tui.screens.compare import CompareScreen

        followed = self.context.store.followed
        model = followed.state.served_name if followed is not None else None
        ident = followed.state.deployment_id if followed is not None and followed.holds else None
        self.app.push_screen(CompareScreen(model or None, ident))

    def action_run_health(self) -> None:
        if (followed := self.context.store.followed) is not None:
            self._measure(followed, "health")
            self._bring("checks", top=False)

    @work(exclusive=True, group="dialog")
    async def action_run_bench(self) -> None:
        from gdl.tui.screens.bench_dialog import BenchDialog

        load = await self.app.push_screen_wait(BenchDialog(self._load))
        followed = self.context.store.followed
        if load is None or followed is None:
            return
        self._load = load
        if self._can_measure(followed):
            self._measure(followed, "bench")
            self._bring("benchmark", top=True)
        else:
            self.context.say(self.why_not("run_bench"))

    def _bring(self, panel: str, *, top: bool) -> None:
        """Into view, where a small terminal has it below or above: what was asked for is there."""
        shown = self.query_one(f"#{panel}", Static)
        self.query_one("#measured", Scroll).scroll_to_widget(shown, animate=False, top=top)

    @work(exclusive=True, group="save")
    async def action_save(self) -> None:
        followed = self.context.store.followed
        if followed is None:
            return
        rounds = self.context.orchestrator.endpoints.readings(followed.state.deployment_id).rounds
        name, folder = f"{followed.state.deployment_id}-measured", self.context.settings.data_dir
        try:
            text = as_json(followed, rounds)
            path = await save_text(name, text, self.now, folder / "saved", ".json")
        except GdlError as error:
            self.context.report(error)
        else:
            self.context.say(f"saved {path}")

    @work(group="measure")
    async def _measure(self, followed: Followed, what: str) -> None:
        """Ask the orchestrator to measure, and keep what it found with the deployment."""
        ident = followed.state.deployment_id
        followed.running, followed.running_since = what, self.now
        self.poke()
        try:
            if what == "health":
                found = await self.context.orchestrator.endpoints.health(ident)
                followed.checks = {check.name: check for check in found}
            else:
                followed.benchmark = await self.context.orchestrator.benchmarks.bench(
                    ident, self._load
                )
        except GdlError as error:
            self.context.report(error)
        finally:
            followed.running, followed.running_since = "", None
        self.poke()


def as_json(followed: Followed, rounds: Sequence[CheckRound]) -> str:
    """What was measured of a deployment, as one JSON object."""
    import json

    state = followed.state
    found = {
        "deployment_id": state.deployment_id,
        "model": state.served_name,
        "checks": list(last_checks(followed, rounds).values()),
        "rounds": list(rounds),
        "benchmark": followed.benchmark,
        "answers": list(state.quality),
    }
    return json.dumps(to_plain(found), ensure_ascii=False, indent=2)
