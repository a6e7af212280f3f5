"""Charts of benchmarks: one curve for each kind of machine, by requests at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from textual.app import RenderResult
from textual_plotext import PlotextPlot

from gdl.domain.benchmark import BenchReport, Measurement
from gdl.presentation.lines import plain

MOST_CURVES = 5
_AROUND = 4
"""Rows of a chart that are not for its curves: title, frame, and the names of the places."""
_MANY_ROWS = 9
_ROUND = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
Curve = tuple[str, list[tuple[int, float]]]
"""(name, points of (requests at a time, value) in rising order)."""
# Told apart without colour, too. Plotext's own colours depend on how often it has drawn.
_LOOKS = (("braille", "blue+"), ("x", "green+"), ("o", "orange+"), ("+", "magenta+"), ("#", "red+"))


def curves(
    found: Sequence[Measurement],
    live: Sequence[tuple[int, BenchReport]],
    value: Callable[[BenchReport], float | None],
) -> list[Curve]:
    """The newest value at each concurrency of each kind of machine, those measured last first; a
    sweep that is running comes before them. found: newest first."""
    points: dict[str, dict[int, float]] = {}
    for concurrency, report in live:
        if (number := value(report)) is not None:
            points.setdefault("now", {})[concurrency] = number
    for one in found:
        number = value(one.report)
        if number is not None and one.report.concurrency:
            points.setdefault(one.hardware, {}).setdefault(one.report.concurrency, number)
    return [(name, sorted(of.items())) for name, of in points.items()][:MOST_CURVES]


def levels(most: float, rows: int) -> list[float]:
    """The values at the side of a chart: round ones in equal steps, from 0 to the first that is
    not below `most`. rows: of the curves; few of them hold few levels."""
    steps = 2 if rows < _MANY_ROWS else 4
    least = most / steps
    power = 10.0 ** math.floor(math.log10(least))
    step = next(power * each for each in _ROUND if power * each >= least * (1 - 1e-9))
    return [step * n for n in range(math.ceil(most / step * (1 - 1e-9)) + 1)]


class Chart(PlotextPlot):
    """Curves over the number of requests at a time, which doubles from mark to mark."""

    def __init__(self, title: str, *, id: str) -> None:
        super().__init__(id=id)
        self._title = title
        self._shown: list[Curve] | None = None
        self._most = 0.0

    def on_mount(self) -> None:
        self.show([])

    def show(self, lines: list[Curve]) -> None:
        """Draw these, if they are not drawn already."""
        if lines == self._shown:
            return
        self._shown = lines
        plt = self.plt
        plt.clear_data()
        plt.title(self._title)
        places = sorted({at for _, points in lines for at, _ in points})
        place_of = {at: place for place, at in enumerate(places)}
        for (name, points), (marker, color) in zip(lines, _LOOKS, strict=False):
            where = [place_of[at] for at, _ in points]
            values = [number for _, number in points]
            label = plain(name, 16) if len(lines) > 1 else None
            if len(points) == 1:
                dot = "•" if marker == "braille" else marker  # one of braille is hardly seen
                plt.scatter(where, values, label=label, marker=dot, color=color)
            else:
                plt.plot(where, values, label=label, marker=marker, color=color)
        plt.xticks(list(place_of.values()), [str(at) for at in places])
        self._most = max((number for _, points in lines for _, number in points), default=0.0)
        self.refresh()

    def render(self) -> RenderResult:
        if self._most > 0:
            marks = levels(self._most, self.size.height - _AROUND)
            self.plt.ylim(0, marks[-1])
            self.plt.yticks(marks, [f"{mark:,.10g}" for mark in marks])
        return super().render()
