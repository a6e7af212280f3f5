"""The stand-in for RunPod answers as the marketplace does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncssh
import httpx
import pytest

from gdl.simulator import fault_models as fm
from market_stand_in import key, public_key, stand_in
from waiting import wait_until

AVAILABLE = {"include": "AVAILABILITY", "product": "POD", "cloud": "COMMUNITY"}


async def kinds(client: httpx.AsyncClient, **more: str) -> list[dict[str, Any]]:
    answer = await client.get("/v2/catalog/gpus", params={**AVAILABLE, **more})
    assert answer.status_code == 200, answer.text
    return [row for row in answer.json()["gpus"] if row["availability"] != "NONE"]


async def body(client: httpx.AsyncClient, **more: Any) -> dict[str, Any]:
    gpu = (await kinds(client))[0]
    return {
        "name": "gdl-1",
        "image": "ubuntu:24.04",
        "entrypoint": ["/bin/sh", "-c"],
        "cmd": ["apt-get install -y openssh-server && exec /usr/sbin/sshd -D"],
        "disk": 40,
        "ports": ["22/tcp"],
        "env": {"PUBLIC_KEY": public_key()},
        "cloud": "COMMUNITY",
        "gpu": {"id": gpu["id"], "count": 1},
        **more,
    }


async def rent(client: httpx.AsyncClient, **more: Any) -> httpx.Response:
    return await client.post("/v2/pods", json=await body(client, **more))


async def becomes(client: httpx.AsyncClient, ident: str, status: str) -> dict[str, Any]:
    async def there() -> bool:
        return bool((await client.get(f"/v2/pods/{ident}")).json().get("status") == status)

    await wait_until(there)
    row: dict[str, Any] = (await client.get(f"/v2/pods/{ident}")).json()
    return row


async def test_availability_needs_a_product_and_kinds_are_no_machines() -> None:
    async with stand_in("runpod") as (_, client):
        wrong = await client.get("/v2/catalog/gpus", params={"include": "AVAILABILITY"})
        assert wrong.status_code == 400
        assert wrong.headers["content-type"] == "application/problem+json"
        row = (await kinds(client))[0]
        assert {"id", "price", "memory", "availability", "cudaVersions"} <= set(row)
        assert "machine_id" not in row


async def test_a_pod_is_made_entered_and_gone(tmp_path: Path) -> None:
    async with stand_in("runpod", root=tmp_path, speed=20) as (market, client):
        made = await rent(client)
        ident = made.json()["id"]
        assert made.status_code == 201 and made.json()["ssh"]["direct"] is None
        assert market.bills(ident) == (False, True)
        row = await becomes(client, ident, "RUNNING")
        assert market.bills(ident) == (True, True) and row["cost"] > 0
        way = row["ssh"]["direct"]
        # The machine ends itself with its own key.
        words = 'curl -X DELETE -H "Authorization: Bearer $RUNPOD_API_KEY" '
        words += f"{market.url}/v2/pods/$RUNPOD_POD_ID"

        async def ended() -> bool:
            try:
                there = await asyncssh.connect(
                    way["host"], way["port"], username="root", client_keys=[key()],
                    known_hosts=None,
                )  # fmt: skip
            except asyncssh.PermissionDenied:
                return False
            async with there:
                await there.run(words)
            return True

        await wait_until(ended)
        await wait_until(lambda: market.rented() == [])
        gone = await client.get(f"/v2/pods/{ident}")
        assert gone.status_code == 404 and gone.json()["title"] == "Not Found"
        assert (await client.delete(f"/v2/pods/{ident}")).status_code == 404


@pytest.mark.parametrize("field", ["args", "startSsh", "interruptible"])
async def test_unknown_fields_are_refused(field: str) -> None:
    async with stand_in("runpod") as (market, client):
        answer = await rent(client, **{field: True})
        assert answer.status_code == 422 and answer.json()["errors"] == [f"{field}: unknown field"]
        assert market.rented() == []


async def test_nothing_answers_in_a_bare_image(tmp_path: Path) -> None:
    async with stand_in("runpod", root=tmp_path, speed=50) as (_, client):
        ident = (await rent(client, cmd=["sleep infinity"])).json()["id"]
        row = await becomes(client, ident, "RUNNING")
        way = row["ssh"]["direct"]
        with pytest.raises(OSError):
            await asyncssh.connect(way["host"], way["port"], known_hosts=None)


async def test_no_capacity_no_credit_and_too_new_a_driver() -> None:
    async with stand_in("runpod", fm.Stale()) as (market, client):
        answer = await rent(client)
        assert answer.status_code == 400 and list(answer.json()) == ["detail"]
        gpu = (await body(client))["gpu"]
        answer = await rent(client, gpu={**gpu, "minCudaVersion": "13.11"})
        assert answer.status_code == 400, "13.11 is above 13.0"
        market.account.credit = 0.0
        assert (await rent(client)).status_code == 402


async def test_each_pod_has_a_host_with_faults_of_its_own() -> None:
    async with stand_in("runpod", fm.SshDead(way="both", share=0.5)) as (market, client):
        for _ in range(24):
            await rent(client)
        broken = [c for c in market.contracts.values() if c.faults.first(fm.SshDead)]
        assert 4 < len(broken) < 20


async def test_pods_are_listed_in_pages_and_a_key_of_a_pod_is_for_it_alone() -> None:
    async with stand_in("runpod") as (market, client):
        made = [(await rent(client)).json()["id"] for _ in range(5)]
        first = (await client.get("/v2/pods", params={"limit": 3})).json()
        cursor = first["pagination"]["nextCursor"]
        assert first["pagination"]["hasNextPage"]
        rest = (await client.get("/v2/pods", params={"limit": 3, "cursor": cursor})).json()
        assert [row["id"] for row in first["pods"] + rest["pods"]] == made
        assert rest["pagination"] == {"nextCursor": None, "hasNextPage": False}
        own = {"Authorization": f"Bearer {market.contracts[made[0]].own_key}"}
        assert (await client.get("/v2/pods", headers=own)).status_code == 403
        assert (await client.delete(f"/v2/pods/{made[1]}", headers=own)).status_code == 403
        assert (await client.delete(f"/v2/pods/{made[0]}", headers=own)).status_code == 204


async def test_a_stopped_pod_bills_its_disk_and_the_wish_is_no_state() -> None:
    async with stand_in("runpod") as (market, client):
        ident = (await rent(client)).json()["id"]
        await becomes(client, ident, "RUNNING")
        await market.hosting.fall(market.contracts[ident], "exited")
        row = await becomes(client, ident, "EXITED")
        assert row["cost"] == 0.0 and market.bills(ident) == (False, True)
        query = {"query": f'query {{ pod(input: {{podId: "{ident}"}}) {{ desiredStatus }} }}'}
        told = (await client.post("/graphql", json=query)).json()["data"]["pod"]
        assert told["desiredStatus"] == "RUNNING"


async def test_network_volumes_are_tied_to_a_data_centre() -> None:
    async with stand_in("runpod") as (market, client):
        small = {"name": "w", "size": 5, "dataCenter": "EU-RO-1"}
        assert (await client.post("/v2/network-volumes", json=small)).status_code == 422
        made = await client.post("/v2/network-volumes", json={**small, "size": 100})
        ident = made.json()["id"]
        network = {"network": [{"volumeId": ident, "path": "/workspace"}]}
        secure = [k for k in await kinds(client, cloud="SECURE") if k["dataCenters"]]
        near = next(k for k in secure if "EU-RO-1" in {d["id"] for d in k["dataCenters"]})
        far = next(k for k in secure if "EU-RO-1" not in {d["id"] for d in k["dataCenters"]})
        for gpu, status in ((far, 400), (near, 201)):
            wanted = {"id": gpu["id"], "count": 1}
            answer = await rent(client, cloud="SECURE", gpu=wanted, mounts=network)
            assert answer.status_code == status
        assert (await client.delete(f"/v2/network-volumes/{ident}")).status_code == 409
        await client.delete(f"/v2/pods/{answer.json()['id']}")
        await wait_until(lambda: market.rented() == [])
        assert (await client.delete(f"/v2/network-volumes/{ident}")).status_code == 204


@pytest.mark.parametrize("made", [True, False])
async def test_a_lost_answer_may_have_made_a_pod(made: bool) -> None:
    fault = fm.Http(on="create", answer="cut", made=made)
    async with stand_in("runpod", fault) as (market, client):
        with pytest.raises(httpx.TransportError):
            await rent(client)
        assert len(market.rented()) == made
        charged = (await client.get("/v2/billing/pods")).json()["records"]
        assert [row["podId"] for row in charged] == market.rented()
