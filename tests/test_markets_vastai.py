"""The stand-in for Vast.ai answers as the marketplace does."""

from __future__ import annotations

import asyncio
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncssh
import httpx
import pytest

from gdl.simulator import fault_models as fm
from market_stand_in import key, public_key, stand_in
from waiting import wait_until

SEARCH = {
    "verified": {"eq": True},
    "rentable": {"eq": True},
    "rented": {"eq": False},
    "order": [["dph_base", "asc"]],
    "type": "on-demand",
    "allocated_storage": 5.0,
}
RENT = {
    "client_id": "me",
    "image": "vastai/base-image",
    "disk": 40,
    "label": "gdl-1",
    "runtype": "ssh_direc ssh_proxy",
    "cancel_unavail": True,
}


async def search(client: httpx.AsyncClient, **more: Any) -> list[dict[str, Any]]:
    answer = await client.post("/api/v0/bundles/", json={**SEARCH, **more})
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["offers"]
    return rows


async def rent(client: httpx.AsyncClient, place: int = 0, **more: Any) -> httpx.Response:
    offer = (await search(client))[place]
    return await client.put(f"/api/v0/asks/{offer['id']}/", json={**RENT, **more})


async def show(client: httpx.AsyncClient, ident: int) -> Any:
    return (await client.get(f"/api/v0/instances/{ident}/")).json()["instances"]


async def becomes(client: httpx.AsyncClient, ident: int, status: str) -> dict[str, Any]:
    async def there() -> bool:
        row = await show(client, ident)
        return row is not None and row["actual_status"] == status

    await wait_until(there)
    row: dict[str, Any] = await show(client, ident)
    return row


async def entered(client: httpx.AsyncClient) -> tuple[int, dict[str, Any]]:
    """Rent a machine that takes our key: (id, row) once it runs."""
    ident: int = (await rent(client)).json()["new_contract"]
    await client.post(f"/api/v0/instances/{ident}/ssh/", json={"ssh_key": public_key()})
    return ident, await becomes(client, ident, "running")


async def test_thousands_of_hosts_are_found_in_pages_of_64_by_their_price() -> None:
    async with stand_in("vastai", offers=1500) as (_, client):
        found: dict[int, float] = {}
        least = 0.0
        while True:
            rows = await search(client, dph_base={"gte": least}, limit=1000)
            assert len(rows) <= 64
            new = {row["id"]: row["dph_base"] for row in rows} | found
            if len(new) == len(found):
                break
            found, least = new, rows[-1]["dph_base"]
        assert len(found) == 1500


async def test_the_price_that_is_filtered_is_not_the_price_that_is_told() -> None:
    async with stand_in("vastai") as (_, client):
        (row,) = await search(client, limit=1, allocated_storage=1000)
        disk = 1000 * row["storage_cost"] / 30 / 24
        assert row["dph_total"] == pytest.approx(row["dph_base"] + disk)
        dearer = await search(client, dph_total={"lte": row["dph_base"]}, allocated_storage=1000)
        assert row["dph_total"] > row["dph_base"] and dearer[0]["id"] == row["id"]
        assert await search(client, id={"eq": row["id"]}) == []
        (quoted,) = await search(client, ask_contract_id={"eq": row["id"]})
        assert quoted["id"] == row["id"]
        wrong = await client.post("/api/v0/bundles/", json={"driver_version": {"gte": "550.54"}})
        assert wrong.status_code == 400


