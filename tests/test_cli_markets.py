"""From the command line, on two marketplaces at once: through whatever hosts are like to a served
model, and to a release that is proven."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gdl.simulator import fault_models as fm
from gdl.simulator.listings import Listing, standard
from gdl.simulator.markets import KEY_VARIABLES, MarketStandIn
from gdl.simulator.scenario import load as scenario
from test_sandbox_cli import ENTRY, environment

pytestmark = pytest.mark.long


def cheap_hosts(count: int) -> list[Listing]:
    """So many of Vast.ai's, with GPUs of 24 GB."""
    fitting = [one for one in standard() if one.provider == "vastai" and one.vram_gb >= 23]
    return sorted(fitting, key=lambda one: one.price)[:count]


async def deploy(
    folder: Path, *words: str, markets: list[MarketStandIn]
) -> tuple[int, list[dict[str, Any]]]:
    """Exit status, and the events that were printed."""
    variables = {f"GDL_{one.name.upper()}__URL": one.url for one in markets}
    variables |= {KEY_VARIABLES[one.name]: one.key for one in markets}
    child = await asyncio.create_subprocess_exec(
        *(*ENTRY, "--backend", ",".join(one.name for one in markets), "deploy", "qwen3-0.6b"),
        *(
            "--min-vram",
            "20",
            "--max-attempts",
            "12",
            "--no-bench",
            "--destroy",
            "--json",
            "--yes",
            *words,
        ),
        env=environment(folder, **variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(500):
        out, err = await child.communicate()
    events = [json.loads(line) for line in out.decode().splitlines()]
    assert events, err.decode()
    return child.returncode or 0, events


@pytest.mark.minute
async def test_through_stale_taken_dead_and_stopped_machines_to_a_served_model(
    tmp_path: Path,
) -> None:
    calm = scenario("calm")
    async with (
        MarketStandIn(
            "vastai", calm, root=tmp_path / "vastai", speed=50, listed=cheap_hosts(5)
        ) as vast,
        MarketStandIn("runpod", calm, root=tmp_path / "runpod", speed=50) as pods,
    ):
        for fault in (
            fm.SshDead(way="both"),
            fm.Refused(made=True),
            fm.Stale(),
            fm.Falls(to="stopped", at="installing"),
            fm.Falls(to="offline", at="loading"),
        ):
            vast.draws.inject(fault)
        for pod_fault in (
            fm.Stale(),
            fm.ContainerFails(),
            fm.Falls(to="exited", at="installing"),
            fm.Http(on="create", answer="cut", made=True),
        ):
            pods.draws.inject(pod_fault)
        status, events = await deploy(tmp_path, markets=[vast, pods])
        end = events[-1]
        assert (status, end["outcome"], end["billing"]) == (0, "released", "released"), end
        tried = [event["backend"] for event in events if event["type"] == "attempt_started"]
        assert set(tried) == {"vastai", "runpod"} and len(tried) >= 4, end
        assert any(one.faults.first(fm.SshDead) for one in vast.contracts.values())
        assert (vast.rented(), pods.rented()) == ([], [])


async def test_outbid_while_it_is_set_up_the_next_one_serves(tmp_path: Path) -> None:
    calm = scenario("calm")
    async with MarketStandIn("vastai", calm, root=tmp_path / "vastai", speed=50) as vast:
        vast.draws.inject(fm.Falls(to="outbid", at="loading"))
        bid = ("--interruptible", "--bid", "1.0")
        status, events = await deploy(tmp_path, *bid, markets=[vast])
        end = events[-1]
        assert (status, end["outcome"], end["billing"]) == (0, "released", "released"), end
        assert [attempt["ended"] for attempt in end["attempts"]] == ["failed", "released"]
        assert all(contract.bid is not None for contract in vast.contracts.values())
        assert vast.rented() == []
