"""The ledger: what is written when, and what it comes to."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployment_support import last, told
from failover_support import Flags, quick_orchestrator
from gdl.backends.sandbox.backend import SandboxBackend
from gdl.cli.app import run
from gdl.domain.ledger import LedgerEntry, LedgerKind, accounts
from gdl.domain.session_charges import SessionCharges
from gdl.domain.spec import DeploymentSpec
from gdl.journal import ledger, session_charges
from gdl.journal.store import Journal
from gdl.orchestrator.leasing.session_costs import of_backends
from gdl.settings import load

START = datetime(2026, 5, 6, 7, 0, tzinfo=UTC)


def entry(
    minute: int,
    kind: LedgerKind,
    session: str | None = None,
    intent: str = "i-1",
    backend: str = "shopper",
) -> LedgerEntry:
    at = START + timedelta(minutes=minute)
    return LedgerEntry(at, kind, backend, "d-1", 1, intent, session, "vastai", "o-1", 0.6, "seen")


async def test_each_session_is_told_with_what_it_cost_and_what_was_charged(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "journal.sqlite")
    steps = ("requested", "rented", "release_requested", "released")
    for minute, kind in enumerate(steps):
        await ledger.add(journal, entry(minute, LedgerKind(kind), "s-1"))
    for minute, kind in enumerate(("requested", "not_rented")):
        await ledger.add(journal, entry(10 + minute, LedgerKind(kind), intent="i-2"))
    await ledger.add(journal, entry(20, LedgerKind.RENTED, "s-3", intent="i-3"))
    await ledger.add(journal, entry(21, LedgerKind.RENTED, "s-4", intent="i-4", backend="vastai"))
    ended = START + timedelta(minutes=3)
    row = SessionCharges("shopper", "s-1", "vastai", "", START, ended, 0.02, 0.0, 0.05, 0.0)
    await session_charges.remember(journal, row)
    told = await of_backends(journal, ["shopper"], START + timedelta(minutes=50))
    await journal.aclose()
    # What led to no machine cost nothing; another backend's are not asked for.
    assert [(one.session_id, one.cost, one.charged) for one in told] == [
        ("s-1", 0.02, 0.05),
        ("s-3", 0.3, None),
    ]
    assert (told[0].until, told[1].until) == (ended, None)


@pytest.mark.parametrize(
    ("kinds", "state", "cost"),
    [
        ("requested", "requested", None),
        ("requested not_rented", "not_rented", 0.0),
        ("requested rent_uncertain", "rent_uncertain", None),
        ("requested rented", "rented", 0.59),
        ("requested rented extended", "rented", 0.59),
        ("requested rented release_requested", "release_requested", 0.59),
        ("requested rented release_requested released", "released", 0.02),
        ("requested rented release_requested release_uncertain", "release_uncertain", 0.59),
        ("requested not_rented requested rented", "rented", 0.57),
    ],
)
def test_what_the_entries_of_one_request_come_to(
    kinds: str, state: str, cost: float | None
) -> None:
    named = ("rented", "extended", "release_requested", "released", "release_uncertain")
    told = [
        entry(minute, LedgerKind(kind), "s-1" if kind in named else None)
        for minute, kind in enumerate(kinds.split())
    ]
    (account,) = accounts(told, START + timedelta(minutes=60))
    assert (account.state, account.cost) == (state, cost)
    certain = state in ("not_rented", "rented", "released")
    assert account.certain is certain


def test_what_was_fetched_costs_once_and_says_nothing_of_how_a_machine_stands() -> None:
    def fetching(minute: int) -> LedgerEntry:
        return replace(entry(minute, LedgerKind.TRAFFIC, "s-1"), traffic=0.25)

    rented = [entry(0, LedgerKind.REQUESTED), entry(0, LedgerKind.RENTED, "s-1"), fetching(5)]
    (account,) = accounts(rented, START + timedelta(minutes=60))
    assert (account.state, account.cost) == ("rented", 0.85)
    repaired = [*rented, fetching(10), entry(30, LedgerKind.RELEASED, "s-1")]
    (account,) = accounts(repaired, START + timedelta(minutes=60))
    assert (account.state, account.cost) == ("released", 0.55)


async def test_a_deployment_tells_each_rent_before_it_is_asked_for(tmp_path: Path) -> None:
    flags: Flags = {
        "backend": "sandbox",
        "sandbox": {"scenario": "stale", "speed": 100.0},
        "timeouts": {"http": 20, "rent": 20, "session": 60, "release": 60},
    }
    backend = SandboxBackend(load(data_dir=tmp_path, **flags), "tester")
    async with quick_orchestrator(tmp_path, on=backend, **flags) as orchestrator:
        spec = DeploymentSpec("tinyllama", "sandbox", bench=False, after="destroy")
        assert (
            last(await told(orchestrator, await orchestrator.deployments.deploy(spec))).kind == ""
        )
        kinds = [one.kind.value for one in await ledger.entries(orchestrator._journal)]
    gone, served = kinds[: kinds.index("rented") - 1], kinds[kinds.index("rented") - 1 :]
    assert set(gone) == {"requested", "not_rented"}
    assert served[:2] == ["requested", "rented"]


async def _written(folder: Path, *entries: LedgerEntry) -> None:
    journal = await Journal.open(folder / "journal.sqlite")
    for one in entries:
        await ledger.add(journal, one)
    await journal.aclose()


@pytest.fixture
def journaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setenv("GDL_DATA_DIR", str(tmp_path))
    # No backend is needed to read it.
    monkeypatch.setenv("GDL_BACKEND", "ssh")
    rows = (
        entry(0, LedgerKind.REQUESTED),
        entry(1, LedgerKind.RENTED, "s-first"),
        entry(30, LedgerKind.RELEASE_REQUESTED, "s-first"),
        entry(31, LedgerKind.RELEASED, "s-first"),
        entry(40, LedgerKind.REQUESTED, intent="i-2"),
        entry(41, LedgerKind.RENT_UNCERTAIN, intent="i-2"),
    )
    asyncio.run(_written(tmp_path, *rows))


@pytest.mark.usefixtures("journaled")
def test_the_command_prints_entries_costs_and_doubts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ledger"]) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert len(lines) == 8
    assert "release requested" in lines[3] and "$0.30" in lines[4] and "unknown" in lines[6]
    assert lines[-1] == "$0.30 in all, by our own clock"
    assert "in doubt: what d-1 asked for may be billing" in told.err


@pytest.mark.usefixtures("journaled")
def test_json_is_an_entry_a_line_and_a_total(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ledger", "s-fi", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["type"] for row in rows] == ["entry"] * 4 + ["total"]
    assert [row.get("kind") for row in rows[:2]] == ["requested", "rented"]
    assert rows[1]["session_id"] == "s-first" and rows[1]["cost"] == pytest.approx(0.3)
    assert rows[-1] == {"type": "total", "cost": 0.3, "simulated_cost": 0.0, "in_doubt": []}
    assert run(["ledger", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["in_doubt"] == ["i-2"]
    assert run(["ledger", "nobody"]) == 2


def test_simulated_machines_are_no_part_of_what_was_spent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import asyncio

    monkeypatch.setenv("GDL_DATA_DIR", str(tmp_path))
    rows = (
        entry(0, LedgerKind.RENTED, "s-1", backend="sandbox"),
        entry(60, LedgerKind.RELEASED, "s-1", backend="sandbox"),
    )
    asyncio.run(_written(tmp_path, *rows))
    assert run(["ledger"]) == 0
    last_line = capsys.readouterr().out.splitlines()[-1]
    assert last_line.startswith("$0.00 in all") and last_line.endswith("$0.60")
