"""Ends that the service tells of and that are not true: what is said, journaled and looked after.

The market's own record of what bills is the judge.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployment_support import GONE_PID, last, of_type, told, until
from failover_support import Flags, intent, journal_of, owned, quick_orchestrator, spec
from gdl.cli import exit_codes
from gdl.domain import events as ev
from gdl.domain.errors import ReleaseUnconfirmed, UsageError
from gdl.domain.ledger import LedgerKind
from gdl.domain.phase import Billing, Phase
from gdl.domain.rental import Rental
from gdl.journal import ledger
from gdl.orchestrator.service import Orchestrator
from gdl.simulator.endings import STUCK
from gdl.simulator.fault_models import DestroyFails, NeverReady, OfferFault, Refused, SlowCreate
from gdl.simulator.rented_session import Rented
from gdl.simulator.wire_format import Refusal
from shopper_support import FakeShopper, listing
from waiting import wait_until

OFFERS = [
    listing("vastai-101", price=0.10, machine=101),
    listing("tensordock-301", price=0.20, machine=0),
]
QUICK: Flags = {"timeouts": {"http": 3, "rent": 5, "session": 10, "release": 2}}
MADE = Refused(error="vastai CreateInstance failed (HTTP 500): internal error", made=True)


@pytest.fixture
async def shopper() -> AsyncIterator[FakeShopper]:
    async with FakeShopper(offers=OFFERS, ssh=("203.0.113.9", 22, "root")) as fake:
        yield fake


def first(fault: OfferFault) -> OfferFault:
    """The fault, for the cheapest offer alone."""
    return fault.model_copy(update={"offers": ("vastai-101",)})


async def serving(orchestrator: Orchestrator) -> str:
    """A machine that was left serving; its session."""
    end = last(await told(orchestrator, await orchestrator.deployments.deploy(spec(after="keep"))))
    assert end.session_id is not None
    return end.session_id


def keys(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "keys").glob("*.pem"))


async def journaled(tmp_path: Path, session: str) -> tuple[Rental, list[LedgerKind]]:
    """The rental of a session, and what the ledger says about its end."""
    async with journal_of(tmp_path) as journal:
        (rental,) = [r for r in await journal.rentals() if r.session_id == session]
        kinds = [e.kind for e in await ledger.entries(journal) if e.session_id == session]
    return rental, [kind for kind in kinds if kind.value.startswith(("release", "rent_"))]


def age(session: Rented) -> None:
    """The service's check takes it for failed, in the middle of its end."""
    session.status, session.error = "failed", STUCK


# -- the four that were seen ----------------------------------------------------------------------


