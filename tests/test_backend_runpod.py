"""The `runpod` backend against RunPod's interface, version 2: catalogue, pods, their end."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from any_answers import bodies
from gdl.backends import base
from gdl.backends.runpod.catalogue import Kind
from gdl.domain.errors import (
    BackendError,
    BackendRefused,
    BackendUnreachable,
    GdlError,
    MachineError,
    OfferGone,
    RentAmbiguous,
    SessionGone,
    UsageError,
)
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.session import RentRequest, SessionStatus, SshAddress
from runpod_support import (
    CONSUMER,
    KEY,
    URL,
    FakeRunpod,
    Scripted,
    answer,
    cut,
    gpu_row,
    pod_row,
    problem,
    unreachable,
)

PUBLIC = "ssh-ed25519 AAAAC3Nza gdl"


@pytest.fixture
def runpod(tmp_path: Path) -> FakeRunpod:
    return FakeRunpod(tmp_path)


async def offer_of(runpod: FakeRunpod, ident: str = "") -> Offer:
    offers = await runpod.backend().offers(OfferQuery(gpu_count=1))
    return next(offer for offer in offers if ident in ("", offer.id))


def request_for(offer: Offer, **changes: Any) -> RentRequest:
    told = {"label": "gdl-intent1", "public_key": PUBLIC, **changes}
    return RentRequest(offer, CONSUMER, 1, "org/model", **told)


# -- offers


async def test_a_kind_is_an_offer_for_each_cloud_and_number_of_gpus(runpod: FakeRunpod) -> None:
    runpod.gpus = [gpu_row(most=2), gpu_row("NVIDIA A40", "A40", memory=48, community=None)]
    offers = {offer.id: offer for offer in await runpod.backend().offers(OfferQuery())}
    assert list(offers) == [
        "runpod-secure-1x-NVIDIA_GeForce_RTX_4090",
        "runpod-secure-1x-NVIDIA_A40",
        "runpod-secure-2x-NVIDIA_GeForce_RTX_4090",
        "runpod-secure-2x-NVIDIA_A40",
        "runpod-secure-4x-NVIDIA_A40",
        "runpod-secure-8x-NVIDIA_A40",
        "runpod-community-1x-NVIDIA_GeForce_RTX_4090",
        "runpod-community-2x-NVIDIA_GeForce_RTX_4090",
    ]
    two = offers["runpod-community-2x-NVIDIA_GeForce_RTX_4090"]
    assert (two.backend, two.provider, two.location) == ("runpod", "runpod", "community cloud")
    assert (two.gpu_name, two.gpu_count, two.vram_gb, two.available) == ("RTX 4090", 2, 24, True)
    # A kind of machine, of which nobody knows yet which one it will be.
    assert two.machine_id is None and two.host_id is None
    # 2 x $0.34 and 50 GB at $0.10 a month; nothing for traffic.
    assert two.price_per_hour == pytest.approx(0.68 + 50 * 0.10 / 720)
    assert two.with_disk(200).price_per_hour == pytest.approx(0.68 + 200 * 0.10 / 720)
    assert two.terms is not None and two.terms.down_per_gb == 0
    asked = [dict(r.url.params) for r in runpod.asked("GET", "/v2/catalog/gpus")]
    assert len(asked) == 8
    assert {"include": "AVAILABILITY", "product": "POD", "cloud": "SECURE", "count": "4"} in asked


async def test_one_number_of_gpus_is_asked_for_alone(runpod: FakeRunpod) -> None:
    offers = await runpod.backend().offers(OfferQuery(gpu_count=3))
    assert {offer.gpu_count for offer in offers} == {3}
    assert len(runpod.asked("GET", "/v2/catalog/gpus")) == 2


async def test_what_is_sold_out_is_listed_as_that(runpod: FakeRunpod) -> None:
    runpod.gpus = [gpu_row(availability="NONE"), gpu_row("NVIDIA B", "B", availability="TONS")]
    offers = await runpod.backend().offers(OfferQuery(gpu_count=1))
    assert [(offer.gpu_name, offer.available) for offer in offers] == [
        ("RTX 4090", False),
        ("B", True),
    ] * 2


@pytest.mark.parametrize(("least", "available"), [(12.8, True), (13.0, False), (None, True)])
async def test_a_kind_without_such_drivers_is_not_available(
    runpod: FakeRunpod, least: float | None, available: bool
) -> None:
    offers = await runpod.backend().offers(OfferQuery(gpu_count=1, min_cuda=least))
    assert {offer.available for offer in offers} == {available}
    # The floor is asked for with the machine: none of the offers promises more.
    assert {offer.cuda_version for offer in offers} == {None}


async def test_where_the_account_has_a_volume_offers_are_listed_by_data_centre(
    runpod: FakeRunpod,
) -> None:
    for ident, place in (("v1", "EU-RO-1"), ("v2", "US-TX-1"), ("v3", "EU-RO-1")):
        runpod.volumes[ident] = {"id": ident, "name": "w", "size": 50, "dataCenter": place}
    offers = await runpod.backend().offers(OfferQuery(gpu_count=1))
    tied = [offer for offer in offers if offer.location == "EU-RO-1"]
    assert [offer.id for offer in tied] == ["runpod-secure-1x-NVIDIA_GeForce_RTX_4090@EU-RO-1"]
    # Nothing of that kind is to be had in Texas, and the community's machines mount no volumes.
    assert len(offers) == 3


async def test_volumes_that_cannot_be_listed_hide_no_offers(runpod: FakeRunpod) -> None:
    runpod.next("GET", "/v2/network-volumes", problem(403, "access denied"))
    assert len(await runpod.backend().offers(OfferQuery(gpu_count=1))) == 2


@pytest.mark.parametrize(
    "row",
    [
        None,
        7,
        {},
        gpu_row(""),
        gpu_row("A\x1b[2J"),
        gpu_row(memory=None),
        gpu_row(memory=0),
        gpu_row(secure=0.0001, community=None, price=None),
        gpu_row(price={"secure": 0, "community": "NaN"}),
        gpu_row(price={"secure": 1e9, "community": -1}),
        gpu_row(price={"dollars": 1}),
    ],
)
async def test_rows_that_cannot_be_trusted_are_dropped_and_counted(
    runpod: FakeRunpod, row: Any
) -> None:
    runpod.gpus = [row, gpu_row("NVIDIA B", "B")]
    backend = runpod.backend()
    offers = await backend.offers(OfferQuery(gpu_count=1))
    assert {offer.gpu_name for offer in offers} == {"B"}
    assert backend.dropped_offers == 1


async def test_fields_that_are_missing_or_null_are_put_up_with(runpod: FakeRunpod) -> None:
    bare: dict[str, Any] = {"id": "NVIDIA GeForce GTX 1", "memory": "8", "secure": True}
    runpod.gpus = [
        {**bare, "price": {"secure": 0.1}},
        gpu_row(name=None, availability=None, dataCenters=None, cudaVersions=7, maxCount=None),
    ]
    offers = await runpod.backend().offers(OfferQuery())
    assert [(offer.gpu_name, offer.gpu_count) for offer in offers] == [
        ("GTX 1", 1),
        ("RTX 4090", 1),
        ("RTX 4090", 1),
    ]


async def test_other_makers_gpus_are_no_offers(runpod: FakeRunpod) -> None:
    runpod.gpus = [gpu_row("AMD Instinct MI300X OAM", "MI300X", manufacturer="AMD")]
    assert await runpod.backend().offers(OfferQuery()) == ()


@pytest.mark.parametrize(
    "kind",
    [
        Kind("SECURE", 1, "NVIDIA GeForce RTX 4090"),
        Kind("COMMUNITY", 8, "NVIDIA A100-SXM4-80GB", "EU-RO-1"),
        Kind("SECURE", 2, "Odd_name (80%) / $HOME;`x` ü"),
    ],
)
def test_an_offers_id_says_what_to_ask_for_and_needs_no_quotes(kind: Kind) -> None:
    assert Kind.of(kind.offer_id) == kind
    assert all(c.isalnum() or c in "._%@-" for c in kind.offer_id) and kind.offer_id.isascii()


@pytest.mark.parametrize(
    "ident", ["", "vastai-1", "runpod-secure-0x-A", "runpod-spot-1x-A", "runpod-secure-1x-%41"]
)
def test_other_ids_are_none_of_its_offers(ident: str) -> None:
    assert Kind.of(ident) is None


# -- renting


async def test_the_rent_request_is_what_the_interface_knows(runpod: FakeRunpod) -> None:
    offer = await offer_of(runpod)
    rented = await runpod.backend().rent(request_for(offer, disk_gb=120, min_cuda=12.9))
    body = runpod.rent_body
    script = body.pop("cmd")
    assert body == {
        "name": "gdl-intent1",
        "image": "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404",
        "entrypoint": ["/bin/sh", "-c"],
        "disk": 120,
        "ports": ["22/tcp"],
        "env": {
            "PUBLIC_KEY": PUBLIC,
            "GDL_CONSUMER": CONSUMER,
            "GDL_PODS": f"{URL}/v2/pods",
        },
        "cloud": "SECURE",
        "gpu": {"id": "NVIDIA GeForce RTX 4090", "count": 1, "minCudaVersion": "12.9"},
    }
    # No key of ours is in it, nor that of the account anywhere.
    assert len(script) == 1 and "sshd" in script[0] and "AAAAC3Nza" not in script[0]
    assert KEY.encode() not in runpod.asked("POST", "/v2/pods")[0].content
    # The key is ours already: the answer brings none.
    assert rented.private_key is None and rented.identity_file is None and not rented.agent_auth
    assert rented.session.id == "pod1" and rented.session.label == "gdl-intent1"
    assert rented.session.status is SessionStatus.PROVISIONING


async def test_an_image_of_ones_own_brings_its_own_floor(runpod: FakeRunpod) -> None:
    offer = await offer_of(runpod)
    await runpod.backend().rent(request_for(offer, image="vllm/vllm-openai:v0.12.0"))
    assert runpod.rent_body["image"] == "vllm/vllm-openai:v0.12.0"
    assert runpod.rent_body["disk"] == 50
    assert runpod.rent_body["gpu"] == {"id": "NVIDIA GeForce RTX 4090", "count": 1}


async def test_a_pod_with_a_volume_is_made_where_the_volume_is(runpod: FakeRunpod) -> None:
    runpod.volumes["v1"] = {"id": "v1", "name": "w", "size": 50, "dataCenter": "EU-RO-1"}
    offer = await offer_of(runpod)
    await runpod.backend().rent(request_for(offer, volume="v1"))
    assert runpod.rent_body["mounts"] == {"network": [{"volumeId": "v1", "path": "/workspace"}]}
    assert runpod.rent_body["dataCenterIds"] == ["EU-RO-1"]
    with pytest.raises(UsageError, match="no volume v2"):
        await runpod.backend().rent(request_for(offer, volume="v2"))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (cut, "connection was cut"),
        (answer(201, text="<html>"), "names no pod"),
        (answer(201, {"status": "PROVISIONING"}), "names no pod"),
        (answer(201, {"id": "../x"}), "names no pod"),
        (answer(502, text="Bad gateway"), "HTTP 502"),
        (problem(500, "upstream failure"), "HTTP 500"),
        (answer(301, text="", location="https://elsewhere.test/v2/pods"), "HTTP 301"),
        (answer(404, text="<html>not here"), "HTTP 404"),
        (answer(400, {"message": "no"}), "HTTP 400"),
    ],
)
async def test_a_rent_request_that_is_not_answered_is_found_by_its_label(
    runpod: FakeRunpod, said: Scripted, words: str
) -> None:
    offer = await offer_of(runpod)
    runpod.next("POST", "/v2/pods", said, made=True)
    backend = runpod.backend()
    with pytest.raises(RentAmbiguous, match=words) as caught:
        await backend.rent(request_for(offer))
    assert caught.value.session_id is None
    # It went out once, and what it made bears its name.
    assert len(runpod.asked("POST", "/v2/pods")) == 1
    (made,) = await backend.labelled("gdl-intent1")
    assert made.id == "pod1" and not await backend.absent("", "gdl-intent1")


async def test_nothing_was_sent_where_nobody_answers(runpod: FakeRunpod) -> None:
    offer = await offer_of(runpod)
    runpod.next("POST", "/v2/pods", unreachable)
    with pytest.raises(BackendUnreachable):
        await runpod.backend().rent(request_for(offer))


NO_CAPACITY = "There are no longer any instances available with the requested specifications."


@pytest.mark.parametrize(
    ("status", "detail", "kind", "words"),
    [
        (400, NO_CAPACITY, OfferGone, "is not available now"),
        (404, "No GPU of that type is available", OfferGone, "is not available now"),
        (400, "mounts.network is not allowed here", MachineError, "HTTP 400"),
        (403, "access denied", MachineError, "may not rent"),
        (401, "invalid bearer token", BackendRefused, "HTTP 401"),
        (402, "insufficient balance", BackendRefused, "not enough credit"),
        (422, "Request validation failed.", BackendRefused, "HTTP 422"),
        (413, "too large", BackendRefused, "HTTP 413"),
    ],
)
async def test_a_refused_rent_request_has_made_nothing(
    runpod: FakeRunpod, status: int, detail: str, kind: type[GdlError], words: str
) -> None:
    offer = await offer_of(runpod)
    runpod.next("POST", "/v2/pods", problem(status, detail))
    with pytest.raises(kind, match=words) as caught:
        await runpod.backend().rent(request_for(offer))
    assert type(caught.value) is kind and caught.value.hint
    assert detail in caught.value.message and caught.value.message.isprintable()
    if kind is BackendRefused:
        assert isinstance(caught.value, BackendRefused) and caught.value.status == status
        assert caught.value.own_words


async def test_too_many_requests_say_when_to_come_again(runpod: FakeRunpod) -> None:
    offer = await offer_of(runpod)
    headers = {"retry-after": "12"}
    own = problem(429, "rate limit exceeded", **headers)
    for said in (own, answer(429, text="x", **headers)):
        runpod.next("POST", "/v2/pods", said)
        with pytest.raises(BackendRefused) as caught:
            await runpod.backend().rent(request_for(offer))
        # What another says does not tell that nothing was made.
        assert caught.value.own_words == (said is own)
        assert caught.value.retry_after == 12 and "12 s" in caught.value.hint


async def test_an_offer_of_another_market_is_gone(runpod: FakeRunpod) -> None:
    with pytest.raises(OfferGone):
        await runpod.backend().rent(request_for(Offer("vastai-1", "runpod", "x", "G", 1, 24, 1.0)))
    assert runpod.received == []


async def test_errors_are_one_line_without_the_key(runpod: FakeRunpod) -> None:
    said = problem(422, f"bad\n\x1b[31mtoken {KEY}", "gpu.count: must be >= 1", "x" * 900)
    runpod.next("GET", "/v2/pods", said)
    with pytest.raises(BackendRefused) as caught:
        await runpod.backend().sessions()
    message = caught.value.message
    assert message.isprintable() and len(message) < 400 and KEY not in message
    assert "bad token *** (gpu.count: must be >= 1;" in message


# -- pods


@pytest.mark.parametrize(
    ("changes", "status", "over"),
    [
        ({"status": "PROVISIONING"}, SessionStatus.PROVISIONING, False),
        ({"status": "STARTING"}, SessionStatus.PROVISIONING, False),
        ({}, SessionStatus.RUNNING, False),
        # Running, but its port is not mapped yet.
        ({"ssh": {"proxy": None, "direct": None}}, SessionStatus.PROVISIONING, False),
        ({"ssh": None}, SessionStatus.PROVISIONING, False),
        ({"status": "EXITED", "cost": 0.0}, SessionStatus.FAILED, True),
        ({"status": "ERROR"}, SessionStatus.FAILED, True),
        ({"status": "TERMINATED"}, SessionStatus.STOPPED, True),
        ({"status": "HIBERNATING"}, SessionStatus.UNKNOWN, False),
        ({"status": None}, SessionStatus.UNKNOWN, False),
    ],
)
async def test_the_states_of_a_pod(
    runpod: FakeRunpod, changes: dict[str, Any], status: SessionStatus, over: bool
) -> None:
    runpod.pods["p1"] = pod_row("p1", **changes)
    session = await runpod.backend().session("p1")
    assert (session.status, session.terminal) == (status, over)
    assert (session.ssh is not None) == (status is SessionStatus.RUNNING)


async def test_what_a_pod_tells(runpod: FakeRunpod) -> None:
    runpod.pods["p1"] = pod_row("p1", mounts={"persistent": {"size": 20, "path": "/w"}})
    session = await runpod.backend().session("p1")
    assert session.ssh == SshAddress("195.26.233.3", 34446, "root")
    assert (session.gpu_name, session.gpu_count) == ("RTX 4090", 1)
    assert (session.price_per_hour, session.label) == (0.69, "gdl-one")
    assert session.created_at == datetime(2026, 11, 28, 12, tzinfo=UTC)
    # Stopped, its disks would be billed on.
    assert session.idle_price == pytest.approx((50 * 0.10 + 20 * 0.20) / 720)
    assert session.host_known and session.error is None


@pytest.mark.parametrize(
    "direct",
    [
        {"host": "", "port": 1},
        {"host": "a b", "port": 22},
        {"host": "-oProxyCommand=x", "port": 22},
        {"host": "1.2.3.4", "port": 0},
        {"host": "1.2.3.4", "port": "22"},
        {"host": "1.2.3.4", "port": True},
        {"host": ["1.2.3.4"], "port": 22},
        [],
    ],
)
async def test_an_address_that_cannot_be_one_is_none(runpod: FakeRunpod, direct: Any) -> None:
    runpod.pods["p1"] = pod_row("p1", ssh={"direct": direct})
    session = await runpod.backend().session("p1")
    assert session.ssh is None and session.status is SessionStatus.PROVISIONING


async def test_all_pods_of_the_account_are_sessions_newest_first(runpod: FakeRunpod) -> None:
    for row in (
        pod_row("mine"),
        pod_row("newer", createdAt="2026-11-28T13:00:00Z"),
        pod_row("users-own", name="my training", env={}, createdAt="2026-11-28T11:00:00Z"),
        pod_row("colleagues", env={"GDL_CONSUMER": "other"}, createdAt="2026-11-28T10:00:00Z"),
        pod_row("untold", name=None, env=None, createdAt=None),
    ):
        runpod.pods[row["id"]] = row
    found = await runpod.backend().sessions()
    assert [(session.id, session.consumer_id, session.label) for session in found] == [
        ("newer", CONSUMER, "gdl-one"),
        ("mine", CONSUMER, "gdl-one"),
        ("users-own", "", "my training"),
        ("colleagues", "other", "gdl-one"),
        ("untold", "", ""),
    ]
    # All pages were read.
    assert [r.url.params.get("cursor") for r in runpod.asked("GET", "/v2/pods")] == [None, "2", "4"]


@pytest.mark.parametrize(
    "said",
    [
        answer(200, {"pods": []}),
        answer(200, {"pagination": {"hasNextPage": False}}),
        answer(200, {"pods": None, "pagination": {"hasNextPage": False}}),
        answer(200, {"pods": [{"name": "no id"}], "pagination": {"hasNextPage": False}}),
        answer(200, {"pods": [], "pagination": {"hasNextPage": True, "nextCursor": None}}),
        answer(200, {"pods": [], "pagination": {"hasNextPage": "soon"}}),
        answer(200, text='{"pods": [], "pagina'),
        answer(200, text=""),
        answer(200, text="<html>"),
        answer(301, text="", location="/v2/pods/"),
        problem(401, "invalid bearer token"),
    ],
)
async def test_a_list_that_is_not_whole_proves_nothing(runpod: FakeRunpod, said: Scripted) -> None:
    backend = runpod.backend()
    for ask in (
        backend.sessions,
        lambda: backend.absent("p1"),
        lambda: backend.labelled("gdl-one"),
    ):
        runpod.next("GET", "/v2/pods", said)
        with pytest.raises(BackendError) as caught:
            await ask()
        assert caught.value.hint and caught.value.message.isprintable()


async def test_pages_that_go_in_a_circle_are_an_error(runpod: FakeRunpod) -> None:
    again = answer(200, {"pods": [], "pagination": {"hasNextPage": True, "nextCursor": "1"}})
    runpod.next("GET", "/v2/pods", again, again)
    with pytest.raises(BackendError, match="next page"):
        await runpod.backend().absent("p1")


async def test_a_read_is_tried_again_and_a_rent_request_is_not(
    runpod: FakeRunpod, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def at_once(seconds: float) -> None:
        return None

    monkeypatch.setattr("gdl.backends.http.asyncio.sleep", at_once)
    runpod.next("GET", "/v2/pods", answer(503, text="x"), problem(429, "x", **{"retry-after": "1"}))
    assert await runpod.backend().sessions() == ()
    assert len(runpod.asked("GET", "/v2/pods")) == 3


# -- the end


async def test_a_pod_is_released_and_proven_absent(runpod: FakeRunpod) -> None:
    backend = runpod.backend()
    assert isinstance(backend, base.ProvesAbsence) and isinstance(backend, base.FindsByLabel)
    for ident in ("a", "b", "c", "d"):
        runpod.pods[ident] = pod_row(ident, name=f"gdl-{ident}")
    assert not await backend.absent("d", "gdl-d")
    await backend.release("d")
    await backend.release("d")
    assert await backend.absent("d", "gdl-d")
    with pytest.raises(SessionGone) as caught:
        await backend.session("d")
    assert caught.value.hint


async def test_absence_needs_the_list_and_the_pods_own_address(runpod: FakeRunpod) -> None:
    runpod.pods["p1"] = pod_row("p1")
    backend = runpod.backend()
    empty = answer(200, {"pods": [], "pagination": {"hasNextPage": False, "nextCursor": None}})
    runpod.next("GET", "/v2/pods", empty)
    assert not await backend.absent("p1")
    # Another pod of the same name is as much of a machine.
    assert not await backend.absent("gone", "gdl-one")
    # A stopped one bills its disk, and one that is listed as terminated may yet be ending.
    for status in ("EXITED", "TERMINATED"):
        runpod.pods["p1"]["status"] = status
        assert not await backend.absent("p1", "gdl-one")
    runpod.next("GET", "/v2/pods/p1", problem(404, "resource not found"))
    assert await backend.absent("", "gdl-one")


async def test_a_404_that_is_not_runpods_own_ends_nothing(runpod: FakeRunpod) -> None:
    backend = runpod.backend()
    for said in (
        answer(404, text="<html>"),
        answer(404, {"message": "no route"}),
        answer(404, {"detail": "Not Found"}),
        answer(404, {"title": "Not Found", "status": 200, "detail": "x"}),
    ):
        runpod.next("GET", "/v2/pods/p1", said)
        with pytest.raises(BackendRefused):
            await backend.session("p1")
        runpod.next("DELETE", "/v2/pods/p1", said)
        with pytest.raises(BackendRefused):
            await backend.release("p1")


@pytest.mark.parametrize("said", [problem(409, "the pod is busy"), problem(429, "x"), cut])
async def test_an_end_that_is_refused_or_not_answered_is_an_error(
    runpod: FakeRunpod, said: Scripted
) -> None:
    runpod.pods["p1"] = pod_row("p1")
    runpod.next("DELETE", "/v2/pods/p1", said)
    with pytest.raises(BackendError) as caught:
        await runpod.backend().release("p1")
    assert caught.value.hint and "p1" in runpod.pods


@pytest.mark.parametrize("ident", ["", "../pods", "a b", "p1?x=1"])
async def test_what_is_no_id_is_never_sent(runpod: FakeRunpod, ident: str) -> None:
    backend = runpod.backend()
    with pytest.raises(SessionGone):
        await backend.session(ident)
    await backend.release(ident)
    assert runpod.received == []


async def test_a_pod_can_end_itself_with_its_own_key(runpod: FakeRunpod) -> None:
    backend = runpod.backend()
    assert isinstance(backend, base.EndsFromMachine)
    ends = await backend.self_release("p1")
    assert (ends.method, ends.url) == ("DELETE", f"{URL}/v2/pods/p1")
    # The account's key does not reach the machine.
    assert ends.key is None and ends.key_variable == "RUNPOD_API_KEY" and not ends.ref
    await backend.revoke("")


def test_the_key_is_never_shown(runpod: FakeRunpod) -> None:
    backend = runpod.backend()
    shown = f"{backend!r} {vars(backend)!r} {backend.service_url}"
    assert KEY not in shown


async def test_a_host_that_answers_for_another_pod_is_not_believed(runpod: FakeRunpod) -> None:
    runpod.next("GET", "/v2/pods/p1", lambda r: httpx.Response(200, json=pod_row("p2")))
    with pytest.raises(BackendError, match="a pod other than"):
        await runpod.backend().session("p1")


# -- anything at all

_NAMES = """
    pods gpus networkVolumes records dataCenters pagination hasNextPage nextCursor id name status
    env ssh direct host port username gpu count mounts persistent size disk cost createdAt
    dataCenterId price secure community maxCount memory availability cudaVersions version available
    manufacturer title detail errors podId startTime endTime totalAmount gpuAmount diskAmount
    dataCenter
