"""The rental of a deployment: what is known of it when the journal cannot be written, and what
another process has written of it meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gdl.domain.errors import GdlError
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.session import Session, SessionStatus, SshAddress
from gdl.engines import registry
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.rental_record import RentalRecord
from gdl.orchestrator.leasing.release_record import requested
from gdl.orchestrator.machine.connection import Machine
from gdl.orchestrator.sessions.reconnect import Reconnector
from gdl.settings import Settings
from local_ports import free_port

ASKED = Rental(
    intent_id="i-1",
    deployment_id="d-1",
    attempt=1,
    backend="shopper",
    provider="vastai",
    offer_id="vast-1",
    consumer_id="me",
    price=0.3,
    requested_at=datetime(2026, 1, 1, tzinfo=UTC),
    billing=Billing.REQUESTED,
)
RENTED = replace(ASKED, session_id="s-1", billing=Billing.ACTIVE)
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    made = await Journal.open(tmp_path / "journal.sqlite")
    yield made
    await made.aclose()


def unwritable(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_rental: Rental) -> None:
        raise GdlError("the disk is full", "")

    monkeypatch.setattr(journal, "save", refuse)


async def test_nothing_is_intended_that_the_journal_does_not_take(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwritable(journal, monkeypatch)
    record = RentalRecord(journal)
    with pytest.raises(GdlError, match="disk is full"):
        await record.intend(ASKED)
    assert record.current is None


async def test_what_is_rented_is_known_whatever_the_journal_says(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = RentalRecord(journal)
    await record.intend(ASKED)
    unwritable(journal, monkeypatch)
    with pytest.raises(GdlError, match="disk is full"):
        await record.save(RENTED)
    assert record.current == RENTED
    await record.note(replace(RENTED, billing=Billing.UNKNOWN))
    assert record.current is not None and record.current.billing is Billing.UNKNOWN


async def test_both_are_written(journal: Journal) -> None:
    record = RentalRecord(journal)
    await record.intend(ASKED)
    await record.save(RENTED)
    (written,) = await journal.rentals()
    assert (written.session_id, written.billing) == ("s-1", Billing.ACTIVE)
    await record.settle(replace(ASKED, billing=Billing.NONE))
    assert record.current is None
    (written,) = await journal.rentals()
    assert written.billing is Billing.NONE


def released_by_another(rental: Rental) -> Rental:
    """As a process journals it that is asked to end what another one works on."""
    return replace(requested(rental, NOW), billing=Billing.UNKNOWN, doubt="not confirmed yet")


def moved() -> Session:
    """On an address where nobody listens."""
    there = SshAddress("127.0.0.1", free_port(), "root")
    return Session("s-1", "shopper", "vastai", SessionStatus.RUNNING, ssh=there)


async def kept_its_release(journal: Journal, session: Session) -> None:
    (written,) = await journal.rentals()
    assert session.ssh is not None
    assert (written.host, written.port, written.user) == ("127.0.0.1", session.ssh.port, "root")
    assert (written.release_requests, written.release_requested_at) == (1, NOW)
    assert (written.billing, written.doubt) == (Billing.UNKNOWN, "not confirmed yet")


async def test_an_address_of_a_deployment_leaves_a_release_of_another_process(
    journal: Journal, tmp_path: Path
) -> None:
    record = RentalRecord(journal)
    await record.intend(ASKED)
    await record.save(replace(RENTED, host_key_file=str(tmp_path / "pin")))
    assert record.current is not None
    await journal.save(released_by_another(record.current))
    session, deployment = moved(), _Deployment(record)
    machine = Machine(cast(Any, deployment), Settings(), rents=False)
    with pytest.raises(GdlError):
        await machine.connect(session)
    await machine.close()
    await kept_its_release(journal, session)


async def test_an_address_of_a_session_leaves_a_release_of_another_process(
    journal: Journal, tmp_path: Path
) -> None:
    rental = replace(RENTED, host_key_file=str(tmp_path / "pin"))
    await journal.save(rental)
    session = moved()

    async def answer(_ident: str) -> Session:
        await journal.save(released_by_another(rental))
        return session

    backend = cast(Any, SimpleNamespace(session=answer))
    reconnector = Reconnector(lambda _: backend, registry.get, journal, Settings(), lambda: NOW)
    with pytest.raises(GdlError):
        async with reconnector.entered(rental):
            pass
    await kept_its_release(journal, session)


async def test_what_the_journal_did_not_take_is_written_with_the_next_change(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = RentalRecord(journal)
    await record.intend(ASKED)
    with monkeypatch.context() as full:
        unwritable(journal, full)
        await record.note(RENTED)
    await record.change(replace(RENTED, work_dir="/srv"))
    (written,) = await journal.rentals()
    assert (written.session_id, written.work_dir) == ("s-1", "/srv")


async def test_a_change_of_what_the_journal_lacks_is_written_whole(journal: Journal) -> None:
    record = RentalRecord(journal)
    record.rented(RENTED)
    await record.change(replace(RENTED, work_dir="/srv"))
    (written,) = await journal.rentals()
    assert (written.session_id, written.work_dir) == ("s-1", "/srv")


class _Deployment:
    """As much of one as a connection asks for."""

    def __init__(self, record: RentalRecord) -> None:
        self.record = record

    @property
    def rental(self) -> Rental | None:
        return self.record.current

    async def note(self, *_: object) -> None: ...

    async def progress(self, _words: str) -> None: ...
