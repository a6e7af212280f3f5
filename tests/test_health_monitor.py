"""The endpoint is watched while it serves: quick to notice, no false alarms."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from deployment_support import Simulation, last, of_type, spec, told, until
from gdl.domain import events as ev
from gdl.domain.decisions import AfterServing
from gdl.domain.health import Condition
from gdl.endpoint.health_monitor import HealthMonitor, Look, Meter
from gdl.engines.vllm.metrics import read_metrics
from gdl.orchestrator.service import Orchestrator
from market_support import held, kept, market

WELL = Look(200, latency_ms=2.0)
CUT = Look(None, connected=False)
CLOSED = Look(None, "the connection was closed in the middle")
HANGS = Look(None, "no full answer within 1.4 s")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def judged(*looks: Look, every: float = 0.4) -> list[tuple[Condition, str]]:
    """What is told after each look; nothing where nothing changed."""
    clock = Clock()
    monitor = HealthMonitor(clock)
    found = []
    for look in looks:
        if monitor.judge(look):
            found.append((monitor.condition, monitor.reason))
        clock.now += every
    return found


def conditions(*looks: Look, every: float = 0.4) -> list[Condition]:
    return [condition for condition, _ in judged(*looks, every=every)]


def test_one_failed_look_is_no_alarm() -> None:
    assert conditions(WELL, CLOSED, WELL, Look(500), WELL) == [Condition.HEALTHY]


@pytest.mark.parametrize(
    ("look", "condition", "words"),
    [
        (CLOSED, Condition.DEAD, "nothing listens"),
        (Look(None, "connection refused"), Condition.DEAD, "nothing listens"),
        (Look(503), Condition.DEAD, "the engine is dead"),
        (Look(500), Condition.DEGRADED, "HTTP 500"),
    ],
)
def test_two_looks_that_agree_are_one(look: Look, condition: Condition, words: str) -> None:
    first, second = judged(WELL, look, look)
    assert first == (Condition.HEALTHY, "")
    assert second[0] is condition and words in second[1]


def test_a_server_that_hangs_is_told_of_at_once_and_comes_back_after_two() -> None:
    assert conditions(WELL, HANGS, WELL, WELL) == [
        Condition.HEALTHY,
        Condition.DEGRADED,
        Condition.HEALTHY,
    ]


def test_a_server_whose_gpu_has_trouble_is_not_well() -> None:
    sick = Look(200, latency_ms=2.0, gpu="Xid 79 (fell off the bus)")
    assert judged(WELL, sick, sick, WELL, WELL) == [
        (Condition.HEALTHY, ""),
        (Condition.DEGRADED, "GPU: Xid 79 (fell off the bus)"),
        (Condition.HEALTHY, ""),
    ]
    assert conditions(WELL, sick, WELL) == [Condition.HEALTHY]


def test_a_connection_that_is_back_within_a_second_is_no_news() -> None:
    assert conditions(WELL, CUT, CUT, WELL, WELL) == [Condition.HEALTHY]
    assert conditions(WELL, CUT, CUT, CUT, CUT, WELL, WELL) == [
        Condition.HEALTHY,
        Condition.UNREACHABLE,
        Condition.HEALTHY,
    ]


def test_metrics_of_several_engines_are_added_up_and_nonsense_is_left_out() -> None:
    text = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
vllm:num_requests_waiting{engine="0",model_name="m"} NaN
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:kv_cache_usage_perc{engine="1",model_name="m"} 0.5
vllm:generation_tokens_total{engine="0",model_name="m"} 1.2e+03
vllm:generation_tokens_total{engine="1"
\x00\x1b[2J garbage
"""
    found = read_metrics(text)
    assert (found.running, found.waiting, found.kv_cache) == (5.0, None, 0.5)
    assert (found.generated, found.prompted) == (1200.0, None)


def test_speed_is_what_was_generated_between_two_readings() -> None:
    clock = Clock()
    meter = Meter(read_metrics, clock)
    for now, generated in ((0.0, 100), (2.0, 300), (4.0, 10)):
        clock.now = now
        meter.take(read_metrics(f"vllm:generation_tokens_total {generated}"))
        if now == 2.0:
            assert meter.tokens_per_s == 100.0
    # The server was started again: it counts from nothing, and never backwards.
    assert meter.tokens_per_s == 0.0


async def told_of(orchestrator: Orchestrator, ident: str, condition: Condition) -> None:
    await until(
        orchestrator,
        ident,
        lambda e: isinstance(e, ev.HealthChanged) and e.condition is condition,
    )


@pytest.mark.long
async def test_a_server_that_hangs_while_serving_is_noticed_and_so_is_its_return(
    sim: Simulation,
) -> None:
    async with market(sim) as (shopper, _), sim.orchestrator() as orchestrator:
        ident = await orchestrator.deployments.deploy(spec("shopper", after="hold"))
        await held(orchestrator, ident)
        attempt = orchestrator.deployments.attempt(ident)
        job = None if attempt is None else attempt.server.job
        assert job is not None and os.getpgid(job.pid) == job.pid != os.getpgid(0)
        os.killpg(job.pid, signal.SIGSTOP)
        await told_of(orchestrator, ident, Condition.DEGRADED)
        os.killpg(job.pid, signal.SIGCONT)
        await told_of(orchestrator, ident, Condition.HEALTHY)
        sample = orchestrator.endpoints.readings(ident).health
        assert sample is not None and sample.condition is Condition.HEALTHY
        await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        events = await told(orchestrator, ident)
        assert (
            last(events).outcome == "released"
            and orchestrator.endpoints.readings(ident).health is None
        )
        assert len(of_type(events, ev.HealthChanged)) == 2
        assert shopper.billing() == []


@pytest.mark.long
async def test_a_lost_connection_is_not_taken_for_a_dead_server(
    sim: Simulation,
) -> None:
    async with market(sim) as (_, cable), sim.orchestrator() as orchestrator:
        ident = await orchestrator.deployments.deploy(spec("shopper", after="hold"))
        await held(orchestrator, ident)
        await cable.pull()
        await told_of(orchestrator, ident, Condition.UNREACHABLE)
        await cable.plug()
        await told_of(orchestrator, ident, Condition.HEALTHY)
        await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        seen = [e.condition for e in of_type(await told(orchestrator, ident), ev.HealthChanged)]
        assert seen == [Condition.UNREACHABLE, Condition.HEALTHY]


@pytest.mark.long
async def test_the_command_line_watches_until_it_is_told_to_stop(
    sim: Simulation,
) -> None:
    async with market(sim) as (shopper, _):
        await kept(sim)
        (session,) = shopper.billing()
        words = ("-m", "gdl", "--backend", "shopper", "health", session, "--watch", "--json")
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, *words),
            env={
                **os.environ,
                "GDL_DATA_DIR": str(Path(sim.folder) / "data"),
                "GDL_SHOPPER_URL": shopper.url,
            },
            stdout=asyncio.subprocess.PIPE,
        )
        assert child.stdout is not None
        async with asyncio.timeout(30):
            first = json.loads(await child.stdout.readline())
        assert first["condition"] == "healthy" and first["at"] and first["latency_ms"] > 0
        async with asyncio.timeout(30):
            while not first["gpu"]:
                first = json.loads(await child.stdout.readline())
        assert "RTX 3090" in first["gpu"] and "1695/2100 MHz" in first["gpu"]
        child.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            assert await child.wait() == 0
        async with sim.orchestrator() as orchestrator:
            await orchestrator.sessions.destroy(session)