async def test_a_machine_is_rented_entered_both_ways_and_gone(tmp_path: Path) -> None:
    async with stand_in("vastai", root=tmp_path, speed=20) as (market, client):
        ident = (await rent(client)).json()["new_contract"]
        assert market.bills(str(ident)) == (False, True), "the disk bills from the beginning"
        row = await show(client, ident)
        assert row["label"] == "gdl-1" and row["ports"] is None
        attached = await client.post(
            f"/api/v0/instances/{ident}/ssh/", json={"ssh_key": public_key()}
        )
        assert attached.json()["success"]
        row = await becomes(client, ident, "running")
        assert market.bills(str(ident)) == (True, True)
        direct = (row["public_ipaddr"], int(row["ports"]["22/tcp"][0]["HostPort"]))
        for host, port in (direct, (row["ssh_host"], row["ssh_port"])):
            assert "GPU 0" in await on_machine(host, port, "nvidia-smi -L")
        assert (await client.delete(f"/api/v0/instances/{ident}/")).json()["success"]
        await wait_until(lambda: market.rented() == [])
        assert await show(client, ident) is None
        again = await client.delete(f"/api/v0/instances/{ident}/")
        assert again.status_code == 404 and again.json()["error"] == "no_such_instance"


async def test_a_script_at_the_start_lets_a_key_in(tmp_path: Path) -> None:
    script = f"mkdir -p ~/.ssh && echo '{public_key()}' >> ~/.ssh/authorized_keys"
    async with stand_in("vastai", root=tmp_path, speed=20) as (_, client):
        ident = (await rent(client, onstart=script)).json()["new_contract"]
        row = await becomes(client, ident, "running")
        assert "GPU 0" in await on_machine(row["ssh_host"], row["ssh_port"], "nvidia-smi -L")


async def test_what_is_left_to_run_at_the_start_runs_after_a_reboot(tmp_path: Path) -> None:
    async with stand_in("vastai", root=tmp_path, speed=20) as (_, client):
        ident, row = await entered(client)
        way = (row["ssh_host"], row["ssh_port"])
        await on_machine(
            way[0], way[1], "echo kept > file; echo 'echo $CONTAINER_ID > after' >> onstart.sh"
        )
        assert (await client.put(f"/api/v0/instances/reboot/{ident}/", json={})).is_success

        async def told() -> bool:
            return await on_machine(way[0], way[1], "cat file after") == f"kept\n{ident}\n"

        await wait_until(told)


async def test_machines_do_not_meet_in_tmp(tmp_path: Path) -> None:
    """Where the engine's log is, unless settings say."""
    async with stand_in("vastai", root=tmp_path / "a folder", speed=20) as (_, client):
        ways = []
        for name in ("first", "second"):
            _, row = await entered(client)
            ways.append((row["ssh_host"], row["ssh_port"]))
            script = f'set -- /tmp/of-{tmp_path.name}.log {name}\necho "$2" > "$1"'
            await on_machine(*ways[-1], shlex.join(["sh", "-c", script]))
        said = [await on_machine(*way, f"cat /tmp/of-{tmp_path.name}.log") for way in ways]
        assert said == ["first\n", "second\n"]
        shell = 'command=$(cat); exec /bin/sh -c "$command"'
        for way in ways:
            # One that is told what to do once it runs, as those of gdl-tui that wait for commands.
            told = f"cp  /tmp/of-{tmp_path.name}.log /tmp/to-{tmp_path.name}.log;\n cat"
            told += f" /tmp/to-{tmp_path.name}.log"
            said.append(await on_machine(*way, shell, told))
        assert said[2:] == said[:2]
    for name in ("of", "to"):
        assert not Path(f"/tmp/{name}-{tmp_path.name}.log").exists()


async def on_machine(host: str, port: int, command: str, input: str = "") -> str:
    async def entered() -> bool:
        try:
            async with asyncssh.connect(
                host, port, username="root", client_keys=[key()], known_hosts=None
            ):
                return True
        except asyncssh.PermissionDenied:
            return False

    await wait_until(entered)
    async with asyncssh.connect(
        host, port, username="root", client_keys=[key()], known_hosts=None
    ) as there:
        return str((await there.run(command, input=input)).stdout)


