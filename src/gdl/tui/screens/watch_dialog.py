"""What is watched for, and whether what appears is rented at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import Input, Static

from gdl.domain.money import dollars, hourly
from gdl.presentation.lines import plain
from gdl.presentation.words import plural, sentence
from gdl.tui.screens.fields_dialog import FieldsDialog, field
from gdl.tui.widgets.check_box import CheckBox
from gdl.tui.widgets.typed_line import TypedLine

_MOST = 1000.0


class WatchTerms(NamedTuple):
    """most: dollars an hour that a machine may cost; None: any price. rents: at once."""

    most: float | None
    rents: bool


class _Rents(CheckBox, inherit_bindings=False):
    """Enter begins, here too: it must not untick, after somebody has ticked."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "toggle_button", "Tick", id="watch.tick",
                tooltip="Rent what appears, or only tell"),
        Binding("enter", "screen.answer(True)", "Watch", show=False, id="watch.begin",
                tooltip="Begin to watch on these terms"),
    ]  # fmt: skip


class WatchDialog(FieldsDialog[WatchTerms]):
    """The terms, or None. Whatever is rented later is agreed to here: it names the price."""

    AUTO_FOCUS = "#watch-most"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "answer(False)", "Cancel", id="watch.cancel",
                tooltip="Watch for nothing"),
        Binding("up", "app.focus_previous", "Previous", show=False, id="watch.previous",
                tooltip="The line or button above"),
        Binding("down", "app.focus_next", "Next", show=False, id="watch.next",
                tooltip="The line or button below"),
    ]  # fmt: skip
    TITLE_WORDS = "Watch for an offer"
    NOTE = "It is told when it appears. Nothing is rented by this."
    YES = "Watch"

    def __init__(
        self, line: str, model: str | None, hours: int, most: float | None,
        *, costs: bool, may_rent: bool, max_spend: float | None, until: str,
    ) -> None:  # fmt: skip
        """line: the filter. most: dollars an hour that are not exceeded in any case. costs: what
        is rented has to be paid for. max_spend: dollars that a deployment may cost in all. until:
        how long it costs, as a clause."""
        super().__init__()
        self._line, self._model, self._hours, self._ceiling = line, model, hours, most
        self._costs, self._may_rent, self._max_spend = costs, may_rent, max_spend
        self._until = until

    def fields(self) -> Iterator[Widget]:
        name = plain(self._model or "", 80)
        asked = [f"pass {plain(self._line, 200)}"] if self._line else []
        asked += [f"can serve {name}"] if name else []
        what = f"offers that {' and '.join(asked)}" if asked else "any offer"
        yield Static(Text.assemble("For ", (what, "bold")))
        ceiling = "" if self._ceiling is None else f"{self._ceiling:g}"
        line = TypedLine(ceiling, type="number", max_length=7, id="watch-most")
        yield field("At most", line, "dollars an hour")
        if self._may_rent and name:
            words = "Rent it as soon as it appears, without asking again"
            yield _Rents(words, False, id="watch-rents", compact=True)
        elif self._may_rent:
            yield Static("To have it rented at once, choose the model first (m).")
        else:
            yield Static("This run is read-only: nothing is rented.")

    def on_checkbox_changed(self) -> None:
        self._say(self.note())

    def note(self) -> str:
        if not self._rents:
            return self.NOTE
        model = plain(self._model or "", 80)
        try:
            most = self._most()
        except ValueError as error:
            return str(error)
        limit = "" if self._max_spend is None else f", {dollars(self._max_spend)} in all at most"
        if most is None:
            return f"{model} on the first machine that appears{limit}."
        hours = plural(self._hours, "hour")
        until = f" {sentence(self._until)}." if self._costs else ""
        return (
            f"{model} on the first machine that appears, for {hourly(most)} at most:"
            f" {dollars(most * self._hours)} for {hours}.{until}"
        )

    @property
    def _rents(self) -> bool:
        return any(box.value for box in self.query(CheckBox))

    def _most(self) -> float | None:
        """Dollars an hour. Raises ValueError for what is no price, and without one where it is
        needed."""
        typed = self.query_one("#watch-most", Input).value.strip()
        if not typed:
            limited = self._ceiling is not None or self._max_spend is not None
            if self._rents and self._costs and not limited:
                raise ValueError("say what the machine may cost an hour")
            return self._ceiling
        wrong = f"a number over 0, {_MOST:.0f} at most"
        try:
            most = float(typed)
        except ValueError:
            raise ValueError(wrong) from None
        if not 0 < most <= _MOST:
            raise ValueError(wrong)
        return most if self._ceiling is None else min(most, self._ceiling)

    def typed(self) -> WatchTerms:
        return WatchTerms(self._most(), self._rents)
