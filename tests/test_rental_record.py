"""The rental of a deployment: what is known of it when the journal cannot be written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gdl.domain.errors import GdlError
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.rental_record import RentalRecord

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