@pytest.mark.parametrize("way", ["direct", "proxy"])
async def test_one_of_the_two_ways_may_be_dead(tmp_path: Path, way: Any) -> None:
    fault = fm.SshDead(way=way)
    async with stand_in("vastai", fault, root=tmp_path, speed=20) as (_, client):
        _, row = await entered(client)
        direct = (row["public_ipaddr"], int(row["ports"]["22/tcp"][0]["HostPort"]))
        proxy = (row["ssh_host"], row["ssh_port"])
        dead, alive = (direct, proxy) if way == "direct" else (proxy, direct)
        with pytest.raises(OSError):
            await asyncssh.connect(*dead, known_hosts=None)
        assert "GPU 0" in await on_machine(alive[0], alive[1], "nvidia-smi -L")


async def test_a_taken_machine_is_an_error_or_a_stopped_one_that_bills_its_disk() -> None:
    async with stand_in("vastai", fm.Stale()) as (market, client):
        refused = await rent(client)
        assert refused.status_code == 400 and "3603: no_such_ask" in refused.text
        assert market.rented() == []
        made = await rent(client, cancel_unavail=False)
        ident = made.json()["new_contract"]
        assert made.json()["success"] and market.bills(str(ident)) == (False, True)
        row = await show(client, ident)
        assert row["actual_status"] == row["cur_state"] == row["intended_status"] == "stopped"


async def test_what_is_said_to_have_failed_may_bill() -> None:
    async with stand_in("vastai", fm.Refused(made=True)) as (market, client):
        answer = (await rent(client)).json()
        assert answer["success"] is False and market.rented() == [str(answer["new_contract"])]


@pytest.mark.parametrize(
    ("to", "told", "bills"),
    [
        ("frozen", ("frozen", "running"), (True, True)),
        ("exited", ("exited", "running"), (False, True)),
        ("offline", ("offline", "running"), (False, True)),
        ("outbid", ("stopped", "stopped"), (False, True)),
    ],
)
async def test_a_machine_falls_and_goes_on_billing(to: Any, told: Any, bills: Any) -> None:
    fault = fm.Falls(to=to, at="provisioning")
    async with stand_in("vastai", fault) as (market, client):
        offer = (await search(client, type="bid"))[0]
        body = {**RENT, "price": offer["min_bid"] * 1.1}
        made = await client.put(f"/api/v0/asks/{offer['id']}/", json=body)
        ident = made.json()["new_contract"]
        row = await becomes(client, ident, told[0])
        assert (row["actual_status"], row["cur_state"]) == told and row["is_bid"]
        if to != "frozen":
            assert market.bills(str(ident)) == bills


async def test_a_frozen_machine_bills_its_gpu() -> None:
    async with stand_in("vastai") as (market, client):
        ident = (await rent(client)).json()["new_contract"]
        await becomes(client, ident, "running")
        await market.hosting.fall(market.contracts[str(ident)], "frozen")
        assert (await show(client, ident))["actual_status"] == "frozen"
        assert market.bills(str(ident)) == (True, True)


async def test_a_container_that_cannot_start_stays_created() -> None:
    async with stand_in("vastai", fm.ContainerFails()) as (_, client):
        ident = (await rent(client)).json()["new_contract"]
        row = await becomes(client, ident, "created")
        assert "OCI runtime create failed" in row["status_msg"]


async def test_an_offer_to_bid_for_is_rented_on_demand_without_a_price() -> None:
    async with stand_in("vastai") as (_, client):
        offer = (await search(client, type="bid"))[0]
        made = await client.put(f"/api/v0/asks/{offer['id']}/", json=RENT)
        row = await show(client, made.json()["new_contract"])
        assert not row["is_bid"] and row["dph_base"] == offer["dph_base"]


async def test_the_list_is_told_in_pages_of_25() -> None:
    async with stand_in("vastai") as (market, client):
        for place in range(30):
            await rent(client, place if place < 2 else 0)
        first = (await client.get("/api/v1/instances/", params={"limit": 100})).json()
        assert len(first["instances"]) == 25 and first["total_instances"] == 30
        token = {"after_token": first["next_token"]}
        rest = (await client.get("/api/v1/instances/", params=token)).json()
        assert len(rest["instances"]) == 5 and rest["next_token"] is None
        ids = {str(row["id"]) for row in first["instances"] + rest["instances"]}
        assert ids == set(market.rented())


