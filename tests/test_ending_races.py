"""Orders to release or keep that come while something else happens: each is heard and obeyed, or
refused; none is accepted and then forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deployment_support import Simulation, last, spec, told, until
from gdl.domain import events as ev
from gdl.domain.benchmark import BenchReport
from gdl.domain.decisions import AfterServing
from gdl.domain.errors import UsageError, VerificationError
from gdl.domain.phase import Billing
from gdl.orchestrator.endpoint import served_endpoint
from gdl.orchestrator.service import Orchestrator
from shopper_support import FakeShopper, listing


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulation:
    return Simulation(monkeypatch, tmp_path)


@asynccontextmanager
async def two_on_offer(sim: Simulation) -> AsyncIterator[FakeShopper]:
    sim.with_gpu()
    async with sim.machine() as (ssh, key):
        offers = [listing("vastai-101", price=0.10), listing("vastai-102", price=0.12)]
        async with FakeShopper(offers=offers, ssh=ssh, private_key=key) as shopper:
            sim.flags |= {"backend": "shopper", "shopper_url": shopper.url}
            yield shopper


def failed(event: ev.Event) -> bool:
    return isinstance(event, ev.AttemptFailed)


async def decided(orchestrator: Orchestrator, ident: str, decision: AfterServing) -> bool:
    """Whether it was accepted."""
    try:
        await orchestrator.deployments.decide(ident, decision)
    except UsageError:
        return False
    return True


@pytest.mark.parametrize("decision", list(AfterServing))
async def test_what_is_decided_as_its_measurement_fails_is_obeyed(
    sim: Simulation, monkeypatch: pytest.MonkeyPatch, decision: AfterServing
) -> None:
    """No other machine is rented then."""

    async def fails(*_: object) -> BenchReport:
        raise VerificationError("no answer", "look at it")

    monkeypatch.setattr(served_endpoint, "benchmark", fails)
    async with two_on_offer(sim) as shopper, sim.orchestrator() as orchestrator:
        wanted = spec("shopper", bench=True, after="hold", max_attempts=2)
        ident = await orchestrator.deployments.deploy(wanted)
        await until(orchestrator, ident, failed)
        await orchestrator.deployments.decide(ident, decision)
        end = last(await told(orchestrator, ident))
        assert len(shopper.seen("POST", "/api/v1/sessions")) == 1
        kept = decision is AfterServing.KEEP
        expected = ("serving", Billing.ACTIVE, 1) if kept else ("released", Billing.RELEASED, 0)
        assert (end.outcome, end.billing, len(shopper.billing())) == expected
