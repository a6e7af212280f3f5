"""Checks, benchmark figures and quality answers as tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gdl.domain.benchmark import BenchReport, Histogram, Percentiles, QualityAnswer
from gdl.domain.health import Check, CheckStatus
from gdl.domain.host import HostFacts
from gdl.domain.money import dollars
from gdl.domain.phase import Phase
from gdl.domain.readings import CheckRound
from gdl.presentation.durations import age, clock_time
from gdl.presentation.hardware import gpu_name
from gdl.presentation.lines import plain
from gdl.presentation.words import milliseconds, plural
from gdl.tui.store import Followed
from gdl.tui.widgets.meters import bar, sparkline

_MARKS = {
    CheckStatus.PASSED: ("✓", "green"),
    CheckStatus.DEGRADED: ("!", "yellow"),
    CheckStatus.FAILED: ("✗", "bold red"),
    CheckStatus.SKIPPED: ("–", "dim"),
    CheckStatus.WAITING: ("…", ""),
}
_ROUNDS_SHOWN = 10
_BAR = 14
"""Cells of the longest bar of a histogram."""
_ORDER = (
    "gpu", "process", "health", "models", "inference", "tool_forced", "tool_auto", "reasoning",
    "memory",
)  # fmt: skip


def checks(followed: Followed, now: datetime, rounds: Sequence[CheckRound] = ()) -> RenderableType:
    """One line per check: mark, word, name, how it went in the latest rounds, latency, detail; the
    machine's GPU first."""
    parts: list[RenderableType] = []
    attempt = followed.state.attempt
    if attempt is not None and attempt.facts is not None:
        parts.append(_machine(attempt.facts))
    if followed.running == "health":
        parts.append(_running("checking", followed, now))
    if not followed.checks:
        if followed.running != "health":
            parts.append(_not_yet(followed, "Checks run once the model is loaded."))
        return Group(*parts)
    table = Table.grid(padding=(0, 1))
    for _name in ("mark", "status", "name", "history"):
        table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    known = sorted(
        last_checks(followed, rounds).values(),
        key=lambda c: _ORDER.index(c.name) if c.name in _ORDER else len(_ORDER),
    )
    for check in known:
        table.add_row(*_check(check, _history(check.name, rounds)))
    if rounds:
        often = f"{plural(len(rounds), 'round')}, the last one "
        said = age((now - rounds[-1].at).total_seconds())
        parts.append(Text(often + said.replace(" old", " ago"), "dim"))
    return Group(*parts, table)


def last_checks(followed: Followed, rounds: Sequence[CheckRound]) -> dict[str, Check]:
    """Each check as it came out last, by its name. Events tell only of those whose outcome has
    changed, rounds tell of all and of their latencies; while it is verified there is no new round
    yet."""
    last = rounds[-1].checks if rounds and followed.state.phase is not Phase.VERIFYING else ()
    return {**followed.checks, **{check.name: check for check in last}}


def _history(name: str, rounds: Sequence[CheckRound]) -> Text:
    """A mark for each of the latest rounds, oldest first; nothing while there was only one."""
    text = Text()
    if len(rounds) > 1:
        for each in rounds[-_ROUNDS_SHOWN:]:
            found = next((c.status for c in each.checks if c.name == name), None)
            mark, style = _MARKS[found] if found is not None else (" ", "")
            text.append(mark, style)
    return text


def _check(check: Check, history: Text) -> tuple[Text, ...]:
    mark, style = _MARKS[check.status]
    latency = "" if check.latency_ms is None else milliseconds(check.latency_ms)
    return (
        Text(mark, style),
        Text(check.status.value, style),
        Text(plain(check.name, 20), "bold"),
        history,
        Text(latency),
        Text(plain(check.detail, 300)),
    )


def _machine(facts: HostFacts) -> Text:
    text = Text("GPU ", "dim")
    if facts.gpus:
        names = ", ".join(
            f"{gpu_name(gpu.name)} {gpu.memory_mib / 1024:.0f} GiB" for gpu in facts.gpus
        )
        text.append(names, "bold not dim")
        if facts.driver:
            text.append(f", driver {plain(facts.driver, 20)}", "not dim")
        if facts.cuda:
            text.append(f", CUDA {plain(facts.cuda, 10)}", "not dim")
    else:
        text.append("none", "bold not dim")
        text.append(f", {facts.cpu_count} CPUs, {facts.ram_gib:.0f} GiB RAM", "not dim")
    return text


