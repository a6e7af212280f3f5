"""What is said of sessions that are ending, over, or not ours to enter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployment_support import last, told
from failover_support import quick_orchestrator
from gdl.domain.errors import UsageError
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.journal.store import Journal
from shopper_support import FakeShopper


@pytest.fixture
async def shopper() -> AsyncIterator[FakeShopper]:
    async with FakeShopper() as server:
        yield server


async def kept(shopper: FakeShopper, folder: Path) -> str:
    """A session that an earlier process of ours left serving; its id."""
    session_id = await shopper.rent_elsewhere("vastai-101")
    key = folder / "keys" / "i1.pem"
    key.parent.mkdir(parents=True)
    key.write_text("a key")
    journal = await Journal.open(folder / "journal.sqlite")
    await journal.save(
        Rental(
            intent_id="i1",
            deployment_id="d1",
            attempt=1,
            backend="shopper",
            provider="vastai",
            offer_id="vastai-101",
            consumer_id="tester",
            price=0.25,
            requested_at=datetime.now(UTC),
            billing=Billing.ACTIVE,
            session_id=session_id,
            model="org/model",
            served_name="model",
            key_file=str(key),
            host="203.0.113.7",
            service_url=shopper.url,
        )
    )
    await journal.aclose()
    return session_id


async def test_attaching_to_a_session_that_is_stopping_does_not_say_that_nothing_bills(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    session_id = await kept(shopper, tmp_path)
    shopper.sessions[session_id].status = "stopping"
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        ident = await orchestrator.deployments.attach(session_id)
        end = last(await told(orchestrator, ident))
    assert end.outcome == "failed" and "is stopping" in str(end.error)
    assert (end.billing, end.session_id) == (Billing.ACTIVE, session_id)
    assert shopper.billing() == [session_id]


async def test_a_session_without_its_key_is_listed_and_said_to_be_without(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    session_id = await shopper.rent_elsewhere("vastai-101")
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        (row,) = await orchestrator.sessions.rows()
        assert row.session.id == session_id and not row.ours and row.extends
        with pytest.raises(UsageError) as caught:
            await orchestrator.deployments.attach(session_id[:8])
        assert "its key is not on this computer" in caught.value.message
        assert f"gdl-tui destroy {session_id}" in caught.value.hint
        with pytest.raises(UsageError, match="no session nowhere"):
            await orchestrator.deployments.attach("nowhere")


async def test_a_session_whose_time_is_over_is_said_to_be_over(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    """The service gives no reason for such an end: its clock tells."""
    session_id = await kept(shopper, tmp_path)
    session = shopper.sessions[session_id]
    session.created -= timedelta(hours=1, seconds=5)
    shopper.end_by_itself(session_id, "")
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        ident = await orchestrator.deployments.attach(session_id)
        end = last(await told(orchestrator, ident))
    assert "its reserved time was over" in str(end.error)
    assert "gdl-tui extend" in str(end.hint)
