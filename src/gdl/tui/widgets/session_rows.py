"""Sessions and past deployments as rows of tables, and as the list of their details."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from datetime import datetime

from rich.text import Text

from gdl.domain.clock import day_and_time
from gdl.domain.host import HostFacts
from gdl.domain.money import dollars, hourly, price
from gdl.domain.readings import Traffic
from gdl.domain.session import SessionStatus
from gdl.orchestrator.api.views import PastDeployment, SessionRow
from gdl.presentation.durations import hours_left
from gdl.presentation.hardware import gigabytes, gpu_name
from gdl.presentation.lines import plain
from gdl.presentation.money import in_cell
from gdl.presentation.session_end import UNTIL_TERM
from gdl.tui.widgets.fields import Fields
from gdl.tui.widgets.keyed_table import Column, Row

COLUMNS = (
    Column("whose", "Whose", 11),
    Column("status", "Status", 14),
    Column("model", "Model", 12, wish=28),
    Column("gpu", "GPU", 10, wish=20),
    Column("price", "$/h", 7, right=True),
    Column("cost", "Cost", 7, right=True),
    Column("ends", "Ends in", 7, right=True),
    Column("provider", "Provider", 12, needed=100),
    Column("id", "Session", 18, needed=100, wish=40),
)
HISTORY = (
    Column("when", "Started", 12),
    Column("outcome", "Outcome", 13),
    Column("model", "Model", 18, wish=28),
    Column("cost", "Cost", 7, right=True),
    Column("billing", "Billing", 9),
    Column("session", "Session", 12, wish=40),
    Column("id", "Deployment", 22, needed=110),
)
_STATUS_MARKS = {
    SessionStatus.RUNNING: "▶",
    SessionStatus.PENDING: "…",
    SessionStatus.PROVISIONING: "…",
    SessionStatus.STOPPING: "…",
    SessionStatus.STOPPED: "–",
    SessionStatus.FAILED: "✗",
    SessionStatus.UNKNOWN: "?",
}
_OUTCOME_MARKS = {"released": "✓", "serving": "▶", "running": "▶", "failed": "✗", "cancelled": "–"}


def session(row: SessionRow, cost: float, now: datetime, *, marked: bool) -> Row:
    """`cost`: dollars up to now."""
    found = row.session
    over = found.terminal and not row.doubt and not row.idle
    style = "bold red" if row.doubt else "dim" if over else "" if row.ours else "bold red"
    ends = "-"
    if row.ends_at is not None and not found.terminal:
        ends = hours_left(row.ends_at, now)
    name = gpu_name(found.gpu_name) or "-"
    # The key of a machine that was released is no longer kept.
    whose = "✓ ours" if row.ours else "  -" if over else "! unknown"
    cells = {
        "whose": f"{'●' if marked else ' '}{whose}",
        "status": f"{'!' if row.doubt or row.idle else _STATUS_MARKS[found.status]} {row.status}",
        "model": plain(row.model or "-", 60),
        "gpu": f"{found.gpu_count}x {name}" if found.gpu_count > 1 else name,
        "price": price(row.price_per_hour),
        "cost": in_cell(cost),
        "ends": ends,
        "provider": plain(found.provider, 40),
        "id": plain(found.id, 60),
    }
    return Row(cells, f"bold {style}".strip() if marked else style)


def nothing_rented(away: Collection[str]) -> str:
    """away: names of markets of which nobody knows it."""
    if not away:
        return "Nothing is rented. 1 shows the offers."
    unheard = ", ".join(plain(name, 20) for name in away)
    return f"Nothing is rented as far as is known; {unheard} did not tell. 1 shows the offers."


def in_short(row: SessionRow, cost: float) -> str:
    """One line: machine, price, cost, and whose it is."""
    found = row.session
    what = plain(row.model or ("" if row.ours else "unknown"), 24)
    gpu = gpu_name(found.gpu_name) or "no GPU"
    return (
        f"{gpu} from {plain(found.provider, 20)}, {hourly(row.price_per_hour)}, "
        f"{dollars(cost)} so far{f' ({what})' if what else ''}"
    )


def machine_fields(
    row: SessionRow,
    shell: Sequence[str],
    facts: HostFacts | None,
    traffic: Traffic | None = None,
) -> Fields:
    """How the machine is entered, and what was found on it. shell: the words of a command that
    enters it, none where it cannot be entered. facts: of its preflight, where that was here.
    traffic: where it serves for a deployment of this process."""
    ssh = row.session.ssh
    fields: list[tuple[str, Text | str]] = []
    if ssh is not None and not row.ended:
        host = f"{plain(ssh.host, 80)}, port {ssh.port}, as {plain(ssh.user, 40)}"
        fields.append(("Host", host))
    if shell:
        fields.append(("SSH", plain(shlex.join(shell), 400)))
    if facts is not None:
        if driver := plain(facts.driver or "", 20):
            fields.append(("Driver", f"{driver}, CUDA {plain(facts.cuda or '-', 20)}"))
        fields.append(("Disk", f"{facts.disk_free_gib:.0f} GiB free at the inspection"))
    if traffic is not None:
        received, sent = (gigabytes(each / 1e9) for each in (traffic.received, traffic.sent))
        fields.append(("Traffic", f"{received} received, {sent} sent since the machine started"))
    return fields


def session_fields(row: SessionRow, cost: float, now: datetime) -> Fields:
    found = row.session
    per_hour = hourly(row.price_per_hour)
    ends = "not said"
    if row.ends_at:
        ends = f"{hours_left(row.ends_at, now)}, at {day_and_time(row.ends_at)}"
        if row.ends_with_term:
            ends += f": {UNTIL_TERM}"
    gpu = gpu_name(found.gpu_name) or "no GPU"
    return [
        ("Session", plain(found.id, 100)),
        ("Whose", _whose(row)),
        ("Model", plain(row.model or "not known", 100)),
        ("Machine", f"{gpu} from {plain(found.provider, 40)}"),
        ("Price", Text(f"{per_hour}, {dollars(cost)} so far", "bold")),
        ("Status", f"{row.status}, billing: {plain(row.billing, 20)}"),
        *([("In doubt", plain(row.doubt, 300))] if row.doubt else []),
        ("Ends in", ends),
        *([("Guard", plain(row.guard, 200))] if row.guard else []),
        *([("Endpoint", plain(row.endpoint, 100))] if row.endpoint else []),
        *([("Public", public_at(row.public))] if row.public is not None else []),
        *([("Error", plain(found.error, 300))] if found.error else []),
    ]


def public_at(url: str) -> str:
    """Its address on the internet, as last seen."""
    return plain(url, 100) or "yes, at an address not known yet"


def _whose(row: SessionRow) -> str:
    if row.ours:
        return "ours"
    return "not shown: it has ended" if row.ended else "unknown: its key is not here"


def past_deployment(told: PastDeployment) -> Row:
    doubt = told.billing == "unknown"
    mark = _OUTCOME_MARKS.get(told.outcome, "?")
    cells = {
        "when": f"{told.started_at.astimezone():%d %b %H:%M}",
        "outcome": f"{mark} {plain(told.outcome, 12)}",
        "model": plain(told.model, 60),
        "cost": in_cell(told.cost),
        "billing": f"{'! ' if doubt else ''}{plain(told.billing, 10)}",
        "session": plain(told.session_id or "-", 60),
        "id": plain(told.deployment_id, 40),
    }
    return Row(cells, "bold red" if doubt else "")


def past_fields(told: PastDeployment) -> Fields:
    return [
        ("Deployment", plain(told.deployment_id, 100)),
        ("Model", plain(told.model, 100)),
        ("Machines", f"from {plain(told.backend, 40)}"),
        ("Started", f"{told.started_at.astimezone():%Y-%m-%d %H:%M %Z}"),
        ("Outcome", Text(plain(told.outcome, 40), "bold")),
        ("Session", plain(told.session_id or "none", 100)),
        ("Cost", Text(dollars(told.cost), "bold")),
        ("Billing", plain(told.billing, 40)),
        ("More", f"gdl-tui bundle {plain(told.deployment_id, 60)}"),
    ]


def spent(past: Sequence[PastDeployment]) -> str:
    """ "12, newest first · $3.40 together"."""
    total = sum(told.cost for told in past)
    return f"{len(past):,}, newest first · {dollars(total)} together"
