"""What was measured: throughput and latency against concurrency, and every machine beside it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal

from gdl.domain.benchmark import BenchReport, Measurement, ranked
from gdl.domain.errors import GdlError
from gdl.domain.money import dollars, price
from gdl.presentation.durations import clock_time
from gdl.presentation.lines import plain
from gdl.presentation.words import DOUBTED, milliseconds, plural, workload_words
from gdl.tui.panes import Split
from gdl.tui.save_file import save_text
from gdl.tui.screens.base import GdlScreen
from gdl.tui.widgets.bench_charts import Chart, curves
from gdl.tui.widgets.keyed_table import Column, KeyedTable, Row
from gdl.tui.widgets.live_text import LiveText

MOST = 64
"""Requests at a time, at most, in a sweep that is started here."""
COLUMNS = (
    Column("hardware", "Machine", 14, wish=18),
    Column("at_a_time", "At a time", 9, right=True),
    Column("rate", "Tokens/s", 9, right=True),
    Column("ttft", "TTFT", 8, right=True),
    Column("tpot", "TPOT", 8, right=True),
    Column("million", "$/1M", 8, right=True),
    Column("price", "$/h", 7, right=True),
    Column("workload", "Workload", 16, needed=100, wish=24),
    Column("provider", "Provider", 12, needed=110),
    Column("when", "When", 16, needed=100),
)


class CompareScreen(GdlScreen):
    """Opened from the health screen. ident: the deployment that can be swept, None without one.
    model: by its served name; None shows all."""

    MODE = "health"
    AUTO_FOCUS = "#measured-table"
    SPENDS = frozenset({"sweep"})
    SPLIT = Split("compare.table", "#measured-table", "#charts", least=5, leaves=9)
    CSS_PATH = "compare.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w", "sweep", "Sweep", id="compare.sweep",
                tooltip="Measure 1, 2, 4 ... requests at a time to find the best number"),
        Binding("m", "model", "All models", id="compare.model",
                tooltip="Show the measurements of this model only, or of all"),
        Binding("r", "refresh", "Refresh", show=False, id="compare.refresh",
                tooltip="Read the measurements again"),
        Binding("ctrl+s", "save", "Save", id="compare.save",
                tooltip="Save the table as a CSV file"),
        Binding("escape", "back", "Back", id="compare.back",
                tooltip="To health and benchmark"),
    ]  # fmt: skip

    def __init__(self, model: str | None, ident: str | None) -> None:
        super().__init__()
        self._model, self._ident = model, ident
        self._only = model
        self._found: tuple[Measurement, ...] = ()
        self._live: list[BenchReport] = []
        self._since: datetime | None = None
        self._said = ""
        self._loaded = False

    def body(self) -> ComposeResult:
        yield LiveText(id="compare-line")
        with Horizontal(id="charts"):
            yield Chart("Output tokens/s", id="chart-rate")
            yield Chart("TTFT, ms", id="chart-ttft")
        yield KeyedTable(COLUMNS, id="measured-table")
        yield LiveText(id="compare-note")

    def on_mount(self) -> None:
        super().on_mount()
        self._read()

    # What is shown

    def refresh_view(self) -> None:
        self.query_one("#compare-line", LiveText).say(self._line())
        self.query_one("#compare-note", LiveText).say(self._note())

    def _line(self) -> Text:
        what = plain(self._only, 60) if self._only else "all models"
        text = Text(f"Measured so far · {what}", "bold", no_wrap=True, overflow="ellipsis")
        text.append(f" · {plural(len(self._found), 'point')}", "not bold")
        return text

    def _note(self) -> Text:
        if self._since is not None:
            seconds = (self.now - self._since).total_seconds()
            done = ", ".join(
                f"{r.concurrency}: {r.output_throughput:.0f}{_mark(r)}" for r in self._live
            )
            said = f"Sweeping for {clock_time(seconds)}. Tokens/s by requests at a time: "
            return Text(said + (done or "warming up ..."), no_wrap=True, overflow="ellipsis")
        if self._said:
            return Text(plain(self._said, 300), no_wrap=True, overflow="ellipsis")
        if marked := next((one.report for one in self._found if one.report.note), None):
            said = f"{DOUBTED} {plain(marked.note, 200)}"
            return Text(said, no_wrap=True, overflow="ellipsis")
        if self._loaded and not self._found:
            return Text("Nothing has been measured yet. b on the health screen runs a benchmark.")
        return Text("")

    def _draw(self) -> None:
        found = self._found
        live = [(r.concurrency, r) for r in self._live]
        self.query_one("#chart-rate", Chart).show(
            curves(found, live, lambda r: r.output_throughput)
        )
        self.query_one("#chart-ttft", Chart).show(
            curves(found, live, lambda r: r.ttft_ms.median if r.ttft_ms else None)
        )
        rows = {str(number): _row(one) for number, one in enumerate(ranked(found))}
        self.query_one(KeyedTable).show_rows(list(rows), lambda key: rows[key])
        self.poke()

    # What can be done

    def action_refresh(self) -> None:
        self._read("the measurements were read again")

    @work(exclusive=True, group="measured")
    async def _read(self, told: str = "") -> None:
        """told: what is said once it is done."""
        try:
            self._found = tuple(await self.context.orchestrator.benchmarks.kept(self._only))
        except GdlError as error:
            self.context.report(error)
        else:
            if told:
                self.context.say(told)
        self._loaded = True
        if self.drawable:
            self._draw()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "sweep" and (self._ident is None or self._since is not None):
            return None
        if action == "model" and self._model is None:
            return None
        return super().check_action(action, parameters)

    def why_not(self, action: str) -> str:
        if action == "model":
            return "no model serves here: the measurements of all are shown"
        if action == "sweep" and self._since is not None:
            return "a sweep is under way: one at a time"
        if action == "sweep" and self._ident is None:
            return "nothing serves here that could be measured"
        return super().why_not(action)

    def action_model(self) -> None:
        self._only = None if self._only else self._model
        self._read()

    def action_back(self) -> None:
        self.app.pop_screen()

    def action_sweep(self) -> None:
        if self._ident is not None and self._since is None:
            self._sweep(self._ident)

    @work(group="measure")
    async def _sweep(self, ident: str) -> None:
        self._since, self._live, self._said = self.now, [], ""
        self.refresh_bindings()
        self.poke()
        try:
            self._said = await self.context.orchestrator.benchmarks.sweep(ident, MOST, self._take)
        except GdlError as error:
            self.context.report(error)
        finally:
            self._since, self._live = None, []
        self.refresh_bindings()
        self._read()

    def _take(self, report: BenchReport) -> None:
        self._live.append(report)
        if self.drawable:
            self._draw()

    @work(group="save")
    async def action_save(self) -> None:
        folder = self.context.settings.data_dir / "saved"
        try:
            path = await save_text("benchmarks", _csv(self._found), self.now, folder, ".csv")
        except GdlError as error:
            self.context.report(error)
        else:
            self.context.say(f"saved {path}")


def _mark(report: BenchReport) -> str:
    """Beside figures that something speaks against."""
    return DOUBTED if report.note else ""


def _row(one: Measurement) -> Row:
    report, cost = one.report, one.report.cost_per_million
    simulated = ", simulated" if one.simulated else ""
    return Row(
        {
            "hardware": plain(one.hardware, 40),
            "at_a_time": f"{report.concurrency or 'rate'}{'*' if one.best else ''}{_mark(report)}",
            "rate": f"{report.output_throughput:.1f}",
            "ttft": milliseconds(report.ttft_ms.median) if report.ttft_ms else "-",
            "tpot": milliseconds(report.tpot_ms.median) if report.tpot_ms else "-",
            "million": "-" if cost is None else dollars(cost),
            "price": price(one.price) if one.price > 0 else "-",
            "workload": workload_words(one.workload),
            "provider": plain(one.provider, 30) + simulated,
            "when": one.at.astimezone().strftime("%Y-%m-%d %H:%M"),
        }
    )


def _csv(found: Sequence[Measurement]) -> str:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ("at", "model", "hardware", "provider", "price_per_hour", "workload", "concurrency",
         "output_throughput", "median_ttft_ms", "median_tpot_ms",
         "dollars_per_million_output_tokens", "simulated", "note")
    )  # fmt: skip
    for one in found:
        r = one.report
        writer.writerow(
            (one.at.isoformat(), plain(one.model, 200), plain(one.hardware, 200),
             plain(one.provider, 200), one.price, plain(one.workload, 200), r.concurrency,
             r.output_throughput, r.ttft_ms.median if r.ttft_ms else "",
             r.tpot_ms.median if r.tpot_ms else "",
             "" if r.cost_per_million is None else r.cost_per_million, one.simulated,
             plain(r.note, 300))
        )  # fmt: skip
    return text.getvalue().rstrip("\n")
