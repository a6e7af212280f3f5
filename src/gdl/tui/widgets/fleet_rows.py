"""Fleets and their replicas as rows of a table, as headings, and in questions."""

from __future__ import annotations

from datetime import datetime

from rich.text import Text

from gdl.domain.fleet_view import FleetView, ReplicaView
from gdl.domain.money import dollars, hourly, price
from gdl.presentation.durations import since
from gdl.presentation.fleets import state_of, summary
from gdl.presentation.hardware import gpus
from gdl.presentation.lines import plain
from gdl.presentation.money import in_cell
from gdl.presentation.words import plural
from gdl.tui.widgets.fields import Fields
from gdl.tui.widgets.keyed_table import Column, Row

COLUMNS = (
    Column("state", "State", 12),
    Column("machine", "Machine", 12, wish=20, most=46),
    Column("load", "Load", 6, right=True),
    Column("speed", "Tok/s", 6, right=True),
    Column("price", "$/h", 7, right=True),
    Column("cost", "Cost", 7, right=True),
    Column("since", "Age", 7, right=True),
    Column("provider", "Provider", 12, needed=100, most=28),
    Column("id", "Deployment", 22, needed=110),
)


def replica(row: ReplicaView, now: datetime) -> Row:
    health = row.health
    load = speed = "-"
    if health is not None and health.running is not None:
        waits = f"+{health.waiting:.0f}" if health.waiting else ""
        load = f"{health.running:.0f}{waits}"
    if health is not None and health.tokens_per_s is not None:
        speed = f"{health.tokens_per_s:.0f}"
    state = state_of(row)
    mark = {"serving": "▶", "taken out": "!", "leaving": "–"}.get(state, "…")
    style = {"taken out": "bold red", "leaving": "dim"}.get(state, "")
    cells = {
        "state": f"{mark} {state}",
        "machine": gpus(row) if row.session_id else "-",
        "load": load,
        "speed": speed,
        "price": price(row.price_per_hour) if row.price_per_hour else "-",
        "cost": in_cell(row.cost),
        "since": since((now - row.since).total_seconds()),
        "provider": plain(row.provider or row.backend or "-", 40),
        "id": plain(row.id, 60),
    }
    return Row(cells, style)


def heading(view: FleetView, place: int, many: int) -> Text:
    """Whose screen it is; of several the place, from 1 up."""
    which = f" · {place} of {many}, f shows the next" if many > 1 else ""
    title = f"Fleet of {plain(view.model, 60)}"
    return Text.assemble((title, "bold"), which, no_wrap=True, overflow="ellipsis")


def told(view: FleetView) -> Text:
    """Money and speed of all replicas together, the address, and what stands against it."""
    text = Text.assemble((f"{summary(view)}\n", "bold"))
    where = plain(view.endpoint, 100) or "no address yet"
    if view.context:
        where += f", at most {view.context:,} tokens per request"
    text.append(f"{where}{'' if view.routed or not view.endpoint else ', whose router is down'}\n")
    if view.short:
        text.append(f"! short: {plain(view.short, 200)}\n", "bold yellow")
    for out in (r for r in view.replicas if r.why_out and state_of(r) == "taken out"):
        text.append(f"! {plain(out.id, 40)} gets no requests: {plain(out.why_out, 120)}\n", "red")
    for doubt in view.doubts:
        text.append(f"! {plain(doubt, 60)} may still be billing\n", "bold red")
    if view.resumable:
        text.append("! no gdl-tui runs it: c to continue it\n", "bold yellow")
    elif not view.here and view.runs:
        untold = any(state_of(r) == "serving" and r.health is None for r in view.replicas)
        silent = ", and not every replica tells its load here" if untold else ""
        text.append(f"It runs in another gdl-tui{silent}.\n", "dim")
    text.rstrip()
    return text


def fields(view: FleetView) -> Fields:
    """Each replica, then all together: before they are released."""
    each = [(plain(row.id, 22), _in_short(row)) for row in view.replicas]
    together = f"{hourly(view.price_per_hour)}, {dollars(view.cost)} so far"
    return [*each, ("Together", Text(together, "bold"))]


def growth(view: FleetView, replicas: int) -> Fields:
    """What another number of replicas means."""
    prices = [row.price_per_hour for row in view.replicas if row.price_per_hour > 0]
    now = f"{plural(view.wanted, 'replica')} wished, {view.serving} serve"
    changed = [
        ("Now", f"{now}, {hourly(view.price_per_hour)}"),
        ("Then", plural(replicas, "replica")),
    ]
    if replicas > view.wanted and prices:
        about = hourly(sum(prices) / len(prices))
        changed.append(("One more", f"about {about}, like the others"))
    return [*changed]


def _in_short(row: ReplicaView) -> str:
    machine = gpus(row) if row.session_id else "no machine yet"
    return f"{state_of(row)}, {machine}, {hourly(row.price_per_hour)}, {dollars(row.cost)} so far"
