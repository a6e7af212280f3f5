"""Money on marketplaces that keep labels: a lost answer is resolved by the label alone, with a key
that was on disk before; a release counts when machine and label are in no list."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from deployment_support import GONE_PID, deployed, last, of_type, spec
from failover_support import journal_of, quick_orchestrator
from fake_market import FakeMarket, offer
from gdl.domain import events as ev
from gdl.domain.errors import BackendRefused, MachineError, RentAmbiguous
from gdl.domain.phase import Billing
from gdl.domain.session import RentAnswer, RentRequest, SessionStatus
from gdl.journal.store import DeploymentRow
from gdl.keyring.ssh_keys import public_part

TIMEOUTS = {"http": 3, "rent": 5, "session": 3, "release": 3}


def market(*more: str) -> FakeMarket:
    return FakeMarket("vastai", *(offer(ident, "vastai") for ident in ("a1", *more)))


async def test_key_and_label_are_on_disk_before_the_request_goes_out(tmp_path: Path) -> None:
    there = market()
    keys = tmp_path / "keys"

    async def look(request: RentRequest) -> None:
        (key,) = keys.glob("*.pem")
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert public_part(key) == request.public_key
        async with journal_of(tmp_path) as journal:
            (rental,) = await journal.rentals()
        assert rental.billing is Billing.REQUESTED
        assert request.label == rental.label == f"gdl-{rental.intent_id}"
        assert len(request.label) <= 64

    there.before_rent = look
    async with quick_orchestrator(tmp_path, on=there) as orchestrator:
        events = await deployed(orchestrator, spec("vastai"))
    assert last(events).outcome == "released"
    assert len(there.requests) == 1
    assert there.rented == {}
    assert list(keys.glob("*.pem")) == []


async def test_lost_answer_is_resolved_by_the_label_and_the_machine_is_used(tmp_path: Path) -> None:
    there = market()
    stranger = there.make(RentRequest(there.listed[0], "other", 1, "m", label="mine, not yours"))
    there.loses_answer()
    async with quick_orchestrator(tmp_path, on=there) as orchestrator:
        events = await deployed(orchestrator, spec("vastai"))
    assert last(events).outcome == "released"
    assert len(there.ever) == 2  # rented once, beside the stranger's
    assert of_type(events, ev.SessionRented)[0].session_id == there.ever[1].id
    assert list(there.rented) == [stranger.id]
    # Nothing is told apart by likeness: no list is asked for beforehand.
    assert "sessions" not in there.asked[: there.asked.index("rent")]


async def test_request_that_made_nothing_is_not_made_twice_on_one_offer(tmp_path: Path) -> None:
    there = market("a2")
    there.loses_answer(acted=False)
    async with quick_orchestrator(tmp_path, on=there, timeouts=TIMEOUTS) as orchestrator:
        events = await deployed(orchestrator, spec("vastai"))
    assert last(events).outcome == "released"
    assert [r.offer.id for r in there.requests] == ["a1", "a2"]
    assert there.rented == {}


async def test_a_price_that_the_rent_answer_did_not_tell_is_held_to_the_offers(
    tmp_path: Path,
) -> None:
    class Untold(FakeMarket):
        async def rent(self, request: RentRequest) -> RentAnswer:
            made = (await super().rent(request)).session
            self.rented[made.id] = replace(made, price_per_hour=0.9)
            waiting = replace(made, status=SessionStatus.PROVISIONING, ssh=None, price_per_hour=0.0)
            return RentAnswer(waiting)

    there = Untold("vastai", offer("a1", "vastai"))
    async with quick_orchestrator(tmp_path, on=there) as orchestrator:
        events = await deployed(orchestrator, spec("vastai"))
    assert last(events).outcome == "failed" and last(events).billing is Billing.RELEASED
    (attempt,) = last(events).attempts
    assert attempt.reason == "the machine costs $0.900/h, its offer said $0.300/h"
    assert there.rented == {}


async def test_request_that_made_two_machines_leaves_none(tmp_path: Path) -> None:
    there = market()

    async def twice(request: RentRequest) -> None:
        there.make(request)

    there.before_rent = twice
    there.loses_answer()
    async with quick_orchestrator(tmp_path, on=there) as orchestrator:
        events = await deployed(orchestrator, spec("vastai"))
    assert last(events).outcome == "released"
    assert len(there.ever) == 2
    assert there.rented == {}


async def test_machine_of_a_refused_request_is_destroyed(tmp_path: Path) -> None:
    there = market("a2")
    there.fails(
        "rent", lambda: RentAmbiguous("refused, with a machine", session_id="vastai-1"), acted=True
    )
    there.fails("rent", lambda: MachineError("the host failed", "take another"), acted=True)
    async with quick_orchestrator(tmp_path, on=there, timeouts=TIMEOUTS) as orchestrator:
        events = await deployed(orchestrator, spec("vastai"))
    assert last(events).outcome == "failed"
    assert len(there.ever) == 2
    assert there.rented == {}


async def test_second_machine_that_turns_up_late_ends_with_the_first(tmp_path: Path) -> None:
    there = market()
    async with quick_orchestrator(tmp_path, on=there) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec("vastai", after="keep"))
        await orchestrator.deployments.wait(ident)
        there.make(there.requests[0])
        await orchestrator.sessions.destroy(there.ever[0].id)
    assert there.rented == {}


async def test_stopped_machine_bills_until_it_is_in_no_list(tmp_path: Path) -> None:
    there = market()
    there.fails("release", lambda: BackendRefused("not now", status=429), times=3)
    async with quick_orchestrator(tmp_path, on=there) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec("vastai", after="keep"))
        await orchestrator.deployments.wait(ident)
        (found,) = there.rented.values()
        there.rented[found.id] = replace(found, status=SessionStatus.STOPPED)
        await orchestrator.sessions.destroy(found.id)
        assert await orchestrator.sessions.rows() == []
    assert there.rented == {}
    assert there.asked.count("release") == 4


async def test_release_that_is_refused_for_good_is_a_doubt(tmp_path: Path) -> None:
    there = market()
    there.fails("release", lambda: BackendRefused("not now", status=429), times=10_000)
    async with quick_orchestrator(tmp_path, on=there, timeouts=TIMEOUTS) as orchestrator:
        events = await deployed(orchestrator, spec("vastai"))
        finished = last(events)
        assert finished.billing is Billing.UNKNOWN
        assert finished.session_id == there.ever[0].id
    there.faults.clear()
    async with quick_orchestrator(tmp_path, on=there) as orchestrator:
        await orchestrator.sessions.ask_again()
    assert there.rented == {}
    async with journal_of(tmp_path) as journal:
        assert [r.billing for r in await journal.rentals()] == [Billing.RELEASED]


async def test_answer_lost_to_a_kill_is_found_by_the_next_start(tmp_path: Path) -> None:
    """The process ended between request and answer: label and key are in journal and folder."""
    there = market()
    async with quick_orchestrator(tmp_path, on=there) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec("vastai", after="keep"))
        await orchestrator.deployments.wait(ident)
    async with journal_of(tmp_path) as journal:
        (rental,) = await journal.rentals()
        asked = replace(
            rental, session_id=None, billing=Billing.REQUESTED, deployment_id="d2", key_file=""
        )
        await journal.save(asked)
        row = DeploymentRow("d2", rental.requested_at, "m", "vastai", "", GONE_PID)
        await journal.add_deployment(row)
    async with quick_orchestrator(tmp_path, on=there) as orchestrator:
        (listed,) = await orchestrator.sessions.rows()
        assert listed.session.id == there.ever[0].id
        assert listed.ours
        await orchestrator.sessions.destroy(listed.session.id)
    assert there.rented == {}


async def test_machine_that_ended_by_itself_is_written_off(tmp_path: Path) -> None:
    there = market()
    async with quick_orchestrator(tmp_path, on=there) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec("vastai", after="keep"))
        await orchestrator.deployments.wait(ident)
    async with journal_of(tmp_path) as journal:
        await journal.set_outcome(ident, "interrupted", 0)
        (rental,) = await journal.rentals()
        long_ago = rental.requested_at - timedelta(minutes=5)
        await journal.save(replace(rental, requested_at=long_ago))
    there.rented.clear()
    async with quick_orchestrator(tmp_path, on=there) as orchestrator:
        assert await orchestrator.sessions.rows() == []
    async with journal_of(tmp_path) as journal:
        assert [r.billing for r in await journal.rentals()] == [Billing.RELEASED]


async def test_machine_that_is_made_after_its_request_was_given_up_is_destroyed(
    tmp_path: Path,
) -> None:
    there = market("a2")
    there.loses_answer(acted=False)
    late: list[RentRequest] = []

    async def make_late(request: RentRequest) -> None:
        """With the second request, what the first had asked for appears."""
        if late:
            there.make(late[0])
        late.append(request)

    there.before_rent = make_late
    async with quick_orchestrator(tmp_path, on=there, timeouts=TIMEOUTS) as orchestrator:
        events = await deployed(orchestrator, spec("vastai"))
    assert last(events).outcome == "released"
    assert len(there.ever) == 2
    assert there.rented == {}
    async with journal_of(tmp_path) as journal:
        assert {r.billing for r in await journal.rentals()} == {Billing.RELEASED}


async def test_machine_that_the_list_does_not_have_yet_is_not_written_off(tmp_path: Path) -> None:
    """Its program was killed right after the answer, and the marketplace's list comes late."""
    there = market()
    async with quick_orchestrator(tmp_path, on=there) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec("vastai", after="keep"))
        await orchestrator.deployments.wait(ident)
    async with journal_of(tmp_path) as journal:
        await journal.set_outcome(ident, "interrupted", 0)
    late = dict(there.rented)
    there.rented.clear()
    async with quick_orchestrator(tmp_path, on=there) as orchestrator:
        (row,) = await orchestrator.sessions.rows()
        assert row.billing == Billing.ACTIVE
        there.rented.update(late)
        await orchestrator.sessions.destroy(row.session.id)
    assert there.rented == {}