async def test_destroying_an_old_machine_whose_marketplace_refuses(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", first(DestroyFails()), None)
    async with quick_orchestrator(tmp_path, shopper.url, **QUICK) as orchestrator:
        session = await serving(orchestrator)
        age(shopper.sessions[session])
        with pytest.raises(ReleaseUnconfirmed) as caught:
            await orchestrator.sessions.destroy(session)
        assert shopper.sessions[session].status == "stopped" and shopper.billing() == [session]
        assert exit_codes.of_error(caught.value) == exit_codes.STILL_BILLING
        assert "may still be billing: asked once" in caught.value.message
        assert "manual cleanup" in caught.value.message
        assert caught.value.hint.startswith("look for it at vastai's own console")
        (row,) = [r for r in await orchestrator.sessions.rows() if r.session.id == session]
        assert row.billing == "unknown" and "manual cleanup" in row.doubt and row.cost > 0
        assert any(session in f.detail for f in await orchestrator.support.doctor())
    assert keys(tmp_path) != []
    rental, kinds = await journaled(tmp_path, session)
    assert (rental.billing, rental.open) == (Billing.UNKNOWN, True)
    assert kinds[-2:] == [LedgerKind.RELEASE_REQUESTED, LedgerKind.RELEASE_UNCERTAIN]


async def test_a_host_whose_ssh_never_comes_and_whose_marketplace_refuses(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", first(NeverReady(after=0.0)), None)
    shopper.inject("create", first(DestroyFails()), None)
    async with quick_orchestrator(tmp_path, shopper.url, **QUICK) as orchestrator:
        events = await told(orchestrator, await orchestrator.deployments.deploy(spec()))
        end = last(events)
        doubtful = shopper.session_of("vastai-101")
        assert shopper.billing() == [doubtful]
    # A doubt about the first machine does not keep the second from serving.
    assert [a.ended for a in end.attempts] == ["failed", "released"]
    assert (end.billing, end.session_id) == (Billing.UNKNOWN, doubtful)
    assert exit_codes.of_finished(end) == exit_codes.STILL_BILLING
    assert "SSH verification timeout" in str(end.error) and "--seen-gone" in str(end.hint)
    assert len(keys(tmp_path)) == 1
    rental, kinds = await journaled(tmp_path, doubtful)
    assert rental.billing is Billing.UNKNOWN and "SSH verification timeout" in rental.doubt
    assert kinds[-1] is LedgerKind.RELEASE_UNCERTAIN


async def test_a_process_killed_while_the_machine_was_being_made(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", SlowCreate(after=1.0), None)
    request = asyncio.create_task(shopper.rent_elsewhere("vastai-101"))
    await wait_until(lambda: shopper.sessions)
    session = next(iter(shopper.sessions))
    request.cancel()
    async with journal_of(tmp_path) as journal:
        created = shopper.sessions[session].created
        await owned(journal, intent(requested_at=created), pid=GONE_PID)
    async with quick_orchestrator(tmp_path, shopper.url, **QUICK) as orchestrator:
        with pytest.raises(ReleaseUnconfirmed, match="may still appear"):
            await orchestrator.sessions.destroy(session)
        await wait_until(shopper.billing)
        assert shopper.sessions[session].status == "stopped"
        (row,) = await orchestrator.sessions.rows()
        assert (row.billing, row.session.id) == ("unknown", session)
    rental, kinds = await journaled(tmp_path, session)
    assert rental.billing is Billing.UNKNOWN and not rental.seen
    assert kinds[-1] is LedgerKind.RELEASE_UNCERTAIN


async def test_a_machine_that_was_made_and_answered_with_an_error(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", first(MADE), None)
    async with quick_orchestrator(tmp_path, shopper.url, **QUICK) as orchestrator:
        events = await told(orchestrator, await orchestrator.deployments.deploy(spec()))
        end = last(events)
        (made,) = shopper.billing()
        assert [a.offer_id for a in end.attempts] == ["vastai-101", "tensordock-301"]
        assert (end.billing, end.session_id) == (Billing.UNKNOWN, made)
        assert exit_codes.of_finished(end) == exit_codes.STILL_BILLING
        assert "a machine may have been created anyway" in str(end.error)
        said = [e.detail for e in of_type(events, ev.BillingChanged)]
        assert "nothing was rented" not in said
        assert any(made in n.text for n in of_type(events, ev.Noted))
        rows = {r.session.id: r.billing for r in await orchestrator.sessions.rows()}
        assert rows[made] == "unknown"
    rental, kinds = await journaled(tmp_path, made)
    assert rental.billing is Billing.UNKNOWN and LedgerKind.RENT_UNCERTAIN in kinds


async def test_a_request_cut_off_by_a_kill_whose_session_failed(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", first(MADE), None)
    with contextlib.suppress(Refusal):
        await shopper.rent_elsewhere("vastai-101")
    (made,) = shopper.billing()
    created = shopper.sessions[made].created
    async with journal_of(tmp_path) as journal:
        await owned(journal, intent(requested_at=created), pid=GONE_PID)
    async with quick_orchestrator(tmp_path, shopper.url, **QUICK) as orchestrator:
        (row,) = await orchestrator.sessions.rows()
        assert (row.session.id, row.billing) == (made, "unknown")
        assert "a machine may have been created" in row.doubt
        assert (await orchestrator.sessions.confirm_gone(made)).billing == "released"


async def test_a_request_cut_off_by_a_kill_whose_machine_was_given_up(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    """It ran before the service lost sight of it, and it bills on (soak, seed 5469)."""
    made = await shopper.rent_elsewhere("vastai-101")
    session = shopper.sessions[made]
    await wait_until(lambda: session.status == "running")
    session.status, session.error = "stopped", "instance stopped unexpectedly: exited"
    async with journal_of(tmp_path) as journal:
        created = session.created
        await owned(journal, intent(requested_at=created), pid=GONE_PID)
    async with quick_orchestrator(tmp_path, shopper.url, **QUICK) as orchestrator:
        (row,) = await orchestrator.sessions.rows()
        assert (row.session.id, row.billing) == (made, "unknown")
    assert shopper.billing() == [made]
    rental, kinds = await journaled(tmp_path, made)
    assert rental.open and kinds == [LedgerKind.RENT_UNCERTAIN]


# -- and what is true is believed -----------------------------------------------------------------


async def test_a_refusal_that_left_no_session_has_made_nothing(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", first(Refused(error="vastai said (HTTP 403): not allowed")), None)
    async with quick_orchestrator(tmp_path, shopper.url, **QUICK) as orchestrator:
        end = last(await told(orchestrator, await orchestrator.deployments.deploy(spec())))
    assert (end.outcome, end.billing, end.error) == ("released", Billing.RELEASED, None)


async def test_a_machine_given_up_before_the_service_does_is_proven_to_be_gone(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", first(NeverReady(after=60.0)), None)
    flags: Flags = {"timeouts": {"http": 3, "rent": 5, "session": 0.5, "release": 2}}
    async with quick_orchestrator(tmp_path, shopper.url, **flags) as orchestrator:
        end = last(await told(orchestrator, await orchestrator.deployments.deploy(spec())))
    assert [a.ended for a in end.attempts] == ["failed", "released"]
    assert (end.billing, end.error) == (Billing.RELEASED, None) and keys(tmp_path) == []


# -- looked after ---------------------------------------------------------------------------------


async def in_doubt(tmp_path: Path, shopper: FakeShopper) -> str:
    """A session whose end is not proven, left by a process that is gone."""
    shopper.inject("create", first(DestroyFails()), None)
    async with quick_orchestrator(tmp_path, shopper.url, **QUICK) as orchestrator:
        session = await serving(orchestrator)
        age(shopper.sessions[session])
        with pytest.raises(ReleaseUnconfirmed):
            await orchestrator.sessions.destroy(session)
    return session


async def test_the_user_who_has_looked_settles_it(tmp_path: Path, shopper: FakeShopper) -> None:
    session = await in_doubt(tmp_path, shopper)
    async with quick_orchestrator(tmp_path, shopper.url, **QUICK) as orchestrator:
        row = await orchestrator.sessions.confirm_gone(session)
        assert (row.billing, row.doubt) == ("released", "")
        (row,) = await orchestrator.sessions.rows()
        assert (row.billing, row.doubt) == ("released", "")
        # Once settled it stays so.
        assert (await orchestrator.sessions.destroy(session)).billing == "released"
    rental, kinds = await journaled(tmp_path, session)
    assert rental.released_at is not None and keys(tmp_path) == []
    assert kinds[-1] is LedgerKind.RELEASED


async def test_what_runs_cannot_have_been_seen_gone(tmp_path: Path, shopper: FakeShopper) -> None:
    async with quick_orchestrator(tmp_path, shopper.url, **QUICK) as orchestrator:
        session = await serving(orchestrator)
        with pytest.raises(UsageError, match="its end was not requested"):
            await orchestrator.sessions.confirm_gone(session)
        assert (await orchestrator.sessions.destroy(session)).billing == "released"


async def test_it_is_asked_for_again_and_not_for_ever(tmp_path: Path, shopper: FakeShopper) -> None:
    session = await in_doubt(tmp_path, shopper)
    for _ in range(7):
        async with quick_orchestrator(tmp_path, shopper.url, **QUICK) as orchestrator:
            await orchestrator.sessions.ask_again()
    rental, kinds = await journaled(tmp_path, session)
    assert rental.billing is Billing.UNKNOWN and rental.release_requests == 5
    assert kinds.count(LedgerKind.RELEASE_REQUESTED) == 5 and shopper.billing() == [session]


async def test_an_end_whose_process_was_killed_is_proven_at_the_next_look(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    async with quick_orchestrator(tmp_path, shopper.url, **QUICK) as orchestrator:
        session = await serving(orchestrator)
    async with journal_of(tmp_path) as journal:
        (rental,) = await journal.rentals()
        asked = replace(rental, billing=Billing.UNKNOWN, release_requests=1)
        await journal.save(asked)
        await journal.set_outcome(rental.deployment_id, "interrupted", 0)
    await shopper.market.destroy(session)
    async with quick_orchestrator(tmp_path, shopper.url, **QUICK) as orchestrator:
        (row,) = await orchestrator.sessions.rows()
    assert (row.billing, row.doubt) == ("released", "") and keys(tmp_path) == []


# -- never in silence, never beyond the limit -----------------------------------------------------


async def test_an_end_that_blocks_is_told_and_not_awaited_beyond_its_limit(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    flags: Flags = {"timeouts": {"http": 3, "rent": 60, "session": 10, "release": 6}}
    async with quick_orchestrator(tmp_path, shopper.url, **flags) as orchestrator:
        session = await serving(orchestrator)
        shopper.inject("delete", "hang", None)
        said: list[tuple[float, str]] = []
        began = time.monotonic()
        with pytest.raises(ReleaseUnconfirmed, match="no answer to that within 0:06"):
            await orchestrator.sessions.destroy(
                session, lambda text: said.append((time.monotonic() - began, text))
            )
        assert 5.5 < time.monotonic() - began < 8
        times = [0.0, *(at for at, _ in said), 6.0]
        assert max(b - a for a, b in itertools.pairwise(times)) <= 5
        assert all("of 0:06" in text and session in text for _, text in said)


async def test_an_end_that_was_cut_off_does_not_hold_the_next_one_up_in_silence(
    tmp_path: Path, shopper: FakeShopper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gdl.orchestrator.leasing.release_requests._STUCK_S", 0.4)
    flags: Flags = {"timeouts": {"http": 3, "rent": 60, "session": 10, "release": 600}}
    async with quick_orchestrator(tmp_path, shopper.url, **flags) as orchestrator:
        session = await serving(orchestrator)
        # As a process leaves it that is killed while it releases.
        shopper.sessions[session].status = "stopping"
        said: list[str] = []
        async with asyncio.timeout(10):
            with pytest.raises(ReleaseUnconfirmed, match="does not resume a release"):
                await orchestrator.sessions.destroy(session, said.append)
        assert any("it is stopping" in text for text in said)


async def test_who_does_not_wait_for_an_end_leaves_it_in_doubt(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    async with quick_orchestrator(tmp_path, shopper.url, **QUICK) as orchestrator:
        session = await serving(orchestrator)
        shopper.inject("delete", "hang")
        asking = asyncio.create_task(orchestrator.sessions.destroy(session))
        await wait_until(lambda: shopper.seen("DELETE", "/api/v1/sessions/"))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    rental, kinds = await journaled(tmp_path, session)
    assert (rental.billing, rental.seen) == (Billing.UNKNOWN, True)
    assert kinds[-1] is LedgerKind.RELEASE_UNCERTAIN and keys(tmp_path) != []
    async with quick_orchestrator(tmp_path, shopper.url, **QUICK) as orchestrator:
        await orchestrator.sessions.ask_again()
    assert shopper.billing() == [] and keys(tmp_path) == []


async def test_a_deployment_tells_what_its_release_waits_for(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("delete", "hang", None)
    flags: Flags = {"timeouts": {"http": 3, "rent": 60, "session": 10, "release": 5}}
    async with quick_orchestrator(tmp_path, shopper.url, **flags) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec())
        await until(
            orchestrator,
            ident,
            lambda e: isinstance(e, ev.PhaseChanged) and e.phase is Phase.STOPPING,
        )
        events = await told(orchestrator, ident)
    end = last(events)
    assert (end.kind, end.billing) == ("release_unconfirmed", Billing.UNKNOWN)
    waits = [p.text for p in of_type(events, ev.Progressed) if "of 0:05" in p.text]
    assert len(waits) >= 2 and keys(tmp_path) != []