async def test_a_scoped_key_destroys_one_machine_and_does_nothing_else() -> None:
    async with stand_in("vastai") as (market, client):
        ident = (await rent(client)).json()["new_contract"]
        other = (await rent(client)).json()["new_contract"]
        only = {"api.instance": {"DELETE": {"constraints": {"id": {"eq": ident}}}}}
        made = await client.post(
            "/api/v0/auth/apikeys/",
            json={"name": "guard", "permissions": {"api": {"instance_write": only}}},
        )
        scoped = {"Authorization": f"Bearer {made.json()['key']}"}
        for method, path in (
            ("GET", f"/api/v0/instances/{ident}/"),
            ("GET", "/api/v1/instances/"),
            ("DELETE", f"/api/v0/instances/{other}/"),
            ("PUT", f"/api/v0/instances/{ident}/"),
            ("POST", "/api/v0/bundles/"),
            ("POST", "/api/v0/auth/apikeys/"),
        ):
            refused = await client.request(method, path, headers=scoped)
            assert refused.status_code == 401, path
        done = await client.delete(f"/api/v0/instances/{ident}/", headers=scoped)
        assert done.status_code == 200
        await wait_until(lambda: market.rented() == [str(other)])
        assert (await client.delete(f"/api/v0/auth/apikeys/{made.json()['id']}/")).is_success
        gone = await client.delete(f"/api/v0/instances/{other}/", headers=scoped)
        assert gone.status_code == 401


async def test_keys_and_accounts() -> None:
    async with stand_in("vastai", credit=0.0) as (market, client):
        wrong = await client.get("/api/v0/users/current/", headers={"Authorization": "Bearer no"})
        assert wrong.status_code == 401 and wrong.json()["msg"] == "Invalid user key"
        assert (await rent(client)).json()["error"] == "insufficient_credit"
        market.account.expired = True
        expired = await client.get("/api/v0/users/current/")
        assert expired.status_code == 404 and "Session expired" in expired.text


async def test_searches_of_a_day_are_counted() -> None:
    async with stand_in("vastai") as (market, client):
        assert market.vastai is not None
        market.vastai.search_quota = 1
        await search(client)
        refused = await client.post("/api/v0/bundles/", json=SEARCH)
        assert refused.status_code == 429
        assert refused.json()["error"] == "search_quota_exceeded"
        reset = int(refused.headers["X-RateLimit-Reset"])
        assert datetime.fromtimestamp(reset, UTC).strftime("%H:%M:%S") == "00:00:00"


async def test_a_path_without_its_last_slash_is_redirected_and_does_nothing() -> None:
    async with stand_in("vastai") as (market, client):
        ident = (await rent(client)).json()["new_contract"]
        answer = await client.delete(f"/api/v0/instances/{ident}")
        assert answer.status_code == 301
        assert market.rented() == [str(ident)]


@pytest.mark.parametrize("wait", [None, 2.0])
async def test_too_many_requests_are_plain_text(wait: float | None) -> None:
    fault = fm.Http(on="sessions", answer="429", retry_after=wait)
    async with stand_in("vastai", fault) as (_, client):
        answer = await client.get("/api/v1/instances/")
        assert answer.status_code == 429 and not answer.text.startswith("{")
        assert answer.headers.get("Retry-After") == (None if wait is None else "2")


@pytest.mark.parametrize("made", [True, False])
async def test_a_lost_answer_may_have_made_a_machine(made: bool) -> None:
    fault = fm.Http(on="create", answer="cut", made=made)
    async with stand_in("vastai", fault) as (market, client):
        with pytest.raises(httpx.TransportError):
            await rent(client)
        assert len(market.rented()) == made


