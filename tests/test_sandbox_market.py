"""The simulated market by itself: what is drawn, what machines are, what is left."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncssh
import httpx
import pytest

import sandbox_support as support
from deployment_support import last
from gdl.domain.offers import OfferQuery
from gdl.simulator import scenario as scenarios
from gdl.simulator.listings import gpus, listings, standard
from gdl.simulator.service import Service
from gdl.simulator.workspace import sweep
from local_processes import processes_carrying, processes_naming
from waiting import wait_until

pytestmark = pytest.mark.scenarios

BODY = {"consumer_id": "me", "workload_type": "ssh", "reservation_hours": 1}
SPEED = 50


def service(folder: Path, scenario: str = "calm", **more: Any) -> Service:
    return Service(scenarios.load(scenario), root=folder / "sandbox", **{"speed": SPEED, **more})


class Rented:
    """A session that runs, and a way in."""

    def __init__(self, client: httpx.AsyncClient, ident: str, key: str) -> None:
        self.client, self.ident, self.key = client, ident, key
        self.host, self.port = "", 0

    async def running(self) -> None:

        async def running() -> dict[str, Any] | None:
            row = await self.row()
            return row if row["status"] == "running" else None

        row = await wait_until(running)
        assert row is not None
        self.host, self.port, self.user = row["ssh_host"], row["ssh_port"], row["ssh_user"]

    async def row(self) -> dict[str, Any]:
        row: dict[str, Any] = (await self.client.get(f"/api/v1/sessions/{self.ident}")).json()
        return row

    def ssh(self) -> Any:
        return asyncssh.connect(
            self.host,
            self.port,
            username=self.user,
            client_keys=[asyncssh.import_private_key(self.key)],
            known_hosts=None,
            agent_path=None,
            config=None,
        )


async def rent(client: httpx.AsyncClient, offer_id: str) -> Rented:
    answer = await client.post("/api/v1/sessions", json={**BODY, "offer_id": offer_id})
    assert answer.status_code == 201, answer.text
    made = Rented(client, answer.json()["session"]["id"], answer.json()["ssh_private_key"])
    await made.running()
    return made


async def serve(conn: asyncssh.SSHClientConnection) -> None:
    """Start the simulated server, detached, and wait until it answers."""
    await conn.run(
        "uv venv --python 3.12 ./venv || python3 -m pip install --target ./uv uv"
        " && ./uv/bin/uv venv --python 3.12 ./venv; ./venv/bin/python -m pip install vllm==0.32.0;"
        " VLLM_API_KEY=k setsid ./venv/bin/python -m vllm.entrypoints.openai.api_server"
        " --model tiny-1b --port 8000 > log 2>&1 < /dev/null &"
    )

    async def answers() -> bool:
        return (await conn.run("curl -sf http://127.0.0.1:8000/health")).exit_status == 0

    await wait_until(answers)


# -- what is listed and drawn ----------------------------------------------------------------------


def test_the_standard_list_is_of_the_size_and_kind_of_a_real_one() -> None:
    offers = standard()
    assert len(offers) == 60 and len({o.id for o in offers}) == 60
    assert {o.provider for o in offers} == {"vastai", "tensordock", "bluelobster"}
    prices = [o.price for o in offers]
    assert 0.05 <= min(prices) < 0.06 and 4 < max(prices) <= 5
    # What marketplaces floor: 24 564 MiB is listed as 23, 81 559 as 79.
    assert {gpus()["RTX 4090"].listed_gb, gpus()["H100 SXM"].listed_gb} == {23, 79}
    assert {bool(o.machine and o.cuda) for o in offers if o.provider == "vastai"} == {True}


def test_more_offers_are_made_from_the_seed() -> None:
    many = listings(10_000, seed=3)
    assert len({o.id for o in many}) == 10_000
    assert many == listings(10_000, seed=3) != listings(10_000, seed=4)
    assert len(listings(5, 0)) == 5


def test_the_same_seed_draws_the_same_faults(tmp_path: Path) -> None:
    def drawn(seed: int) -> list[Any]:
        market = service(tmp_path, "chaos", seed=seed).market
        return [market.faults_of(o.id) for o in standard()]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)
    faulty = sum(bool(f) for seed in range(40) for f in drawn(seed)) / (40 * 60)
    assert 0.5 < faulty < 0.72
    assert {len(f) for f in drawn(7)} == {0, 1}


async def test_requests_go_wrong_in_the_same_order_for_a_seed(tmp_path: Path) -> None:
    async def statuses(seed: int) -> list[int]:
        path = tmp_path / "moody.toml"
        path.write_text(
            'title = "m"\n[[fault]]\nkind = "http"\non = "inventory"\nanswer = "500"\n'
            "times = 0\nshare = 0.5\n"
        )
        async with (
            service(tmp_path, str(path), seed=seed) as made,
            httpx.AsyncClient(base_url=made.url) as client,
        ):
            return [(await client.get("/api/v1/inventory")).status_code for _ in range(24)]

    first = await statuses(1)
    assert first == await statuses(1) and set(first) == {200, 500}
    assert first != await statuses(2)


# -- machines --------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="one loopback address for all machines")
async def test_two_machines_serve_on_the_same_port(tmp_path: Path) -> None:
    async with (
        service(tmp_path) as made,
        httpx.AsyncClient(base_url=made.url, timeout=20) as client,
    ):
        machines = [await rent(client, o.id) for o in standard()[:2]]
        assert len({m.host for m in machines}) == 2
        for machine in machines:
            async with machine.ssh() as conn:
                await serve(conn)
        for machine in machines:
            async with machine.ssh() as conn:
                listener = await conn.forward_local_port("127.0.0.1", 0, "127.0.0.1", 8000)
                async with httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{listener.get_port()}"
                ) as endpoint:
                    assert (await endpoint.get("/v1/models")).status_code == 401
                    headers = {"Authorization": "Bearer k"}
                    card = (await endpoint.get("/v1/models", headers=headers)).json()
                    assert card["data"][0]["simulated"] is True
                    metrics = (await endpoint.get("/metrics")).text
                    assert "vllm:num_requests_running" in metrics
                log = str((await conn.run("cat log")).stdout)
                assert "simulated" in log and "Application startup complete." in log
                assert "checkpoint shards: 100% Completed" in log
        with pytest.raises(ConnectionRefusedError), socket.socket() as probe:
            probe.settimeout(1)
            probe.connect(("127.0.0.1", 8000))
    assert processes_naming(str(tmp_path)) == []


async def test_a_machine_has_nothing_of_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("HOME", str(tmp_path / "the-owners"))
    async with (
        service(tmp_path) as made,
        httpx.AsyncClient(base_url=made.url, timeout=20) as client,
    ):
        machine = await rent(client, standard()[0].id)
        async with machine.ssh() as conn:
            shown = str((await conn.run("env; command -v gcc perl docker python3")).stdout)
            assert "secret" not in shown and "the-owners" not in shown
            assert "/usr/bin/gcc" not in shown
            assert (await conn.run("curl -s https://example.org")).exit_status == 6
            system = await conn.run("pip install vllm")
            assert "externally-managed-environment" in str(system.stderr)
            smi = str((await conn.run("nvidia-smi")).stdout)
            assert "RTX 3060" in smi and "simulated" in smi


async def test_the_key_of_one_machine_opens_no_other(tmp_path: Path) -> None:
    async with (
        service(tmp_path) as made,
        httpx.AsyncClient(base_url=made.url, timeout=20) as client,
    ):
        one, other = [await rent(client, o.id) for o in standard()[:2]]
        one.host, one.port = other.host, other.port
        with pytest.raises(asyncssh.PermissionDenied):
            async with one.ssh():
                pass


async def test_destroying_ends_what_runs_there(tmp_path: Path) -> None:
    async with (
        service(tmp_path) as made,
        httpx.AsyncClient(base_url=made.url, timeout=20) as client,
    ):
        machine = await rent(client, standard()[0].id)
        async with machine.ssh() as conn:
            await serve(conn)
        assert processes_naming(str(tmp_path)) != []
        assert (await client.delete(f"/api/v1/sessions/{machine.ident}")).status_code == 200
        assert processes_naming(str(tmp_path)) == []
        assert (await machine.row())["status"] == "stopped"
        assert list((tmp_path / "sandbox").glob("market-*/machine-*")) == []


# -- owners that die -------------------------------------------------------------------------------

_OWNER = """
import asyncio, sys
from pathlib import Path
from gdl.simulator.scenario import load
from gdl.simulator.service import Service
async def main():
    async with Service(load("calm"), root=Path(sys.argv[1]), speed=50) as made:
        print(made.url, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_what_a_killed_owner_left_is_ended_by_the_next(tmp_path: Path) -> None:
    root = tmp_path / "sandbox"
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(root)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    try:
        url = (await asyncio.to_thread(owner.stdout.readline)).strip()
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            machine = await rent(client, standard()[0].id)
            async with machine.ssh() as conn:
                await conn.run("setsid sleep 300 > /dev/null 2>&1 < /dev/null & sleep 0.05")
        assert await sweep(root) == 0, "its owner lives"
    finally:
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
        owner.stdout.close()
    assert processes_carrying(str(root))
    assert await sweep(root) == 1
    assert list(root.iterdir()) == []
    await wait_until(lambda: not processes_carrying(str(root)))


# -- the backend -----------------------------------------------------------------------------------


async def test_everything_shown_says_that_it_is_simulated(tmp_path: Path) -> None:
    async with support.sandbox(support.settings(tmp_path, "calm")) as (orchestrator, backend):
        offers = await backend.offers(OfferQuery())
        assert all("simulated" in o.location and o.backend == "sandbox" for o in offers)
        assert all("simulated" in (o.machine_id or "simulated") for o in offers)
        said = " ".join(f.detail for f in await backend.check())
        assert "simulated" in said and "nothing is rented" in said
        assert "simulated" in (await backend.costs()).note
        assert await orchestrator.sessions.rows() == []


async def test_a_sandbox_elsewhere_is_used_by_its_address(tmp_path: Path) -> None:
    async with service(tmp_path) as made:
        wanted = support.settings(tmp_path, "calm", sandbox={"url": made.url})
        async with support.sandbox(wanted) as (orchestrator, backend):
            events = await support.deployed(orchestrator)
            assert backend.service is None
            machines = [o.machine_id for o in await backend.offers(OfferQuery()) if o.machine_id]
            assert all(made.id in machine for machine in machines)
            assert last(events).outcome == "released"
        assert made.market.rented() == [] and len(made.market.sessions) == 1
