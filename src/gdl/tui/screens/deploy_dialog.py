"""The dialog before a deployment: this model, on this machine, for that price."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Static

from gdl.domain.engine import Capabilities
from gdl.domain.errors import GdlError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.money import Balance, dollars, hourly
from gdl.domain.offers import RankedOffer
from gdl.domain.session_price import SessionPrice
from gdl.presentation.hardware import gpus
from gdl.presentation.lines import plain
from gdl.presentation.session_price import parts, times
from gdl.presentation.spending import balance_line
from gdl.tui.context import context_of
from gdl.tui.screens.modal import Question, Title
from gdl.tui.widgets.check_box import CheckBox
from gdl.tui.widgets.fields import Fields, fields_table
from gdl.tui.widgets.load_fields import MAX_HOURS
from gdl.tui.widgets.offer_rows import fit
from gdl.tui.widgets.scroll import Scroll

_UNTIL = "somebody bids more: what is on it is lost then"


@dataclass(frozen=True, slots=True)
class Choice:
    """What the deploy dialog was confirmed with."""

    hours: int
    auto_failover: bool
    tools: bool


class DeployDialog(Question[Choice | None]):
    """Names model, machines, hours and price; rents only when confirmed."""

    AUTO_FOCUS = "#cancel"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "deploy", "Deploy", id="deploy.yes", tooltip="Rent it, and deploy"),
        Binding("escape,n", "dismiss(None)", "Cancel", id="deploy.no", tooltip="Rent nothing"),
        Binding("plus,equals_sign", "hours(1)", "One hour more", id="deploy.more",
                tooltip="Reserve one hour more, twelve at most"),
        Binding("minus", "hours(-1)", "One hour less", id="deploy.less",
                tooltip="Reserve one hour less"),
        Binding("left", "app.focus_previous", "Previous", show=False, id="deploy.previous",
                tooltip="Previous button"),
        Binding("right", "app.focus_next", "Next", show=False, id="deploy.next",
                tooltip="Next button"),
    ]  # fmt: skip

    def __init__(
        self,
        offers: Sequence[RankedOffer],
        model: str,
        load: str,
        hours: int,
        *,
        pinned: bool,
        attempts: int,
        engine: str,
        capabilities: Capabilities,
        tools: bool,
        max_spend: float | None = None,
        ends_after: str = "",
        open_ended: bool = False,
    ) -> None:
        """`offers`: the machines to try, in this order; several are those that were marked.
        pinned: no other than these. load: what the model is to serve and needs, in words.
        engine: what serves it, as people know it. capabilities: what the model can be asked for.
        tools: they are wanted, unless the user says otherwise. max_spend: dollars that it may cost
        in all. ends_after: when a guard ends the machine, in a few words. open_ended: a machine of
        them is billed until it is released, however many hours were asked for."""
        super().__init__()
        self._offers, self._model, self._load = offers, model, load
        self._hours, self._pinned, self._attempts = hours, pinned, attempts
        self._engine, self._max_spend, self._ends_after = engine, max_spend, ends_after
        self._open_ended = open_ended
        self._capabilities, self._tools = capabilities, tools
        self._balances: Mapping[str, Balance] = {}

    def compose(self) -> ComposeResult:
        several = len(self._offers) > 1
        title = f"one of these {len(self._offers)} machines" if several else "this machine"
        words = ""
        if several:
            words = "If one fails, try the next one without asking"
        elif not self._pinned and self._attempts > 1:
            words = (
                f"If it fails, try the next offer automatically (up to {self._attempts} machines)"
            )
        with Vertical(classes="dialog -several" if several else "dialog"):
            yield Title(Text(f"Deploy this model on {title}?", "bold"), classes="dialog-title")
            with Scroll(classes="dialog-body", can_focus=len(self._offers) > 8):
                yield Static(fields_table(self._fields()))
            with Horizontal(classes="dialog-row"):
                yield Static("Hours", id="hours-name")
                yield Static(id="hours-said")
            if self._whole() is not None:
                yield Static(id="session-said")
            yield Static(id="balance-said")
            if words:
                yield CheckBox(words, True, id="failover", compact=True)
            else:
                yield Static("Only this machine: a failure waits for you")
            if self._capabilities.tools:
                by = plain(self._capabilities.tool_parser, 40)
                words = "Parse the model's tool calls" + (f" ({by})" if by else "")
                yield CheckBox(words, self._tools, id="tools", compact=True)
            with Horizontal(classes="dialog-buttons"):
                yield Button("Deploy (y)", id="deploy", variant="primary")
                yield Button("Cancel (Esc)", id="cancel")

    def _fields(self) -> Fields:
        model = [("Model", Text(plain(self._model, 120), "bold")), ("", Text(self._load))]
        if len(self._offers) > 1:
            lines = [Text(line, "bold") for line in _in_short(self._offers)]
            machines = list(zip(("Machines", *[""] * len(lines)), lines, strict=False))
            return [*model, *machines]
        ranked = self._offers[0]
        offer = ranked.offer
        place = plain(offer.location, 40) or "location not stated"
        machine = gpus(offer)
        if offer.gpu_count:
            each = " each" if offer.gpu_count > 1 else ""
            machine += f", {offer.nominal_vram_gb} GB VRAM{each}"
        return [
            *model,
            ("Machine", Text.assemble((machine, "bold"), f": {fit(ranked)}")),
            ("From", f"{plain(offer.provider, 40)}, {place}"),
            *((("Until", Text(_UNTIL, "yellow")),) if offer.interruptible else ()),
            ("Offer", plain(offer.id, 80)),
            ("Then", self._then(ranked)),
        ]

    def _then(self, ranked: RankedOffer) -> str:
        whole = ranked.session()
        image = whole.image if whole is not None else None
        begin = f"install {self._engine}" if image is None else f"start {plain(image.name, 60)}"
        return f"{begin}, load the model, verify it, measure it, keep it serving"

    def on_mount(self) -> None:
        self._say_hours()
        self.query_one("#balance-said").display = False
        self._ask_balances()

    @work(exclusive=True, group="balances")
    async def _ask_balances(self) -> None:
        """Told when it is known: nobody waits for it."""
        try:
            self._balances = await context_of(self).orchestrator.spending.balances()
        except GdlError:
            return
        self._say_balances()

    def _say_balances(self) -> None:
        lines = []
        for name in sorted({ranked.offer.backend for ranked in self._offers}):
            if (balance := self._balances.get(name)) is not None:
                most = max(r.offer.price_per_hour for r in self._offers if r.offer.backend == name)
                lines.append(balance_line(name, balance, most, self._hours))
        said = self.query_one("#balance-said", Static)
        said.display = bool(lines)
        said.update(Text("\n").join(Text(line, "bold" if short else "") for line, short in lines))

    def action_hours(self, by: int) -> None:
        self._hours = min(max(self._hours + by, 1), MAX_HOURS)
        self._say_hours()
        self._say_balances()

    def _say_hours(self) -> None:
        prices = [ranked.offer.price_per_hour for ranked in self._offers]
        per_hour = max(prices)
        text = Text()
        text.append(f"{self._hours} h", "bold")
        whole = self._whole()
        if per_hour <= 0:
            text.append(", free")
        else:
            text.append(f" at {'most ' if min(prices) < per_hour else ''}{hourly(per_hour)}")
            if whole is None:
                text.append(" = ").append(f"{dollars(per_hour * self._hours)}", "bold")
            if self._max_spend is not None:
                text.append(f", at most {dollars(self._max_spend)}", "bold")
        if self._ends_after:
            text.append(f"; ends after {self._ends_after}")
        elif self._open_ended and self._max_spend is None:
            text.append("; billed until released", "bold")
        text.append("   + and - change the hours", "dim")
        self.query_one("#hours-said", Static).update(text)
        if whole is not None:
            said = Text("At most about " if len(self._offers) > 1 else "About ")
            said.append(dollars(whole.total), "bold")
            said.append(f": {parts(whole)}\n{times(whole)}")
            self.query_one("#session-said", Static).update(said)

    def _whole(self) -> SessionPrice | None:
        """The session's price, of the dearest of these machines, as in the row of each; None where
        nothing is to be paid."""
        each = (ranked.session(self._hours) for ranked in self._offers)
        told = [price for price in each if price is not None and price.total > 0]
        return max(told, key=lambda price: price.total, default=None)

    def action_deploy(self) -> None:
        ticked = {box.id: box.value for box in self.query(CheckBox)}
        auto, tools = ticked.get("failover", False), ticked.get("tools", self._tools)
        self.dismiss(Choice(self._hours, auto, tools))

    def on_button_pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "deploy":
            self.action_deploy()
        else:
            self.dismiss(None)


def _in_short(offers: Sequence[RankedOffer]) -> list[str]:
    """A line for each, the same things below each other."""
    parts = [
        (
            hourly(ranked.offer.price_per_hour),
            f"{gpus(ranked.offer)}, {fit(ranked)}",
            plain(ranked.offer.provider, 20),
            plain(ranked.offer.id, 30),
        )
        for ranked in offers
    ]
    widths = [max(map(cell_len, column)) for column in zip(*parts, strict=True)]
    return ["  ".join(map(set_cell_size, told, widths)).rstrip() for told in parts]
