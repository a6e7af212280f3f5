"""The journal survives, keeps what was asked for, and never holds a secret."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sqlite3
import stat
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleet_samples import FLEET_SAMPLES
from gdl import settings
from gdl.domain import events as ev
from gdl.domain.benchmark import BenchReport, Percentiles, QualityAnswer
from gdl.domain.engine import Capabilities
from gdl.domain.errors import GdlError
from gdl.domain.events import EVENT_TYPES, Recorded
from gdl.domain.health import Check, CheckStatus, Condition
from gdl.domain.host import Gpu, HostFacts
from gdl.domain.launch import Launch
from gdl.domain.ledger import LedgerKind
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing, Phase
from gdl.domain.remedies import Remedy, RemedyKind
from gdl.domain.rental import Rental
from gdl.domain.secret import Secret
from gdl.domain.serialization import to_plain
from gdl.domain.server_memory import MemoryComparison
from gdl.domain.session_price import Charged, SessionPrice
from gdl.domain.spec import DeploymentSpec
from gdl.domain.summary import AttemptSummary
from gdl.journal import benchmarks, history, ledger
from gdl.journal.consumer_id import consumer_id_of
from gdl.journal.store import DeploymentRow, Journal
from gdl.keyring.key_files import read_key, write_key
from gdl.orchestrator.leasing import process_liveness

FLAG = Remedy(RemedyKind.FLAG, "--x", "1", True)
NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
DATA = Path(__file__).parent / "data"
REPORT = BenchReport(
    "m", 8, 0, 1.5, 10, 20, 5.3, 13.3, Percentiles(1, 2, 3, 4), quality_total=5, errors=("x",)
)
MEMORY = MemoryComparison("h/m", "vLLM", "0.32.0", "RTX 3090", 1, 4096, 8192, 208.0, 2.1, 18.0, 9)
SAMPLES: list[ev.Event] = [
    *FLEET_SAMPLES,
    ev.DeploymentPlanned(
        DeploymentSpec("tinyllama", "shopper", OfferQuery(exclude_providers=("a", "b"))), "h/m", "m"
    ),
    ev.SpecChanged(1, DeploymentSpec("tinyllama", "shopper", OfferQuery(), hours=2)),
    ev.OffersRanked(3, 2, ("2 x stale",)),
    ev.AttemptStarted(1, "o", "vastai", "RTX 3090", 1, 24.0, 0.1, "Texas"),
    ev.AttemptStarted(
        1,
        "o",
        "vastai",
        "RTX 3090",
        1,
        24.0,
        0.1,
        "Texas",
        "m",
        "h",
        SessionPrice(
            0.21,
            0.004,
            0.62,
            1.1,
            0.1,
            70,
            0.0002,
            31.0,
            0.02,
            800.0,
            True,
            Charged(1.1, 1.0, "host", 2),
        ),
        "vastai",
    ),
    ev.PhaseChanged(1, Phase.LOADING, "d"),
    ev.BillingChanged(1, Billing.ACTIVE, "s", "d"),
    ev.SessionRented(1, "s", "vastai", 0.1, NOW, NOW),
    ev.SessionExtended(1, "s", NOW),
    ev.Progressed(1, "half", 0.5),
    ev.HostInspected(1, HostFacts("Linux", "x86_64", 2, 4.0, 9.0, ("3.11",), (Gpu("A", 1),))),
    ev.StepStarted(1, "uv", "Bring uv", 1, 5),
    ev.StepFinished(1, "uv", "done", 0.3),
    ev.LogLines(1, "engine", ("a", "b"), 12, 3),
    ev.ServerPlanned(
        1,
        Capabilities(tools=True, tool_parser="hermes"),
        ("omitted --x",),
        Launch(
            "vllm",
            "0.33.0",
            ("python3", "-m", "vllm"),
            "org/model",
            "--model",
            ("--dtype", "half"),
            environment=(("A", "b"),),
            secrets=("VLLM_API_KEY",),
            key="VLLM_API_KEY",
            install=("uv pip install vllm",),
        ),
    ),
    ev.MemoryCompared(1, MEMORY),
    ev.TunnelOpened(1, "http://127.0.0.1:1/v1", "forward"),
    ev.HealthChanged(1, Condition.DEGRADED, "no full answer within 1.4 s"),
    ev.Checked(1, Check("health", CheckStatus.PASSED, "200", 1.5)),
    ev.QualityAnswered(1, QualityAnswer("k", "Q", "A", ("Paris",), True, 1.0, 2.0, 3)),
    ev.BenchProgressed(1, 1, 8, 10.0),
    ev.BenchFinished(1, REPORT),
    ev.Diagnosed(1, "cause", "remedy", ("line",), "rule"),
    ev.AttemptFailed(1, Phase.LOADING, "deploy", "m", "h"),
    ev.ExclusionSet(1, "provider", "vastai", "SSH error", NOW, True),
    ev.ExclusionLifted(1, "provider", "vastai"),
    ev.Diagnosed(1, "cause", "remedy", (), "rule", FLAG),
    ev.RemedyApplied(1, "rule", FLAG, "start again with --x 1", "auto"),
    ev.ChoiceAwaited(1),
    ev.ChoiceAwaited(1, FLAG),
    ev.ChoiceMade(1, "next"),
    ev.AutoFailoverSet(False),
    ev.Noted("info", "text"),
    ev.StopAnnounced(1, NOW, "the limit is near"),
    ev.PriceRaised(1, "s", 0.1, 0.2, NOW),
    ev.BalanceLow("vastai", 0.4, 1800.0),
    ev.SessionCharged(1, "s", 0.83, 0.79),
    ev.DeploymentFinished(
        "failed",
        None,
        "m",
        "s",
        Billing.RELEASED,
        (AttemptSummary(1, "o", "p", "g", 1, 0.1, "s", "LOADING", "failed", "r", 1.0, 0.1),),
        REPORT,
        "e",
        "h",
        "deploy",
    ),
]


def rental(**more: object) -> Rental:
    values: dict[str, object] = {
        "intent_id": "i1",
        "deployment_id": "d1",
        "attempt": 1,
        "backend": "shopper",
        "provider": "vastai",
        "offer_id": "vastai-1",
        "consumer_id": "c",
        "price": 0.1,
        "requested_at": NOW,
        "billing": Billing.REQUESTED,
    }
    return Rental(**{**values, **more})  # type: ignore[arg-type]


async def test_every_kind_of_event_comes_back_as_it_was(tmp_path: Path) -> None:
    assert {type(e) for e in SAMPLES} == set(EVENT_TYPES.values())
    journal = await Journal.open(tmp_path / "j.sqlite")
    recorded = [Recorded("d1", n, NOW, event) for n, event in enumerate(SAMPLES, 1)]
    for each in recorded:
        await journal.append(each)
    await journal.aclose()
    again = await Journal.open(tmp_path / "j.sqlite")
    assert await again.events("d1") == recorded
    await again.aclose()


async def test_an_intent_is_there_for_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "j.sqlite"
    first, second = await Journal.open(path), await Journal.open(path)
    await first.save(rental())
    assert [r.open for r in await second.rentals()] == [True]
    await first.save(rental(session_id="s1", billing=Billing.RELEASED, released_at=NOW))
    kept = (await second.rentals())[0]
    assert kept.session_id == "s1" and not kept.open and kept.released_at == NOW
    await first.aclose()
    await second.aclose()


async def test_a_machine_that_costs_nothing_is_open_until_it_is_given_back() -> None:
    free = rental(billing=Billing.NONE)
    assert not free.open
    held = replace(free, session_id="local-1")
    assert held.open and not replace(held, released_at=NOW).open


async def test_the_ledger_keeps_what_happened_in_its_order(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "journal.sqlite")
    asked = rental(session_id=None, billing=Billing.REQUESTED)
    got = rental(session_id="s-1", billing=Billing.ACTIVE)
    told = [
        ledger.entry(asked, LedgerKind.REQUESTED, NOW, "asked for offer o-1"),
        ledger.entry(got, LedgerKind.RENTED, NOW, "HTTP 201", service_at=NOW),
    ]
    for one in told:
        await ledger.add(journal, one)
    await journal.aclose()
    journal = await Journal.open(tmp_path / "journal.sqlite")
    assert await ledger.entries(journal) == told
    await journal.aclose()


async def test_deployments_are_listed_newest_first(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "j.sqlite")
    for day in (1, 3, 2):
        at = NOW.replace(day=day)
        await journal.add_deployment(DeploymentRow(f"d{day}", at, "m", "local", "", 42))
    await journal.set_outcome("d3", "released", 0)
    rows = await journal.deployments()
    assert [r.id for r in rows] == ["d3", "d2", "d1"] and rows[0].outcome == "released"
    await journal.aclose()


async def test_only_its_owner_may_read_the_journal(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "j.sqlite")
    assert stat.S_IMODE(os.stat(tmp_path / "j.sqlite").st_mode) == 0o600
    await journal.aclose()


async def test_a_file_that_is_no_journal_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "j.sqlite").write_text("this is not a database, it is a text " * 40)
    with pytest.raises(GdlError, match="cannot open the journal") as caught:
        await Journal.open(tmp_path / "j.sqlite")
    assert "move journal.sqlite" in caught.value.hint and "sessions" in caught.value.hint


def test_a_key_file_is_private_complete_and_never_overwritten(tmp_path: Path) -> None:
    path = write_key(tmp_path / "keys" / "k.pem", Secret("-----BEGIN KEY-----"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_key(path).reveal() == "-----BEGIN KEY-----"
    with pytest.raises(GdlError, match="cannot write the key file"):
        write_key(path, Secret("other"))
    assert read_key(path).reveal() == "-----BEGIN KEY-----"


def test_a_secret_does_not_show() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]} {vars(secret) if 0 else ''}"


def test_half_a_key_does_not_stay_when_the_disk_is_full(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on the size of files stands for the full disk; the kernel refuses the write.
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(GdlError) as caught:
            write_key(tmp_path / "a.pem", Secret("-----BEGIN PRIVATE KEY-----\nabc"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot write the key file" in caught.value.message
    assert list(tmp_path.iterdir()) == []


async def test_a_journal_of_an_earlier_version_grows_once(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as old, old:
        old.execute(
            "CREATE TABLE deployments (id TEXT PRIMARY KEY, created_at TEXT NOT NULL, model TEXT"
            " NOT NULL, backend TEXT NOT NULL, outcome TEXT NOT NULL DEFAULT '', owner_pid INTEGER"
            " NOT NULL DEFAULT 0)"
        )
        old.execute(
            "INSERT INTO deployments VALUES ('d1', ?, 'm', 'local', '', 1)", (NOW.isoformat(),)
        )
    journals = await asyncio.gather(*(Journal.open(path) for _ in range(4)))
    (row,) = await journals[0].deployments()
    assert (row.id, row.owner_mark) == ("d1", "")
    for journal in journals:
        await journal.aclose()


async def test_simulated_benchmarks_of_an_earlier_version_are_known_by_their_backend(
    tmp_path: Path,
) -> None:
    path = tmp_path / "j.sqlite"
    report = json.dumps(to_plain(BenchReport("m", 8, 0, 1.0, 10, 10, 8.0, 100.0)))
    with contextlib.closing(sqlite3.connect(path)) as old, old:
        old.executescript((DATA / "journal" / "before-engines.sql").read_text("utf-8"))
        old.executemany(
            "INSERT INTO benchmarks (at, deployment_id, session_id, backend, model, gpu, gpu_count,"
            " provider, price, workload, best, report)"
            " VALUES (?, 'd1', 's1', ?, 'm', '', 0, 'p', 0.1, 'own', 0, ?)",
            [(NOW.isoformat(), backend, report) for backend in ("shopper", "sandbox")],
        )
    journal = await Journal.open(path)
    kept = await benchmarks.kept(journal)
    assert {one.backend: one.simulated for one in kept} == {"shopper": False, "sandbox": True}
    # From now on it is kept with the measurement, whatever the backend is called.
    await benchmarks.add(journal, replace(kept[0], backend="other", simulated=True))
    await journal.aclose()
    again = await Journal.open(path)
    assert [o.simulated for o in await benchmarks.kept(again) if o.backend == "other"] == [True]
    await again.aclose()


async def test_a_journal_written_before_engines_were_named_is_one_of_the_first_engine(
    tmp_path: Path,
) -> None:
    path = tmp_path / "j.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as old, old:
        old.executescript((DATA / "journal" / "before-engines.sql").read_text("utf-8"))
    journal = await Journal.open(path)
    (row,) = await journal.deployments()
    assert (row.id, row.model, row.outcome, row.engine) == ("d1", "tinyllama", "serving", "vllm")
    planned, *_, inspected, serving = [r.event for r in await journal.events("d1")]
    assert isinstance(planned, ev.DeploymentPlanned) and planned.spec.engine == "vllm"
    assert planned.spec.engine_args == ("--seed", "1") and planned.needed_vram_gb == 4.5
    assert isinstance(inspected, ev.HostInspected) and inspected.facts.gpus[0].memory_mib == 24576
    assert serving == ev.PhaseChanged(1, Phase.SERVING, "http://127.0.0.1:1/v1")
    (rental,) = await journal.rentals()
    assert rental.engine == "vllm" and rental.open and rental.engine_log == "/tmp/vllm.log"
    # What the new version writes into it names its engine.
    await journal.add_deployment(DeploymentRow("d2", NOW, "m", "local", "", 1, engine="other"))
    await journal.save(replace(rental, intent_id="i-2", engine="other"))
    await journal.aclose()
    again = await Journal.open(path)
    assert {r.id: r.engine for r in await again.deployments()} == {"d1": "vllm", "d2": "other"}
    assert {r.intent_id: r.engine for r in await again.rentals()} == {"i-1": "vllm", "i-2": "other"}
    await again.aclose()


def test_a_process_is_known_by_more_than_its_id() -> None:
    here, long_ago = process_liveness.mark(os.getpid()), NOW.replace(year=2000)
    mine = DeploymentRow("d", long_ago, "m", "local", "", os.getpid(), here)
    # The clock was set after it began: that makes no other process of it.
    assert process_liveness.runs(mine)
    assert not process_liveness.runs(replace(mine, outcome="failed"))
    # The same id, but another process had it: before a restart, or in an earlier container.
    assert not process_liveness.runs(replace(mine, owner_mark="another-boot 17"))
    child = subprocess.Popen(["sleep", "60"])
    try:
        other = replace(mine, owner_pid=child.pid, owner_mark=process_liveness.mark(child.pid))
        assert process_liveness.runs(other)
        # Without a mark the times decide.
        assert not process_liveness.runs(replace(other, owner_mark=""))
        assert process_liveness.runs(replace(other, owner_mark="", created_at=datetime.now(UTC)))
    finally:
        child.kill()
        child.wait()
    assert not process_liveness.runs(other)


def test_the_consumer_id_survives_a_crash_while_it_was_made(tmp_path: Path) -> None:
    (tmp_path / "consumer_id").write_text("")
    made = consumer_id_of(settings.load(data_dir=tmp_path))
    assert made.startswith("gdl-tui-")
    assert consumer_id_of(settings.load(data_dir=tmp_path)) == made
    assert [path.name for path in tmp_path.iterdir()] == ["consumer_id"]


async def test_an_event_that_is_no_json_for_sqlite_stops_no_later_deployment(
    tmp_path: Path,
) -> None:
    """Python writes an infinity as JSON does not know it; older versions let one in."""
    journal = await Journal.open(tmp_path / "j.sqlite")
    planned = next(event for event in SAMPLES if isinstance(event, ev.DeploymentPlanned))
    query = replace(planned.spec.query, max_price=float("inf"))
    endless = replace(planned, spec=replace(planned.spec, query=query))
    await journal.add_deployment(DeploymentRow("d1", NOW, "m", "shopper", "", 1))
    await journal.append(Recorded("d1", 1, NOW, endless))
    assert await history.phase_times(journal, ["shopper"], "d2") == []
    assert await history.attempts(journal, "shopper") == []
    assert await journal.holders("s-1") == []
    await journal.aclose()


async def test_what_was_kept_holds_its_session_until_that_is_ended(tmp_path: Path) -> None:
    """A machine of one's own has the same session each time: whoever kept it, or attached to it,
    holds it no more when it is rented again."""
    journal = await Journal.open(tmp_path / "j.sqlite")
    early, ended, late = NOW, NOW + timedelta(hours=1), NOW + timedelta(hours=2)

    async def served(name: str, at: datetime, outcome: str) -> None:
        await journal.add_deployment(DeploymentRow(name, at, "m", "ssh", outcome, 0))

    async def held() -> set[str]:
        return {row.id for row in await journal.holders("ssh-1")}

    def attached(name: str, at: datetime) -> Recorded:
        return Recorded(name, 1, at, ev.SessionRented(1, "ssh-1", "ssh", 0.0, None))

    await served("kept", early, "serving")
    kept = Rental("i-1", "kept", 1, "ssh", "ssh", "o", "me", 0.0, early, Billing.NONE, "ssh-1")
    await journal.save(kept)
    await served("attached", early, "serving")
    await journal.append(attached("attached", early))
    assert await held() == {"kept", "attached"}
    await journal.save(replace(kept, released_at=ended))
    await served("now", late, "")
    await journal.save(replace(kept, intent_id="i-2", deployment_id="now", requested_at=late))
    assert await held() == {"now"}
    await journal.append(attached("now", late))
    await served("attached to it", late, "serving")
    await journal.append(attached("attached to it", late))
    assert await held() == {"now", "attached to it"}
    await journal.aclose()
