"""Which model, and for what load: what it needs is shown before anything is rented."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from gdl.domain.errors import UsageError
from gdl.domain.offers import OfferQuery
from gdl.orchestrator.api.model_views import ModelRow, SizedModel
from gdl.presentation.hardware import gigabytes
from gdl.presentation.lines import plain
from gdl.tui.widgets.live_text import LiveText
from gdl.tui.widgets.load_fields import Cycle, LoadFields
from gdl.tui.widgets.offer_notes import sizing, too_much

SizeOf = Callable[[OfferQuery], SizedModel]
"""What a model needs for a load. Raises UsageError for what cannot be served anywhere."""


class ModelDialog(ModalScreen[OfferQuery | None]):
    """Choose a known model, or type any hub id or path, and say how it is to be served. Dismissed
    with the query for its offers."""

    AUTO_FOCUS = "#model-name"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel", id="model.cancel",
                tooltip="Back, with all as it was"),
        Binding("down", "move(1)", "Next", show=False, priority=True, id="model.next",
                tooltip="The next model of the list"),
        Binding("up", "move(-1)", "Previous", show=False, priority=True, id="model.previous",
                tooltip="The model before"),
    ]  # fmt: skip

    def __init__(
        self,
        models: Sequence[ModelRow],
        wanted: OfferQuery,
        hours: int,
        size_of: SizeOf,
        quantizations: Mapping[str, float],
        *,
        blink: bool,
    ) -> None:
        super().__init__()
        self._models, self._wanted, self._hours = models, wanted, hours
        self._chosen = wanted.model or ""
        self._size_of, self._blink = size_of, blink
        self._quantizations = quantizations
        self._shown: list[str] = []

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Text("Which model?", "bold"), classes="dialog-title")
            name = Input(
                self._chosen,
                placeholder="name, hub id such as org/model, or a path on the machine",
                id="model-name",
                max_length=300,
            )
            name.cursor_blink = self._blink
            yield name
            yield OptionList(id="model-list", markup=False)
            yield LoadFields(self._wanted, self._hours, self._quantizations, blink=self._blink)
            yield LiveText(id="model-size")
            yield Static(
                "Enter takes it · ↑↓ model · Tab to the fields · Esc cancels",
                classes="dialog-note",
            )

    def on_mount(self) -> None:
        # Reached by the arrow keys from everywhere; Tab goes through the fields.
        self.query_one(OptionList).can_focus = False
        self._list("")

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "model-name":
            self._list("" if event.value == self._chosen else event.value)
        self._say_size()

    def on_input_submitted(self, _event: Input.Submitted) -> None:
        self.action_take()

    def on_cycle_changed(self, _event: Cycle.Changed) -> None:
        self._say_size()

    def on_option_list_option_highlighted(self, _event: OptionList.OptionHighlighted) -> None:
        self._say_size()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.query_one(OptionList).highlighted = event.option_index
        self.action_take()

    def action_move(self, by: int) -> None:
        options = self.query_one(OptionList)
        if by > 0:
            options.action_cursor_down()
        else:
            options.action_cursor_up()

    def _list(self, typed: str) -> None:
        """The models that contain what was typed; what was typed itself first, if it is none."""
        typed = typed.strip()
        wanted = typed.casefold()
        known = [m for m in self._models if wanted in f"{m.alias} {m.location}".casefold()]
        self._shown = [m.alias for m in known]
        prompts = [_model_line(m) for m in known]
        if typed and typed not in self._shown:
            as_typed = Text(f"{plain(typed, 40)} ")
            as_typed.append("as typed: a hub id or a path", "dim")
            at = 0 if "/" in typed or not known else len(known)
            self._shown.insert(at, typed)
            prompts.insert(at, as_typed)
        options = self.query_one(OptionList)
        options.clear_options()
        options.add_options([Option(prompt) for prompt in prompts])
        if prompts:
            current = self._chosen if self._chosen in self._shown and not typed else None
            options.highlighted = self._shown.index(current) if current else 0

    def _asked(self) -> OfferQuery:
        at = self.query_one(OptionList).highlighted
        model = self._shown[at] if at is not None and at < len(self._shown) else ""
        return self.query_one(LoadFields).read(model)

    def _say_size(self) -> None:
        self.query_one("#model-size", LiveText).say(self._sizing(self._asked()))

    def _sizing(self, asked: OfferQuery) -> Text:
        if asked.model is None:
            return Text()
        try:
            return sizing(self._size_of(asked), asked)
        except UsageError as error:
            return too_much(error)

    def action_take(self) -> None:
        asked = self._asked()
        if asked.model is None:
            return
        try:
            self._size_of(asked)
        except UsageError:
            self.app.bell()
        else:
            self.dismiss(asked)


def _model_line(model: ModelRow) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{plain(model.alias, 24):<24} ", "bold")
    size = f"{model.parameters_b:.3g} B" if model.parameters_b is not None else "?"
    text.append(f"{size:>7} ")
    text.append(f"{gigabytes(model.vram_gb) if model.vram_gb is not None else '?':>8} VRAM")
    if model.gated:
        text.append("  needs a token", "dim")
    return text
