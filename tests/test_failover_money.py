"""Money under adverse conditions: nothing is left rented, nothing of somebody else's is touched.

Every test is one interleaving: lost answers, other processes, a journal that fails, a cancel.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployment_support import GONE_PID, deployed, last, of_type, told, until
from failover_support import Flags, intent, journal_of, owned, quick_orchestrator, spec
from gdl.cli import exit_codes
from gdl.domain import events as ev
from gdl.domain.errors import BackendUnreachable, ReleaseUnconfirmed
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing, Phase
from gdl.domain.secret import Secret
from gdl.journal import ledger
from gdl.keyring.key_files import write_key
from gdl.orchestrator.leasing.release_requests import _Wait
from gdl.simulator.fault_models import Disk, Misreported
from shopper_support import FakeShopper, listing
from waiting import wait_until

OFFERS = [
    listing("vastai-101", price=0.10, machine=101),
    listing("vastai-102", price=0.11, machine=102),
    listing("tensordock-301", price=0.20, machine=0),
]


@pytest.fixture
async def shopper() -> AsyncIterator[FakeShopper]:
    async with FakeShopper(offers=OFFERS, ssh=("203.0.113.9", 22, "root")) as fake:
        yield fake


def posts(shopper: FakeShopper) -> int:
    return len(shopper.seen("POST", "/api/v1/sessions"))


def deletes(shopper: FakeShopper) -> set[str]:
    return {r.path.rsplit("/", 1)[1] for r in shopper.seen("DELETE", "/api/v1/sessions/")}


# -- lost answers ---------------------------------------------------------------------------------


async def test_a_session_that_does_not_fit_the_offer_is_left_alone(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", "drop")
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(max_attempts=1))
        await wait_until(lambda: posts(shopper), every_s=0.001)
        other = await shopper.rent_elsewhere("tensordock-301")
        end = last(await told(orchestrator, ident))
    # Whose it is cannot be known: it is left alone, and named.
    assert (end.billing, end.kind) == (Billing.UNKNOWN, "release_unconfirmed")
    assert other in str(end.error)
    assert shopper.billing() == [other] and deletes(shopper) == set()


async def test_a_lost_answer_waits_for_another_process_that_rents_the_same_kind(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    """Its session is new, fits, and is not in the journal yet: exactly like our own lost one."""
    async with journal_of(tmp_path) as journal:
        await owned(journal, intent(offer_id="vastai-102"), pid=os.getpid())
        shopper.inject("create", "drop")
        async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
            ident = await orchestrator.deployments.deploy(spec(max_attempts=1))
            await wait_until(lambda: posts(shopper), every_s=0.001)
            theirs = await shopper.rent_elsewhere("vastai-102")
            looks = len(shopper.seen("GET", "/api/v1/sessions"))
            await wait_until(lambda: len(shopper.seen("GET", "/api/v1/sessions")) >= looks + 2)
            assert shopper.billing() == [theirs]
            await journal.save(
                intent(offer_id="vastai-102", session_id=theirs, billing=Billing.ACTIVE)
            )
            end = last(await told(orchestrator, ident))
    assert end.billing is Billing.NONE
    assert shopper.billing() == [theirs] and deletes(shopper) == set()


async def test_a_list_that_fails_after_a_lost_answer_is_asked_again(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", "cut")
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec())
        await wait_until(lambda: posts(shopper), every_s=0.001)
        shopper.inject("sessions", "500", 2)
        end = last(await told(orchestrator, ident))
    assert (end.outcome, end.billing) == ("released", Billing.RELEASED)
    assert shopper.billing() == [] and posts(shopper) == 2


async def test_a_lost_answer_that_cannot_be_resolved_says_that_it_may_bill(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", "cut")
    flags: Flags = {"timeouts": {"http": 1, "rent": 2, "session": 3, "release": 1}}
    async with quick_orchestrator(tmp_path, shopper.url, **flags) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec())
        await wait_until(lambda: posts(shopper), every_s=0.001)
        shopper.inject("sessions", "500", None)
        end = last(await told(orchestrator, ident))
        assert (end.outcome, end.billing) == ("failed", Billing.UNKNOWN)
        assert end.kind == "release_unconfirmed" and posts(shopper) == 1
        shopper.heal()
        (row,) = await orchestrator.sessions.rows()
        assert row.billing == "active" and not row.ours
        await orchestrator.sessions.destroy(row.session.id)
    assert shopper.billing() == []


@pytest.mark.parametrize("fault", ["500", "502", "503", "429", "drop"])
async def test_a_service_that_stumbles_over_a_rent_request_is_asked_again(
    tmp_path: Path, shopper: FakeShopper, fault: str
) -> None:
    shopper.inject("create", fault)
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        events = await deployed(orchestrator, spec())
    end = last(events)
    assert (end.outcome, end.billing) == ("released", Billing.RELEASED)
    tried = [a.offer_id for a in end.attempts]
    # A lost answer costs the attempt; a refusal does not.
    lost = fault in ("502", "drop")
    assert tried == (["vastai-101", "vastai-102"] if lost else ["vastai-101"])
    if not lost:
        assert any("asking again in" in p.text for p in of_type(events, ev.Progressed))
    assert shopper.billing() == []


@pytest.mark.parametrize("fault", ["500", "429", "503", "truncated", "html"])
async def test_a_list_of_offers_that_fails_is_asked_again(
    tmp_path: Path, shopper: FakeShopper, fault: str
) -> None:
    # Each request is repeated by the HTTP layer itself, up to three times.
    shopper.inject("inventory", fault, 4 if fault in ("429", "503") else 2)
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        assert last(await deployed(orchestrator, spec())).outcome == "released"


async def test_a_service_that_refuses_for_ever_ends_it_in_bounded_time(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("inventory", "500", None)
    flags: Flags = {"timeouts": {"http": 1, "rent": 2, "session": 2, "release": 1}}
    async with quick_orchestrator(tmp_path, shopper.url, **flags) as orchestrator:
        end = last(await deployed(orchestrator, spec()))
    assert (end.outcome, end.kind, end.billing) == ("failed", "backend_refused", Billing.NONE)


async def test_a_disk_too_small_twice_moves_on_and_leaves_no_row(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", "insufficient_disk")
    shopper.inject("create", Disk(recommended_gb=1000))
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        end = last(await deployed(orchestrator, spec()))
    assert [a.offer_id for a in end.attempts] == ["vastai-101", "vastai-102"]
    assert {s.status for s in shopper.sessions.values()} == {"stopped"}
    asked = [r.body.get("disk_gb") for r in shopper.seen("POST", "/api/v1/sessions")]
    assert asked[0] is None and asked[2] >= asked[1] > 0, "the next machine's disk is big enough"


async def test_the_bigger_disk_whose_answer_is_lost_is_not_left_rented(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    for fault in ("insufficient_disk", "cut"):
        shopper.inject("create", fault)
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        end = last(await deployed(orchestrator, spec()))
    assert end.outcome == "released" and shopper.billing() == []
    assert {s.status for s in shopper.sessions.values()} == {"stopped"}


async def test_a_machine_dearer_than_its_offer_is_given_back(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    dear = Misreported(offers=("vastai-101",), fields={"price_per_hour": 0.5})
    shopper.inject("create", dear, None)
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        end = last(await deployed(orchestrator, spec(query=OfferQuery(max_price=0.15))))
    assert [a.offer_id for a in end.attempts] == ["vastai-101", "vastai-102"]
    assert "$0.500/h" in end.attempts[0].reason and shopper.billing() == []


# -- 409 ------------------------------------------------------------------------------------------


async def test_a_blocking_session_whose_key_is_lost_is_released(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    old = await shopper.rent_elsewhere("vastai-101")
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        end = last(await deployed(orchestrator, spec()))
    assert [a.offer_id for a in end.attempts] == ["vastai-101"]
    assert end.outcome == "released" and old in deletes(shopper) and shopper.billing() == []
    async with journal_of(tmp_path) as journal:
        kinds = [e.kind for e in await ledger.entries(journal) if e.session_id == old]
        (rental,) = [r for r in await journal.rentals() if r.session_id == old]
    # Nobody knows who asked for it: it is no machine of this deployment.
    assert kinds == ["rent_uncertain", "release_requested", "released"]
    assert rental.deployment_id == "" and rental.billing is Billing.RELEASED


async def test_a_blocking_session_of_a_dead_process_is_taken_over(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    old = await shopper.rent_elsewhere("vastai-101")
    key = tmp_path / "keys" / "old.pem"
    async with journal_of(tmp_path) as journal:
        rental = intent(session_id=old, billing=Billing.ACTIVE, key_file=str(key))
        await owned(journal, rental, pid=GONE_PID, key=key)
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        events = await deployed(orchestrator, spec())
        end = last(events)
    assert (end.outcome, end.session_id) == ("released", old)
    assert len(shopper.sessions) == 1 and shopper.billing() == []
    assert any("taking it over" in n.text for n in of_type(events, ev.Noted))
    assert not key.exists()


@pytest.mark.parametrize("holder", ["this process", "another process", "kept"])
async def test_a_blocking_session_in_use_is_left_alone(
    tmp_path: Path, shopper: FakeShopper, holder: str
) -> None:
    pid = {"this process": os.getpid(), "another process": os.getppid(), "kept": 0}[holder]
    outcome = "serving" if holder == "kept" else ""
    old = await shopper.rent_elsewhere("vastai-101")
    key = tmp_path / "keys" / "old.pem"
    async with journal_of(tmp_path) as journal:
        rental = intent(session_id=old, billing=Billing.ACTIVE, key_file=str(key))
        await owned(journal, rental, pid=pid, outcome=outcome, key=key)
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        # No machine was tried: that one is ours already.
        end = last(await deployed(orchestrator, spec(max_attempts=1)))
    assert [a.offer_id for a in end.attempts] == ["vastai-101", "vastai-102"]
    assert [a.ended for a in end.attempts] == ["failed", "released"]
    assert shopper.billing() == [old] and key.exists()


async def test_an_offer_that_another_live_process_is_renting_now_is_left_to_it(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    theirs = await shopper.rent_elsewhere("vastai-101")
    async with journal_of(tmp_path) as journal:
        await owned(journal, intent(), pid=os.getpid())
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        end = last(await deployed(orchestrator, spec()))
    assert end.attempts[0].ended == "failed" and end.outcome == "released"
    assert shopper.billing() == [theirs]


# -- machines that end by themselves, releases that fail ------------------------------------------


def stop_by_itself(shopper: FakeShopper, error: str) -> Callable[[str], str]:
    """A fate: the service says that the session has ended, while SSH is lost."""

    def fate(session: str) -> str:
        if shopper.sessions[session].offer.id != "vastai-101":
            return ""
        shopper.end_by_itself(session, error)
        return "ssh"

    return fate


async def test_a_machine_that_died_is_not_held_against_its_provider(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    fate = stop_by_itself(shopper, "instance stopped unexpectedly: exited")
    async with quick_orchestrator(tmp_path, shopper.url, fate=fate) as orchestrator:
        end = last(await deployed(orchestrator, spec()))
    assert [a.offer_id for a in end.attempts] == ["vastai-101", "vastai-102"]
    assert "the machine is gone" in end.attempts[0].reason
    # The service ends such a session whether or not its marketplace has let the machine go.
    assert (end.outcome, end.billing) == ("released", Billing.UNKNOWN)
    assert exit_codes.of_finished(end) == exit_codes.STILL_BILLING


@pytest.mark.parametrize("error", ["", "Instance not found on provider during reconciliation"])
async def test_an_end_that_nobody_asked_for_proves_nothing_about_the_bill(
    tmp_path: Path, shopper: FakeShopper, error: str
) -> None:
    fate = stop_by_itself(shopper, error)
    async with quick_orchestrator(tmp_path, shopper.url, fate=fate) as orchestrator:
        events = await deployed(orchestrator, spec())
        end = last(events)
        assert (end.outcome, end.billing) == ("released", Billing.UNKNOWN)
        doubtful = shopper.session_of("vastai-101")
        assert end.session_id == doubtful and doubtful in deletes(shopper)
        assert any("vastai's own console" in n.text for n in of_type(events, ev.Noted))
        rows = {r.session.id: r.billing for r in await orchestrator.sessions.rows()}
        assert rows[doubtful] == "unknown"
        # Asking again proves nothing more; the user has looked there, and says so.
        with pytest.raises(ReleaseUnconfirmed) as caught:
            await orchestrator.sessions.destroy(doubtful)
        assert f"destroy {doubtful} --seen-gone" in caught.value.hint
        assert (await orchestrator.sessions.confirm_gone(doubtful)).billing == "released"
        rows = {r.session.id: r.billing for r in await orchestrator.sessions.rows()}
        assert rows[doubtful] == "released"


@pytest.mark.parametrize("asked_before", [True, False])
async def test_an_end_out_of_sight_is_doubted_also_when_nobody_could_look_before(
    tmp_path: Path, shopper: FakeShopper, asked_before: bool
) -> None:
    session = await shopper.rent_elsewhere("vastai-101")
    lost = "Instance not found on provider during reconciliation"
    shopper.end_by_itself(session, lost)
    if not asked_before:
        shopper.inject("session", "500")
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        with pytest.raises(ReleaseUnconfirmed, match=r"before its end was requested|ended with an"):
            await orchestrator.sessions.destroy(session)


async def test_a_kept_machine_does_not_hide_that_an_earlier_one_may_bill(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    async with quick_orchestrator(
        tmp_path, shopper.url, fate=stop_by_itself(shopper, "")
    ) as orchestrator:
        end = last(await deployed(orchestrator, spec(after="keep")))
        (serving,) = shopper.billing()
        assert (end.outcome, end.billing) == ("serving", Billing.ACTIVE)
        assert end.session_id == serving
        doubtful = shopper.session_of("vastai-101")
        assert doubtful in str(end.error) and doubtful in str(end.hint)
        assert exit_codes.of_finished(end) == exit_codes.STILL_BILLING
        await orchestrator.sessions.destroy(serving)


async def test_what_is_rented_is_named_while_the_backend_is_away(tmp_path: Path) -> None:
    async with FakeShopper(offers=OFFERS, ssh=("203.0.113.9", 22, "root")) as away:
        url = away.url
        async with quick_orchestrator(tmp_path, url) as orchestrator:
            end = last(await deployed(orchestrator, spec(after="keep")))
    async with quick_orchestrator(tmp_path, url) as orchestrator:
        with pytest.raises(BackendUnreachable) as caught:
            await orchestrator.sessions.rows()
    assert f"still rented: {end.session_id}" in caught.value.message


async def test_a_session_destroyed_from_elsewhere_is_neither_in_doubt_nor_replaced(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    flags: Flags = {"backend": "shopper", "consumer_id": "tester"}
    async with (
        quick_orchestrator(tmp_path, shopper.url, pause=0.6, **flags) as orchestrator,
        quick_orchestrator(tmp_path, shopper.url, **flags) as another,
    ):
        ident = await orchestrator.deployments.deploy(spec())
        event = await until(orchestrator, ident, lambda e: isinstance(e, ev.SessionRented))
        assert isinstance(event.event, ev.SessionRented)
        assert (await another.sessions.destroy(event.event.session_id)).billing == "released"
        end = last(await told(orchestrator, ident))
    assert (end.kind, end.billing) == ("cancelled", Billing.RELEASED)
    assert posts(shopper) == 1 and shopper.billing() == []


async def test_destroying_what_cannot_be_released_does_not_say_that_it_was(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    flags: Flags = {"timeouts": {"http": 1, "rent": 2, "session": 3, "release": 0.5}}
    async with quick_orchestrator(tmp_path, shopper.url, **flags) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(after="hold"))
        await until(
            orchestrator,
            ident,
            lambda e: isinstance(e, ev.PhaseChanged) and e.phase is Phase.SERVING,
        )
        shopper.inject("delete", "unverified", None)
        with pytest.raises(ReleaseUnconfirmed):
            await orchestrator.sessions.destroy(ident)


async def test_an_unconfirmed_release_ends_failover_and_is_asked_for_again_meanwhile(
    tmp_path: Path, shopper: FakeShopper, monkeypatch: pytest.MonkeyPatch
) -> None:
    shopper.inject("delete", "unverified", None)

    def left_s(_: _Wait) -> float:
        """The time is over with the third request, whatever the clock says."""
        return 0.0 if len(shopper.seen("DELETE", "/api/v1/sessions/")) > 2 else 1.0

    monkeypatch.setattr(_Wait, "left_s", property(left_s))
    flags: Flags = {"timeouts": {"http": 1, "rent": 2, "session": 3, "release": 0.8}}
    async with quick_orchestrator(
        tmp_path, shopper.url, fate=lambda _: "crash", **flags
    ) as orchestrator:
        events = await deployed(orchestrator, spec())
    end = last(events)
    assert (end.kind, end.billing) == ("release_unconfirmed", Billing.UNKNOWN)
    assert len(end.attempts) == 1 and len(shopper.billing()) == 1
    assert len(shopper.seen("DELETE", "/api/v1/sessions/")) > 2
    assert any("asking again" in p.text for p in of_type(events, ev.Progressed))


# -- cancel ---------------------------------------------------------------------------------------


async def test_a_cancel_before_the_first_step_has_an_end(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec())
        await orchestrator.deployments.cancel(ident)
        assert last(await told(orchestrator, ident)).outcome == "cancelled"
    assert shopper.billing() == []


@pytest.mark.parametrize("fault", [None, "cut", "insufficient_disk", "429"])
@pytest.mark.parametrize("delay", [0.0, 0.003, 0.01, 0.03, 0.08])
async def test_a_cancel_at_any_moment_leaves_nothing_rented(
    tmp_path: Path, shopper: FakeShopper, fault: str | None, delay: float
) -> None:
    if fault is not None:
        shopper.inject("create", fault)
    async with quick_orchestrator(tmp_path, shopper.url, pause=0.01) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec())
        await until(orchestrator, ident, lambda e: isinstance(e, ev.PhaseChanged))
        await asyncio.sleep(delay)
        await orchestrator.deployments.cancel(ident)
        end = last(await told(orchestrator, ident))
    assert end.outcome in ("cancelled", "released")
    assert end.billing in (Billing.NONE, Billing.RELEASED)
    assert shopper.billing() == []


async def test_a_cancel_while_a_defect_is_written_down_still_gives_back(
    tmp_path: Path, shopper: FakeShopper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(_: str) -> str:
        raise RuntimeError("a defect of ours")

    class Slow:
        """The disk takes its time, and the user does not."""

        def __init__(self) -> None:
            self.loop, self.writing = asyncio.get_running_loop(), asyncio.Event()
            self.go_on = threading.Event()

        def __call__(self, path: Path, text: str) -> None:
            self.loop.call_soon_threadsafe(self.writing.set)
            self.go_on.wait(20)

    slow = Slow()
    monkeypatch.setattr("gdl.orchestrator.run.internal_error._write", slow)
    async with quick_orchestrator(tmp_path, shopper.url, fate=breaks) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec())
        async with asyncio.timeout(20):
            await slow.writing.wait()
        await orchestrator.deployments.cancel(ident)
        slow.go_on.set()
        end = last(await told(orchestrator, ident))
    assert (end.outcome, end.billing) == ("cancelled", Billing.RELEASED)
    assert "a defect of ours" in str(end.error)
    assert shopper.billing() == []


async def test_a_cancel_while_it_backs_off_does_not_wait_for_it(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("inventory", "500", None)
    flags: Flags = {"timeouts": {"http": 1, "rent": 2, "session": 600, "release": 1}}
    async with quick_orchestrator(tmp_path, shopper.url, **flags) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec())
        await until(orchestrator, ident, lambda e: isinstance(e, ev.Progressed))
        await orchestrator.deployments.cancel(ident)
        async with asyncio.timeout(30):
            assert last(await told(orchestrator, ident)).outcome == "cancelled"


async def test_closing_the_house_gives_everything_back(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        idents = [await orchestrator.deployments.deploy(spec(after="hold")) for _ in range(3)]
        for ident in idents:
            await until(
                orchestrator,
                ident,
                lambda e: isinstance(e, ev.PhaseChanged) and e.phase is Phase.SERVING,
            )
        assert len(shopper.billing()) == 3
    assert shopper.billing() == []


async def test_two_deployments_at_once_lose_both_answers_and_destroy_both(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", "cut", 2)
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        idents = [await orchestrator.deployments.deploy(spec()) for _ in range(2)]
        ends = [last(await told(orchestrator, ident)) for ident in idents]
    assert [e.outcome for e in ends] == ["released", "released"]
    assert shopper.billing() == []


# -- the journal fails ----------------------------------------------------------------------------


def spoil(tmp_path: Path, *tables: str) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "journal.sqlite", timeout=10)) as database:
        for table in tables:
            database.execute(f"DROP TABLE {table}")
        database.commit()


async def test_a_journal_that_cannot_be_written_rents_nothing(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        spoil(tmp_path, "rentals")
        end = last(await deployed(orchestrator, spec()))
    assert (end.outcome, end.billing) == ("failed", Billing.NONE)
    assert "journal" in str(end.error) and posts(shopper) == 0


@pytest.mark.parametrize("phase", [Phase.RENTING, Phase.INSTALLING, Phase.SERVING])
async def test_a_journal_that_breaks_on_the_way_does_not_keep_the_machine(
    tmp_path: Path, shopper: FakeShopper, phase: Phase
) -> None:
    async with quick_orchestrator(tmp_path, shopper.url, pause=0.05) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec())
        await until(
            orchestrator, ident, lambda e: isinstance(e, ev.PhaseChanged) and e.phase is phase
        )
        spoil(tmp_path, "events", "rentals", "exclusions")
        events = await told(orchestrator, ident)
    said = [*(note.text for note in of_type(events, ev.Noted)), str(last(events).error)]
    assert any("the journal cannot be written" in text for text in said)
    assert shopper.billing() == []


async def test_a_key_that_cannot_be_kept_gives_the_machine_back(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        (tmp_path / "keys").write_text("a file where the folder should be")
        end = last(await deployed(orchestrator, spec()))
    assert (end.outcome, end.billing) == ("failed", Billing.RELEASED)
    assert "key file" in str(end.error) and len(end.attempts) == 1
    assert shopper.billing() == []


# -- what dead processes left ---------------------------------------------------------------------


async def test_only_the_keys_of_its_own_rental_go_with_a_machine(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    session = await shopper.rent_elsewhere("vastai-101")
    folder = tmp_path / "keys"
    names = {"key_file": "other.pem", "api_key_file": "old-1.api", "host_key_file": "old.hostkey"}
    files = {field: str(folder / name) for field, name in names.items()}
    for path in files.values():
        write_key(Path(path), Secret("k"))
    write_key(folder / "old.hostkey.known_hosts", Secret("of a shell on the machine"))
    async with journal_of(tmp_path) as journal:
        # The user entered the machine with the key of another rental.
        rental = intent(session_id=session, billing=Billing.ACTIVE, **files)
        await owned(journal, rental, pid=GONE_PID)
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        assert (await orchestrator.sessions.destroy(session)).billing == "released"
    assert [path.name for path in folder.iterdir()] == ["other.pem"]


@pytest.mark.parametrize("provider", ["vastai", "unknown"])
async def test_a_request_of_a_dead_process_is_matched_with_what_it_made(
    tmp_path: Path, shopper: FakeShopper, provider: str
) -> None:
    """It died between the answer and the journal; the key is on disk. Its offer may not have told
    whose it was."""
    made = await shopper.rent_elsewhere("vastai-101")
    key = tmp_path / "keys" / "old.pem"
    async with journal_of(tmp_path) as journal:
        await owned(journal, intent(provider=provider, price=9.0), pid=GONE_PID, key=key)
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        (row,) = await orchestrator.sessions.rows()
        assert (row.session.id, row.ours, row.billing) == (made, True, "active")
        rented = (await ledger.entries(orchestrator._journal))[-1]
        assert rented.price == row.session.price_per_hour != 9.0
        findings = {f.name: f for f in await orchestrator.support.doctor()}
        assert made in findings["orphans"].detail
        assert deletes(shopper) == set()
        await orchestrator.sessions.destroy(made)
    assert shopper.billing() == [] and not key.exists()


async def test_a_live_session_whose_key_nobody_has_is_shown_and_never_destroyed_unasked(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    made = await shopper.rent_elsewhere("tensordock-301")
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        (row,) = await orchestrator.sessions.rows()
        assert (row.ours, row.billing) == (False, "active")
        await orchestrator.support.doctor()
        await deployed(orchestrator, spec())
    assert shopper.billing() == [made] and made not in deletes(shopper)


async def test_a_request_of_a_dead_process_that_made_nothing_is_closed(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    async with journal_of(tmp_path) as journal:
        await owned(journal, intent(requested_at=long_ago), pid=GONE_PID)
        async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
            assert await orchestrator.sessions.rows() == []
        (rental,) = await journal.rentals()
        assert not rental.open
        (row,) = await journal.deployments()
        assert row.outcome == "interrupted"


async def test_a_past_deployment_cost_what_all_its_machines_did(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    began = datetime.now(UTC) - timedelta(hours=9)
    async with journal_of(tmp_path) as journal:
        await owned(journal, intent(billing=Billing.NONE), pid=GONE_PID, outcome="failed")
        for number, price in enumerate((1.0, 0.5)):
            asked = began + timedelta(hours=number)
            rental = intent(price=price, requested_at=asked, intent_id=f"i-{number}")
            rental = replace(rental, session_id=f"s-{number}", billing=Billing.RELEASED)
            await journal.save(replace(rental, released_at=asked + timedelta(hours=1)))
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        (past,) = await orchestrator.support.past_deployments()
    assert past.cost == pytest.approx(1.5)


async def test_a_request_of_a_live_process_is_not_touched(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    await shopper.rent_elsewhere("vastai-101")
    async with journal_of(tmp_path) as journal:
        await owned(journal, intent(), pid=os.getppid())
        async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
            await orchestrator.sessions.rows()
        (rental,) = await journal.rentals()
        assert (rental.billing, rental.session_id) == (Billing.REQUESTED, None)
