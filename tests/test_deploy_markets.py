"""Two marketplaces at once, from the command line's own parts: stand-ins with real SSH machines."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deployment_support import deployed, last, of_type, spec
from gdl.bootstrap import open_orchestrator
from gdl.domain import events as ev
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing
from gdl.orchestrator.service import Orchestrator
from gdl.settings import load
from gdl.simulator.fault_models import ContainerFails, Falls, Http, NoDriver, Stale
from gdl.simulator.markets import MarketStandIn
from gdl.simulator.scenario import load as load_scenario
from sandbox_support import isolate
from test_sandbox_cli import ENTRY, environment, gdl
from test_sandbox_markets import stand_ins

BOTH = "vastai,runpod"
TIMEOUTS = {"install": 30, "start": 30, "session": 30, "http": 5, "release": 40, "connect": 2}


@contextlib.asynccontextmanager
async def markets(
    folder: Path, **flags: Any
) -> AsyncIterator[tuple[Orchestrator, MarketStandIn, MarketStandIn]]:
    calm = load_scenario("calm")
    async with (
        MarketStandIn("vastai", calm, root=folder / "vastai", speed=100) as vast,
        MarketStandIn("runpod", calm, root=folder / "runpod", speed=100) as pods,
    ):
        settings = load(
            backend=BOTH,
            data_dir=folder / "data",
            vastai={"url": vast.url, "key": vast.key},
            runpod={"url": pods.url, "key": pods.key},
            timeouts=TIMEOUTS,
            **flags,
        )
        async with open_orchestrator(settings) as orchestrator:
            yield orchestrator, vast, pods
        assert (vast.rented(), pods.rented()) == ([], [])


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def wanted(**more: Any) -> Any:
    query = OfferQuery(model="qwen3-0.6b", min_vram_gb=20)
    return spec(BOTH, model="qwen3-0.6b", query=query, **more)


@pytest.mark.usefixtures("alone")
async def test_through_bad_machines_on_two_markets_to_a_served_model(tmp_path: Path) -> None:
    async with markets(tmp_path) as (orchestrator, vast, pods):
        assert orchestrator.open_ended == {"vastai", "runpod"}, "neither reserves hours"
        assert orchestrator.guarded == {"vastai", "runpod"}
        pods.draws.inject(Stale(), 1)
        pods.draws.inject(NoDriver(), 1)
        pods.draws.inject(Http.model_validate({"on": "create", "answer": "cut", "made": True}), 1)
        vast.draws.inject(ContainerFails(), 1)
        vast.draws.inject(Falls(to="exited", at="installing"), 1)
        ranked = await orchestrator.market.offers(OfferQuery(model="qwen3-0.6b"))
        assert {r.offer.backend for r in ranked} == {"vastai", "runpod"}
        events = await deployed(orchestrator, wanted(max_attempts=8))
        told = "\n".join(str(r.event) for r in events)
        assert (last(events).outcome, last(events).billing) == ("released", Billing.RELEASED), told
        tried = [a.backend for a in of_type(events, ev.AttemptStarted)]
        assert len(tried) >= 3 and set(tried) == {"vastai", "runpod"}, told
        assert await orchestrator.sessions.rows() == []


@pytest.mark.usefixtures("alone")
async def test_a_market_that_refuses_its_key_ends_nothing(tmp_path: Path) -> None:
    async with markets(tmp_path) as (orchestrator, vast, pods):
        vast.account.expired = True
        events = await deployed(orchestrator, wanted())
        told = "\n".join(str(r.event) for r in events)
        assert last(events).outcome == "released", told
        assert {a.backend for a in of_type(events, ev.AttemptStarted)} == {"runpod"}
        assert "vastai" in orchestrator.market.away
        assert len(pods.received) > 1


def test_killed_on_the_second_market_it_goes_on_there(tmp_path: Path) -> None:
    with stand_ins(tmp_path, "--scenario", "calm") as variables:
        away = {**variables, "GDL_VASTAI__URL": "http://127.0.0.1:9"}
        words = (
            "deploy",
            "tinyllama",
            "--backend",
            BOTH,
            "--destroy",
            "--json",
            "--no-bench",
            "-y",
        )
        running = subprocess.Popen(
            [*ENTRY, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**environment(tmp_path), **away},
        )
        assert running.stdout is not None
        with running.stdout:
            for line in running.stdout:
                event = json.loads(line)
                if event["type"] == "session_rented":
                    break
            running.send_signal(signal.SIGKILL)
            running.wait()
        ident = event["deployment_id"]
        listed = gdl(tmp_path, "sessions", "--backend", BOTH, "--json", **away)
        (row,) = (json.loads(each) for each in listed.stdout.splitlines())
        assert (row["backend"], row["deployment_id"], row["ours"]) == ("runpod", ident, True)
        assert "vastai is away" in listed.stderr
        done = gdl(tmp_path, "resume", ident, "--backend", BOTH, "--json", **away)
        assert done.returncode == 0, done.stderr
        end = json.loads(done.stdout.splitlines()[-1])
        assert (end["outcome"], end["billing"]) == ("released", "released")
        left = gdl(tmp_path, "sessions", "--backend", BOTH, "--json", **variables)
        assert left.stdout == "" and "away" not in left.stderr