async def test_a_destroy_is_refused_for_a_while_or_lied_about() -> None:
    refusing = fm.DestroyFails(seconds=20)
    lying = fm.Http(on="delete", answer="lies")
    async with stand_in("vastai", refusing, lying) as (market, client):
        ident = (await rent(client)).json()["new_contract"]
        path = f"/api/v0/instances/{ident}/"
        assert (await client.delete(path)).json()["success"], "it lies"
        assert (await client.delete(path)).status_code == 500
        assert market.rented() == [str(ident)]

        async def accepted() -> bool:
            return (await client.delete(path)).is_success

        await wait_until(accepted)
        await wait_until(lambda: market.rented() == [])


async def test_fields_are_nulled_renamed_or_lie() -> None:
    faults = (
        fm.Listed(fields={"dph_base": 0.0, "inet_down": None}),
        fm.Http(on="inventory", answer="nulled", without="offers.*.gpu_ram"),
        fm.Http(on="inventory", answer="renamed", without="offers.*.geolocation"),
    )
    async with stand_in("vastai", *faults) as (_, client):
        (first, *_) = await search(client)
        assert first["dph_base"] == 0.0 and "inet_down" not in first and first["gpu_ram"] is None
        (second, *_) = await search(client)
        assert "geolocation" not in second and "geolocation_v2" in second


async def test_a_price_rise_waits_for_an_answer() -> None:
    async with stand_in("vastai") as (market, client):
        ident = (await rent(client)).json()["new_contract"]
        contract = market.contracts[str(ident)]
        before = contract.gpu_price
        market.hosting.raise_price(contract, 2.0)
        rises = (await client.get("/api/v0/instances/pending-price-increases/")).json()
        (row,) = rises["pending_price_increases"]
        assert row["contract_id"] == ident
        assert row["new_gpu_costpersec"] == pytest.approx(before * 2 / 3600)
        body = {"pending_price_increase_id": row["pending_price_increase_id"]}
        path = "/api/v0/instances/accept-price-increase/"
        assert (await client.put(path, json=body)).json()["contract_id"] == ident
        assert contract.gpu_price == before * 2
        assert (await client.put(path, json=body)).status_code == 404


async def test_what_is_charged_adds_up_to_what_the_account_has_lost() -> None:
    async with stand_in("vastai", credit=10.0) as (market, client):
        ident = (await rent(client)).json()["new_contract"]
        await becomes(client, ident, "running")
        await asyncio.sleep(0.2)
        await client.delete(f"/api/v0/instances/{ident}/")
        await wait_until(lambda: market.rented() == [])
        params = {"select_filters": '{"day": {"gte": 0}}', "format": "tree"}
        (row,) = (await client.get("/api/v0/charges/", params=params)).json()["results"]
        assert row["source"] == f"instance-{ident}" and row["metadata"]["label"] == "gdl-1"
        assert {item["type"] for item in row["items"]} == {"gpu", "disk"}
        left = (await client.get("/api/v0/users/current/")).json()["credit"]
        assert 10 - row["amount"] == pytest.approx(left, abs=1e-5)


async def test_volumes_lie_on_a_machine_and_cost_until_they_are_deleted() -> None:
    async with stand_in("vastai") as (_, client):
        offer = (await search(client))[0]
        query = {"machine_id": {"eq": offer["machine_id"]}, "disk_space": {"gte": 1}}
        found = (await client.post("/api/v0/volumes/search/", json=query)).json()["offers"]
        body = {"id": found[0]["id"], "size": 50, "name": "weights"}
        made = (await client.put("/api/v0/volumes/", json=body)).json()
        listed = (await client.get("/api/v0/volumes/")).json()["volumes"]
        assert [row["machine_id"] for row in listed] == [offer["machine_id"]]
        params = {"id": made["new_contract"]}
        assert (await client.delete("/api/v0/volumes/", params=params)).json()["success"]
        assert (await client.get("/api/v0/volumes/")).json()["volumes"] == []