async def test_machine_that_is_listed_again_after_its_release_bills(tmp_path: Path) -> None:
    there = market()
    async with quick_orchestrator(tmp_path, on=there) as orchestrator:
        await deployed(orchestrator, spec("vastai"))
        assert await orchestrator.sessions.rows() == []
        there.rented[there.ever[0].id] = there.ever[0]
        (row,) = await orchestrator.sessions.rows()
        assert row.billing == Billing.ACTIVE
        await orchestrator.sessions.destroy(row.session.id)
        assert await orchestrator.sessions.rows() == []
    assert there.rented == {}


async def test_lost_answer_whose_label_cannot_be_asked_for_is_a_doubt(tmp_path: Path) -> None:
    there = market("a2")
    there.loses_answer()
    there.fails("labelled", lambda: BackendRefused("wrong key", status=401), times=100)
    async with quick_orchestrator(tmp_path, on=there, timeouts=TIMEOUTS) as orchestrator:
        events = await deployed(orchestrator, spec("vastai"))
    assert (last(events).outcome, last(events).billing) == ("failed", Billing.UNKNOWN)
    assert last(events).kind == "release_unconfirmed"
    # Nothing is rented beside what may be there.
    assert len(there.requests) == 1
    there.faults.clear()
    async with quick_orchestrator(tmp_path, on=there) as orchestrator:
        (row,) = await orchestrator.sessions.rows()
        assert row.ours
        await orchestrator.sessions.destroy(row.session.id)
    assert there.rented == {}
