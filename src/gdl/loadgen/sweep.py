"""The sweep: 1, 2, 4 ... requests at a time, until it is known which number serves best."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from gdl.loadgen.load import Outcome
from gdl.loadgen.metrics import Slo

GROWTH = 0.05
"""Less than this share more throughput than the point before: it has stopped growing."""
ENOUGH = 0.95
"""The best point is the one with the fewest requests at a time that reaches this share of the
highest throughput: beyond it every request only waits longer."""
MEETS = 0.95
"""A point keeps the limits when at least this share of its requests meets all of them."""
MOST = 1024
WINDOWS = 3
AGAIN = 2
"""Windows of a point that are measured again when the generator was their bottleneck: something
else may have had its core for a moment."""

Measure = Callable[[int, int], Awaitable[Outcome]]
"""Called with (concurrency, number of the window); no number comes twice at a point."""


@dataclass(frozen=True, slots=True)
class Point:
    """One concurrency. throughput: output tokens a second, mean of the windows; spread: the
    difference between the highest and lowest window, as a share of the mean. kept: the share of
    requests that met the limits, None without limits; a failed request meets none."""

    concurrency: int
    outcomes: tuple[Outcome, ...]
    throughput: float
    spread: float
    kept: float | None

    @property
    def failed(self) -> int:
        return sum(outcome.figures.failed for outcome in self.outcomes)

    @property
    def limited(self) -> str:
        """Why the generator was the bottleneck in one of the windows, "" when it was not."""
        return next((o.strain.limited for o in self.outcomes if o.strain.limited), "")

    @property
    def busy(self) -> str:
        """How the generator was at its own limit in one of the windows, "" when it was not."""
        return next((o.strain.limited for o in self.outcomes if o.strain.busy), "")

    @property
    def middle(self) -> Outcome:
        """The window with the median throughput: the one to show. What is said against any window
        is said of it, too."""
        ordered = sorted(self.outcomes, key=lambda o: o.figures.output_throughput)
        shown = ordered[len(ordered) // 2]
        if self.limited and not shown.strain.limited:
            limited = next(o.strain for o in self.outcomes if o.strain.limited)
            return replace(shown, strain=limited)
        return shown


@dataclass(frozen=True, slots=True)
class Swept:
    """points: in the order of concurrency. best: None when no point can be relied on. ended: why
    no further ones were tried. sure: whether the best point's place is beyond what its windows
    differ by; doubt: why not, "" when it is. at_least: without a best one, what was best of what
    was measured although the generator was the bottleneck: the server may do better. None when
    nothing was measured at all."""

    points: tuple[Point, ...]
    best: Point | None
    ended: str
    sure: bool
    doubt: str = ""
    at_least: Point | None = None


async def sweep(
    measure: Measure,
    *,
    slo: Slo | None = None,
    most: int = MOST,
    windows: int = WINDOWS,
    on_point: Callable[[Point], None] | None = None,
) -> Swept:
    """Measure point after point. Once a limit breaks, the numbers between the last that kept it
    and the first that did not are tried by halves."""
    points: list[Point] = []

    async def at(concurrency: int) -> Point:
        outcomes: list[Outcome] = []
        for window in range(windows + AGAIN):
            outcomes.append(await measure(concurrency, window))
            if len(_undisturbed(outcomes)) == windows:
                break
        clean = _undisturbed(outcomes)
        point = _point(concurrency, clean if len(clean) == windows else outcomes, slo)
        points.append(point)
        if on_point is not None:
            on_point(point)
        return point

    ended = f"{most} at a time is the most that is tried"
    concurrency = 1
    while concurrency <= most:
        point = await at(concurrency)
        reason = _reason_to_stop(points, point)
        if reason:
            ended = reason
            break
        concurrency *= 2
    if not _keeps(points[-1]) and len(points) > 1:
        await _halve(at, points[-2].concurrency, points[-1].concurrency)
    points.sort(key=lambda point: point.concurrency)
    return _judged(points, ended)


async def _halve(at: Callable[[int], Awaitable[Point]], good: int, bad: int) -> None:
    """Between a number that keeps the limits and one that does not, to an eighth of it."""
    while bad - good > max(good // 8, 1):
        middle = (good + bad) // 2
        if _keeps(await at(middle)):
            good = middle
        else:
            bad = middle


def _undisturbed(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if not outcome.strain.limited]


def _point(concurrency: int, outcomes: Sequence[Outcome], slo: Slo | None) -> Point:
    rates = [outcome.figures.output_throughput for outcome in outcomes]
    mean = fmean(rates)
    kept = None
    if slo is not None:
        asked = sum(o.figures.completed + o.figures.failed for o in outcomes)
        kept = sum(o.figures.good or 0 for o in outcomes) / max(asked, 1)
    wide = (max(rates) - min(rates)) / mean if mean > 0 else 0.0
    return Point(concurrency, tuple(outcomes), mean, wide, kept)


def _keeps(point: Point) -> bool:
    return point.kept is None or point.kept >= MEETS


def _measured(point: Point) -> bool:
    return point.throughput > 0 and not point.failed and _keeps(point)


def _usable(point: Point) -> bool:
    return _measured(point) and not point.limited


def _reason_to_stop(points: Sequence[Point], point: Point) -> str:
    if point.failed:
        lines = [line for o in point.outcomes for line in o.figures.error_lines]
        return f"requests failed at {point.concurrency}: {lines[0]}"
    if point.busy:
        return f"{point.busy} at {point.concurrency}"
    if not _keeps(point):
        return f"{point.kept:.0%} of the requests kept the limits at {point.concurrency}"
    if len(points) < 2:
        return ""
    before = points[-2]
    if point.throughput < before.throughput * (1 + GROWTH):
        return f"from {before.concurrency} to {point.concurrency} the throughput no longer grew"
    return ""


def _judged(points: Sequence[Point], ended: str) -> Swept:
    good = [point for point in points if _usable(point)]
    if not good:
        some = [point for point in points if _measured(point)]
        doubt = "no point is reliable"
        if not some:
            return Swept(tuple(points), None, ended, False, doubt)
        doubt += f": {some[0].limited}"
        return Swept(tuple(points), None, ended, False, doubt, _first_best(some)[0])
    best, highest = _first_best(good)
    doubt = _doubt(points, best, highest)
    return Swept(tuple(points), best, ended, not doubt, doubt)


def _first_best(points: Sequence[Point]) -> tuple[Point, float]:
    """(the first point that is about as good as the highest, the highest throughput)."""
    highest = max(point.throughput for point in points)
    return next(p for p in points if p.throughput >= highest * ENOUGH), highest


def _doubt(points: Sequence[Point], best: Point, highest: float) -> str:
    """What speaks against the best point: windows that differ by as much as the point below it is
    away from the mark, or a sweep that ended while the throughput still grew."""
    if len(best.outcomes) < 2:
        return "only one window was measured"
    below = [point for point in points if point.concurrency < best.concurrency]
    if below and below[-1].throughput * (1 + max(below[-1].spread, best.spread)) >= (
        highest * ENOUGH
    ):
        return (
            f"{below[-1].concurrency} at a time is as good, within the {best.spread:.0%} "
            "by which the windows differ"
        )
    last = points[-1]
    if best is last and best.kept is None:
        return "the throughput may still grow beyond it"
    beyond = [p for p in points if p.concurrency > best.concurrency and _measured(p)]
    hidden = [p for p in beyond if p.limited and p.throughput >= highest / (1 + GROWTH)]
    if hidden or last.limited:
        return f"beyond it {(hidden or [last])[0].limited}"
    return ""
