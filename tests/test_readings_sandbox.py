"""What gauges and estimates show, on a simulated machine: the whole way from its programs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import sandbox_support as support
from deployment_support import told, until
from gdl.domain import events as ev
from gdl.domain.benchmark import OWN_LOAD, BenchLoad
from gdl.domain.decisions import AfterServing
from gdl.domain.phase import Phase
from gdl.domain.spec import DeploymentSpec
from gdl.endpoint import health_checks
from gdl.orchestrator.endpoint import served_endpoint
from waiting import wait_until

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    support.isolate(monkeypatch, tmp_path)


async def once_the_log_says_so(
    probe: Callable[[], Awaitable[bool]], *, ended: asyncio.Event, nudge: asyncio.Event, **more: Any
) -> bool:
    """Nobody asks whether it serves before its log, which tells of every part, has come so far."""
    await nudge.wait()
    return await health_checks.wait_ready(probe, ended=ended, nudge=nudge, **more)


async def test_a_serving_machine_has_gauges_rounds_and_a_load_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served_endpoint, "wait_ready", once_the_log_says_so)
    async with support.sandbox(support.settings(tmp_path, "calm")) as (orchestrator, _):
        spec = DeploymentSpec("tinyllama", "sandbox", bench=False, after="hold")
        ident = await orchestrator.deployments.deploy(spec)
        assert await orchestrator.endpoints.estimates(ident) == {}
        await until(orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text)
        gpu = await wait_until(lambda: orchestrator.endpoints.readings(ident).gpu)
        assert gpu is not None and gpu.total_mib and gpu.share and gpu.percent is not None
        assert len(orchestrator.endpoints.readings(ident).rounds) == 1
        await orchestrator.endpoints.health(ident)
        rounds = orchestrator.endpoints.readings(ident).rounds
        assert [len(each.checks) for each in rounds] == [5, 5]
        assert rounds[0].at < rounds[1].at
        report = await orchestrator.benchmarks.bench(
            ident, BenchLoad(requests=6, concurrency=3, max_tokens=8)
        )
        assert (report.completed, report.concurrency, report.output_tokens) == (6, 3, 48)
        assert report.ttft_spread is not None and sum(report.ttft_spread.counts) == 6
        assert report.e2el_spread is not None and sum(report.e2el_spread.counts) == 6
        (kept,) = await orchestrator.benchmarks.kept()
        assert kept.workload == "own, 6 requests, out 8" and kept.report.e2el_spread is not None
        parts = orchestrator.deployments.state(ident).attempts[-1].parts
        assert dict(parts).keys() >= {"packages", "shards"}
        assert dict(parts)["packages"] == 1.0
        await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        events = await told(orchestrator, ident)
        assert orchestrator.endpoints.readings(ident).gpu is None
        again = await orchestrator.deployments.deploy(spec)
        usual = await orchestrator.endpoints.estimates(again)
        assert usual.keys() >= {Phase.RENTING, Phase.INSTALLING, Phase.LOADING, Phase.VERIFYING}
        # Measured once, so each is what it took then.
        phases = [(r.at, r.event.phase) for r in events if isinstance(r.event, ev.PhaseChanged)]
        took = {phase: (end - at).total_seconds() for (at, phase), (end, _) in pairwise(phases)}
        assert {phase: took[phase] for phase in usual} == pytest.approx(usual, abs=0.01)
        await orchestrator.deployments.cancel(again)
        await told(orchestrator, again)
    assert BenchLoad(8, 4, 64) == OWN_LOAD