"""
BODIES = bodies(_NAMES.split())
LISTED = ("pods", "gpus", "networkVolumes", "records", "dataCenters")


@hypothesis_settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    status=st.sampled_from([200, 200, 200, 201, 400, 404, 500]), body=BODIES, whole=st.booleans()
)
async def test_whatever_is_answered_is_an_answer_or_an_expected_error(
    status: int, body: dict[str, Any], whole: bool, tmp_path: Path
) -> None:
    if whole:
        # As far as its rows.
        rows = {name: body[name] if isinstance(body.get(name), list) else [] for name in LISTED}
        body = {**body, **rows, "pagination": {"hasNextPage": False, "nextCursor": None}}
    text = json.dumps(body)
    runpod = FakeRunpod(tmp_path)
    backend = runpod.backend()
    runpod.everything = lambda _: httpx.Response(status, text=text)
    offer = Offer(Kind("SECURE", 1, "GPU").offer_id, "runpod", "runpod", "GPU", 1, 24, 1.0)
    for ask in (
        backend.offers(OfferQuery()),
        backend.rent(request_for(offer)),
        backend.rent(request_for(offer, volume="v1")),
        backend.sessions(),
        backend.session("p1"),
        backend.labelled("gdl-intent1"),
        backend.absent("p1", "gdl-intent1"),
        backend.release("p1"),
        backend.charges(datetime(2026, 1, 1, tzinfo=UTC)),
        backend.costs(),
        backend.volumes(),
        backend.make_volume(offer, "w", 10),
        backend.delete_volume("v1"),
        backend.self_release("p1"),
    ):
        try:
            await ask
        except GdlError as error:
            assert error.message.isprintable() and len(error.message) < 1000
    for finding in await backend.check():
        assert finding.detail.isprintable()
    await backend.aclose()