def benchmark(followed: Followed, now: datetime) -> RenderableType:
    """The figures of the last run, or how far the running one is."""
    progress = followed.state.bench_progress
    if followed.running == "bench" and progress is None:
        return _running("benchmark running", followed, now)
    if progress is not None and followed.state.finished is None:
        share = progress.done / progress.total if progress.total else 0.0
        text = Text(f"Running: {progress.done} of {progress.total} requests  ")
        full, empty = bar(share, 20)
        text.append(full, "bold")
        text.append(empty, "dim")
        text.append(f"  {progress.output_tokens_per_s:.1f} tokens/s")
        if len(followed.bench_rates) > 1:
            line = sparkline(followed.bench_rates, 40)
            text.append(f"\nTokens/s so far  {line.strip()}", "cyan")
        return text
    if followed.benchmark is None:
        spec = followed.state.spec
        if spec is not None and not spec.bench:
            return _not_yet(
                followed, "No benchmark was requested. b runs one while the model is served."
            )
        return _not_yet(followed, "It runs once the model answers.")
    return _figures(followed.benchmark)


def _figures(report: BenchReport) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    for _name in ("median", "mean", "p95", "p99"):
        table.add_column(no_wrap=True, justify="right")
    table.add_row("", *(Text(h, "dim") for h in ("median", "mean", "p95", "p99")))
    for title, values in (
        ("Time to first token", report.ttft_ms),
        ("Time per output token", report.tpot_ms),
        ("Whole request", report.e2el_ms),
    ):
        table.add_row(Text(title), *_percentiles(values))
    cost = "-" if report.cost_per_million is None else dollars(report.cost_per_million)
    totals = Text()
    totals.append(f"{report.output_throughput:.1f} tokens/s", "bold")
    totals.append(f", {report.request_throughput:.2f} requests/s, ")
    totals.append(f"{cost} per million output tokens\n", "bold")
    totals.append(
        f"{report.completed} done, {report.failed} failed in {report.duration_s:.1f} s, "
        f"{plural(report.output_tokens, 'output token')}, concurrency {report.concurrency}"
    )
    for error in report.errors[:3]:
        totals.append(f"\n✗ {plain(error, 200)}", "red")
    if report.standing:
        totals.append(f"\n{plain(report.standing, 300)}")
    if report.note:
        totals.append(f"\n! {plain(report.note, 200)}", "yellow")
    spreads = (("Time to first token", report.ttft_spread), ("Whole request", report.e2el_spread))
    shown = [_distribution(title, spread) for title, spread in spreads if spread is not None]
    if not shown:
        return Group(totals, table)
    beside = Table.grid(padding=(0, 3, 0, 0))
    beside.add_row(*shown)
    return Group(totals, table, Text(), beside)


def _distribution(title: str, spread: Histogram) -> Text:
    """How many requests took how long: a bar for each bin, with its count."""
    text = Text(f"{title}: requests by time\n", "bold")
    most = max(spread.counts, default=0) or 1
    for number, count in enumerate(spread.counts):
        low = spread.start + spread.width * number
        to = milliseconds(low + spread.width)
        text.append(f"{'to ' + to if spread.width else to:>11} ", "dim")
        text.append("█" * max(round(count / most * _BAR), 1 if count else 0), "cyan")
        text.append(f" {count}\n" if count else "·\n", "" if count else "dim")
    text.rstrip()
    return text


def _percentiles(values: Percentiles | None) -> tuple[Text, ...]:
    if values is None:
        return (Text("-"),) * 4
    return tuple(
        Text(milliseconds(v)) for v in (values.median, values.mean, values.p95, values.p99)
    )


def answers(followed: Followed) -> RenderableType:
    """Each prompt, what the model said, and whether an expected word was in it."""
    quality = followed.state.quality
    if not quality:
        return _not_yet(followed, "The benchmark asks five short questions.")
    # A benchmark run again asks again: the last answer to each prompt counts.
    latest = {(answer.category, answer.prompt): answer for answer in quality}
    passed = sum(answer.passed for answer in latest.values())
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(ratio=2, overflow="fold")
    table.add_column(ratio=3, overflow="fold")
    table.expand = True
    for answer in latest.values():
        table.add_row(*_answer(answer))
    return Group(Text(f"{passed} of {len(latest)} as expected", "bold"), table)


def _answer(answer: QualityAnswer) -> tuple[Text, ...]:
    mark = Text("✓ yes", "green") if answer.passed else Text("✗ no", "bold red")
    if answer.error:
        return mark, Text(plain(answer.prompt, 120)), Text(plain(answer.error, 200), "red")
    said = Text(plain(answer.answer.strip(), 200) or "(nothing)")
    if not answer.passed and answer.expected:
        words = ", ".join(plain(word, 20) for word in answer.expected[:4])
        said.append(f"  (expected {words})", "dim")
    return mark, Text(plain(answer.prompt, 120)), said


def _running(what: str, followed: Followed, now: datetime) -> Text:
    since = followed.running_since or now
    return Text(f"… {what}, {clock_time((now - since).total_seconds())}")


def _not_yet(followed: Followed, words: str) -> Text:
    if followed.state.finished is not None or followed.state.phase in (
        Phase.FAILED, Phase.CANCELLED
    ):  # fmt: skip
        return Text("Not measured: the deployment did not get that far.", "dim")
    return Text(words, "dim")
