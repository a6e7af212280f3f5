"""Charts of benchmarks: one curve for each kind of machine, by requests at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual_plotext import PlotextPlot

from gdl.domain.benchmark import BenchReport, Measurement
from gdl.presentation.lines import plain

MOST_CURVES = 5
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


class Chart(PlotextPlot):
    """Curves over the number of requests at a time, which doubles from mark to mark."""

    def __init__(self, title: str, *, id: str) -> None:
        super().__init__(id=id)
        self._title = title
        self._shown: list[Curve] | None = None

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
        if lines:
            plt.ylim(0, max(number for _, points in lines for _, number in points) * 1.1 or 1)
        self.refresh()
