"""The two dialogs before a deployment: which model, and this machine for that price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Checkbox, Input, OptionList, Static
from textual.widgets.option_list import Option

from gdl.domain.models import Offer
from gdl.orchestrator.api import ModelRow
from gdl.tui import format as fmt
from gdl.tui.screens.base import Scroll
from gdl.tui.screens.dialogs import Fields, fields_table

MAX_HOURS = 12


class ModelDialog(ModalScreen[str | None]):
    """Choose a known model, or type any hub id or path. Dismissed with what was chosen."""

    AUTO_FOCUS = "#model-name"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel", id="model.cancel"),
        Binding("down", "move(1)", "Next", show=False, priority=True, id="model.next"),
        Binding("up", "move(-1)", "Previous", show=False, priority=True, id="model.previous"),
    ]

    def __init__(self, models: Sequence[ModelRow], chosen: str, *, blink: bool) -> None:
        super().__init__()
        self._models, self._chosen, self._blink = models, chosen, blink
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
            yield Static("Enter takes it · ↑↓ choose · Esc cancels", classes="dialog-note")

    def on_mount(self) -> None:
        self._list("")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._list("" if event.value == self._chosen else event.value)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self._take()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._shown[event.option_index])

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
            as_typed = Text(f"{fmt.plain(typed, 40)} ")
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

    def _take(self) -> None:
        highlighted = self.query_one(OptionList).highlighted
        if highlighted is not None:
            self.dismiss(self._shown[highlighted])


def _model_line(model: ModelRow) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{fmt.plain(model.alias, 24):<24} ", "bold")
    size = f"{model.parameters_b:.3g} B" if model.parameters_b is not None else "?"
    text.append(f"{size:>7} ")
    text.append(f"{fmt.gigabytes(model.vram_gb) if model.vram_gb is not None else '?':>8} VRAM")
    if model.gated:
        text.append("  needs a token", "dim")
    return text


@dataclass(frozen=True, slots=True)
class Choice:
    """What the deploy dialog was confirmed with."""

    hours: int
    auto_failover: bool


class DeployDialog(ModalScreen[Choice | None]):
    """Names offer, model, hours and price; rents only when confirmed."""

    AUTO_FOCUS = "#cancel"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "deploy", "Deploy", id="deploy.yes"),
        Binding("escape,n", "dismiss(None)", "Cancel", id="deploy.no"),
        Binding("plus,equals_sign", "hours(1)", "One hour more", id="deploy.more"),
        Binding("minus", "hours(-1)", "One hour less", id="deploy.less"),
        Binding("left", "app.focus_previous", "Previous", show=False, id="deploy.previous"),
        Binding("right", "app.focus_next", "Next", show=False, id="deploy.next"),
    ]

    def __init__(
        self, offer: Offer, model: str, needed: str, hours: int, *, pinned: bool, attempts: int
    ) -> None:
        super().__init__()
        self._offer, self._model, self._needed = offer, model, needed
        self._hours, self._pinned, self._attempts = hours, pinned, attempts

    def compose(self) -> ComposeResult:
        failover = not self._pinned and self._attempts > 1
        with Vertical(classes="dialog"):
            yield Static(Text("Deploy this model on this machine?", "bold"), classes="dialog-title")
            with Scroll(classes="dialog-body", can_focus=False):
                yield Static(fields_table(self._fields()))
            with Horizontal(classes="dialog-row"):
                yield Static("Hours", id="hours-name")
                yield Static(id="hours-said")
            yield Checkbox(
                f"If it fails, try the next offer by itself (up to {self._attempts} machines)"
                if failover
                else "Only this machine: a failure waits for you",
                failover,
                id="failover",
                compact=True,
                disabled=not failover,
            )
            with Horizontal(classes="dialog-buttons"):
                yield Button("Deploy (y)", id="deploy", variant="primary")
                yield Button("Cancel (Esc)", id="cancel")

    def _fields(self) -> Fields:
        offer = self._offer
        place = fmt.plain(offer.location, 40) or "place not named"
        machine = fmt.gpu(offer)
        if offer.gpu_count:
            each = " each" if offer.gpu_count > 1 else ""
            machine += f", {fmt.gigabytes(offer.vram_gb)} VRAM{each}"
        return (
            ("Model", Text(fmt.plain(self._model, 120), "bold")),
            ("", self._needed),
            (
                "Machine",
                Text(machine, "bold"),
            ),
            ("From", f"{fmt.plain(offer.provider, 40)}, {place}"),
            ("Offer", fmt.plain(offer.id, 80)),
        )

    def on_mount(self) -> None:
        self._say_hours()

    def action_hours(self, by: int) -> None:
        self._hours = min(max(self._hours + by, 1), MAX_HOURS)
        self._say_hours()

    def _say_hours(self) -> None:
        per_hour = self._offer.price_per_hour
        text = Text()
        text.append(f"{self._hours} h", "bold")
        if per_hour > 0:
            text.append(f" at {fmt.price(per_hour)}/h = ")
            text.append(f"{fmt.money(per_hour * self._hours)}", "bold")
        else:
            text.append(", free")
        text.append("   + and - change the hours", "dim")
        self.query_one("#hours-said", Static).update(text)

    def action_deploy(self) -> None:
        auto = self.query_one("#failover", Checkbox).value
        self.dismiss(Choice(self._hours, auto))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "deploy":
            self.action_deploy()
        else:
            self.dismiss(None)
