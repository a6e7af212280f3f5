"""The vastai backend and answers that no well-behaved marketplace gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr

from any_answers import bodies
from gdl.backends.vastai.backend import VastaiBackend
from gdl.backends.vastai.discovery import discover
from gdl.backends.vastai.keys import find_keys
from gdl.backends.vastai.states import Meaning, States, meaning
from gdl.domain.errors import (
    BackendError,
    BackendRefused,
    GdlError,
    MachineError,
    OfferGone,
    RentAmbiguous,
    SessionGone,
    UsageError,
)
from gdl.domain.offers import Offer, OfferTerms
from gdl.domain.session import SessionStatus
from gdl.settings import Settings, Vastai
from vastai_support import LABEL, ON_DEMAND, request

OFFER = Offer(
    *("123", "vastai", "vastai", "RTX 4090", 1, 24.0, 0.31),
    terms=OfferTerms(gpu_per_hour=0.3, disk_per_gb_hour=0.0002, disk_gb=50),
)
ROW = {
    "id": 123,
    "ask_contract_id": 123,
    "gpu_name": "RTX 4090",
    "num_gpus": 1,
    "gpu_ram": 24564,
    "dph_base": 0.3,
    "storage_cost": 0.144,
}
INSTANCE = {
    "id": 7,
    "actual_status": "running",
    "intended_status": "running",
    "cur_state": "running",
    "next_state": "running",
    "label": LABEL,
    "dph_total": 0.31,
    "num_gpus": 1,
    "gpu_name": "RTX 4090",
    "ssh_host": "ssh5.vast.ai",
    "ssh_port": 12345,
    "public_ipaddr": "203.0.113.9 ",
    "ports": {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": "41022"}]},
    "start_date": 1_795_000_000.5,
}

URL = "http://127.0.0.1:9"
Handler = Callable[[httpx.Request], httpx.Response]


def backend(handler: Handler, folder: Path, *, key: str | None = "k") -> VastaiBackend:
    told = Vastai(url=URL, key=None if key is None else SecretStr(key))
    made = Settings(data_dir=folder / "data", vastai=told)
    return VastaiBackend(made, transport=httpx.MockTransport(handler), pauses=(0.001, 0.001))


def answering(**answers: Any) -> Handler:
    """By the path's end: "asks", "bundles", "instance", "instances", "ssh", "current"; what is not
    named is answered as a healthy marketplace does."""
    good: dict[str, Any] = {
        "bundles": {"offers": [ROW]},
        "asks": {"success": True, "new_contract": 7},
        "ssh": {"success": True},
        "instance": {"instances": INSTANCE},
        "instances": {"instances": [INSTANCE], "total_instances": 1, "next_token": None},
        "current": {"id": 5, "credit": 3.5},
    }

    def handler(asked: httpx.Request) -> httpx.Response:
        parts = [part for part in asked.url.path.split("/") if part]
        assert asked.url.path.endswith("/")
        name = parts[2] if parts[2] in ("bundles", "asks", "charges", "volumes") else parts[-1]
        if parts[2] == "instances" and name.isdigit():
            name = "instance"
        found = answers.get(name, good.get(name, {"success": True}))
        return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)

    return handler


async def test_disk_whose_price_is_not_told_is_in_the_price_all_the_same(tmp_path: Path) -> None:
    row = {**ROW, "storage_cost": None, "dph_total": 0.31}
    vastai = backend(answering(bundles={"offers": [row]}), tmp_path)
    (offer,) = await vastai.offers(ON_DEMAND)
    assert offer.terms is not None and offer.price_per_hour == pytest.approx(0.31)
    twice = offer.with_disk(2 * offer.terms.disk_gb)
    assert twice.price_per_hour == pytest.approx(0.32)
    await vastai.aclose()


def said(status: int, **body: object) -> httpx.Response:
    return httpx.Response(status, json={"success": False, **body})


# -- the answer to a rent request


@pytest.mark.parametrize(
    ("answer", "kind", "session_id"),
    [
        ({"success": True, "new_contract": "7"}, None, None),
        ({"new_contract": 7}, None, None),
        ({"success": False, "new_contract": 7, "msg": "no"}, RentAmbiguous, "7"),
        (said(400, error="x", new_contract=7), RentAmbiguous, "7"),
        (said(500, error="x", new_contract=7), RentAmbiguous, "7"),
        ({"success": True}, RentAmbiguous, None),
        ({"success": True, "new_contract": None}, RentAmbiguous, None),
        ({"success": True, "new_contract": -1}, RentAmbiguous, None),
        ([7], RentAmbiguous, None),
        (httpx.Response(200, text="<html>"), RentAmbiguous, None),
        (httpx.Response(200, text='{"success": tru'), RentAmbiguous, None),
        (said(500, error="x"), RentAmbiguous, None),
        (httpx.Response(504, text="<html>"), RentAmbiguous, None),
        (said(400, error="invalid_args", msg="error 404/3603: no_such_ask"), OfferGone, None),
        (said(404, error="no_such_ask"), OfferGone, None),
        (said(200, error="no_such_ask"), OfferGone, None),
        (httpx.Response(410), OfferGone, None),
        (said(400, error="invalid_args", msg="disk"), MachineError, None),
        (said(400, error="insufficient_credit"), BackendRefused, None),
        (said(401, msg="Invalid user key"), BackendRefused, None),
        (said(403, msg="no"), BackendRefused, None),
        (said(404, msg="Session expired. Please log in again."), BackendRefused, None),
        (httpx.Response(404, text="<html>"), BackendRefused, None),
        # A proxy's words say nothing about an offer: what was made is looked for.
        (httpx.Response(404, text="upstream unavailable"), BackendRefused, None),
        (httpx.Response(301, headers={"Location": "/x"}), BackendRefused, None),
        (httpx.Response(429, text="API requests too frequent"), BackendRefused, None),
    ],
)
async def test_every_answer_to_a_rent_request_is_something(
    answer: object, kind: type[GdlError] | None, session_id: str | None, tmp_path: Path
) -> None:
    asks = 0
    inner = answering(asks=answer)

    def handler(asked: httpx.Request) -> httpx.Response:
        nonlocal asks
        asks += asked.method == "PUT"
        return inner(asked)

    vastai = backend(handler, tmp_path)
    if kind is None:
        rented = await vastai.rent(request(OFFER))
        assert rented.session.id == "7"
    else:
        with pytest.raises(kind) as caught:
            await vastai.rent(request(OFFER))
        assert type(caught.value) is kind and caught.value.hint
        if isinstance(caught.value, RentAmbiguous):
            assert caught.value.session_id == session_id
    assert asks == 1
    await vastai.aclose()


@pytest.mark.parametrize(
    ("answer", "own_words"),
    [
        (said(401, msg="Invalid user key"), True),
        (said(400, error="insufficient_credit"), True),
        (httpx.Response(429, text="API requests too frequent"), True),
        (httpx.Response(429, text="<html>too many"), False),
        (httpx.Response(429), False),
        (httpx.Response(404, text="upstream unavailable"), False),
        (httpx.Response(400, json={}), False),
        (httpx.Response(400), False),
    ],
)
async def test_only_the_services_own_words_say_that_nothing_was_made(
    answer: httpx.Response, own_words: bool, tmp_path: Path
) -> None:
    vastai = backend(answering(asks=answer), tmp_path)
    with pytest.raises(BackendRefused) as caught:
        await vastai.rent(request(OFFER))
    assert caught.value.own_words is own_words
    await vastai.aclose()


async def test_a_rented_machine_that_cannot_be_looked_at_is_rented(tmp_path: Path) -> None:
    vastai = backend(answering(instance=said(500, error="x")), tmp_path)
    rented = await vastai.rent(request(OFFER))
    assert rented.session.id == "7" and rented.session.status is SessionStatus.PROVISIONING
    await vastai.aclose()


# -- instances


async def test_both_ways_to_a_machine(tmp_path: Path) -> None:
    vastai = backend(answering(), tmp_path)
    session = await vastai.session("7")
    assert str(session.ssh) == "root@203.0.113.9:41022"
    assert [str(way) for way in session.ssh_alternatives] == ["root@ssh5.vast.ai:12345"]
    await vastai.aclose()
    none: list[Any] = [None, {}, [], {"22/tcp": None}, {"22/tcp": [{"HostPort": "x"}]}, "22/tcp"]
    for wrong in none:
        vastai = backend(answering(instance={"instances": {**INSTANCE, "ports": wrong}}), tmp_path)
        session = await vastai.session("7")
        assert str(session.ssh) == "root@ssh5.vast.ai:12345" and session.ssh_alternatives == ()
        await vastai.aclose()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"instances": None}, SessionGone),
        (said(404, error="no_such_instance"), SessionGone),
        ({"success": True}, BackendError),
        ({"instances": {**INSTANCE, "id": 8}}, BackendError),
        ({"instances": {"id": None}}, BackendError),
        (said(404, error="not_found"), BackendRefused),
        (httpx.Response(404, text="<html>"), BackendRefused),
        (said(404, msg="Session expired. Please log in again."), BackendRefused),
    ],
)
async def test_only_the_marketplaces_own_word_means_gone(
    answer: object, kind: type[GdlError], tmp_path: Path
) -> None:
    vastai = backend(answering(instance=answer), tmp_path)
    with pytest.raises(kind) as caught:
        await vastai.session("7")
    assert type(caught.value) is kind
    await vastai.aclose()


@pytest.mark.parametrize(
    "answer",
    [
        {"success": True},
        {"instances": None},
        {"instances": {}},
        {"instances": [], "total_instances": 1},
        {"instances": [{"label": "x"}]},
        {"instances": [INSTANCE], "next_token": "again"},
        {"instances": [], "next_token": 7},
        {"success": False, "error": "x"},
    ],
)
async def test_half_a_list_is_no_proof(answer: object, tmp_path: Path) -> None:
    vastai = backend(answering(instances=answer), tmp_path)
    with pytest.raises(BackendError):
        await vastai.absent("9")
    await vastai.aclose()


RUNNING: dict[str, Any] = {"intended": "running", "current": "running", "next": "running"}


@pytest.mark.parametrize(
    ("states", "status"),
    [
        (States(**RUNNING), SessionStatus.PROVISIONING),
        (States("created", **RUNNING), SessionStatus.PROVISIONING),
        (States("loading", **RUNNING), SessionStatus.PROVISIONING),
        (States("rebooting", **RUNNING), SessionStatus.PROVISIONING),
        (States("running", **RUNNING), SessionStatus.RUNNING),
        (States("dancing", **RUNNING), SessionStatus.UNKNOWN),
        (States("exited", **RUNNING), SessionStatus.FAILED),
        (States("created", **RUNNING, message="OCI runtime create failed"), SessionStatus.FAILED),
        (States("loading", **RUNNING, message="pulling"), SessionStatus.PROVISIONING),
        (States("running", intended="stopped"), SessionStatus.STOPPED),
        (States("stopped", **RUNNING), SessionStatus.STOPPED),
    ],
)
def test_states(states: States, status: SessionStatus) -> None:
    found = meaning(states)
    assert found.status is status
    assert bool(found.error) == (status in (SessionStatus.FAILED, SessionStatus.STOPPED))


def test_outbid_is_told_from_stopped() -> None:
    stopped: dict[str, Any] = {"intended": "stopped", "current": "stopped", "next": "stopped"}
    for actual in ("stopped", "exited", "running", ""):
        outbid: Meaning = meaning(States(actual, **stopped, bid=True, disk_price=0.01))
        assert outbid.outbid and outbid.idle_price == 0.01 and "$0.010/h" in (outbid.error or "")
        assert not meaning(States(actual, **stopped, bid=False)).outbid


# -- requests that are too many


async def test_a_storm_of_429_is_told_when_it_does_not_end(tmp_path: Path) -> None:
    left = [2]

    def handler(asked: httpx.Request) -> httpx.Response:
        if asked.url.path.endswith("/bundles/"):
            left[0] -= 1
            if left[0] >= 0:
                return httpx.Response(429, text="API requests too frequent")
        return answering()(asked)

    vastai = backend(handler, tmp_path)
    assert [offer.id for offer in await vastai.offers(ON_DEMAND)] == ["123"]
    await vastai.aclose()
    left[0] = 100
    vastai = backend(handler, tmp_path / "later")
    with pytest.raises(BackendRefused, match="too frequent") as caught:
        await vastai.offers(ON_DEMAND)
    assert caught.value.status == 429 and caught.value.retry_after is None
    assert left[0] == 97
    await vastai.aclose()


async def test_the_quota_returns_when_the_answer_says_so(tmp_path: Path) -> None:
    now = datetime(2026, 11, 28, 22, 0, tzinfo=UTC)
    at = datetime(2026, 11, 28, 23, 30, tzinfo=UTC)
    body = {"success": False, "error": "search_quota_exceeded", "msg": "x"}
    headers = {"X-RateLimit-Reset": str(int(at.timestamp())), "Date": "nonsense"}
    answer = httpx.Response(429, json=body, headers=headers)
    vastai = VastaiBackend(
        Settings(data_dir=tmp_path, vastai=Vastai(url=URL, key=SecretStr("k"))),
        transport=httpx.MockTransport(answering(bundles=answer)),
        now=lambda: now,
        pauses=(0.001,),
    )
    with pytest.raises(BackendRefused, match=r"23:30 UTC \(in 1 h 31 min\)") as caught:
        await vastai.offers(ON_DEMAND)
    assert caught.value.retry_after == 5400
    await vastai.aclose()


# -- keys


def test_keys_are_found_where_the_official_client_has_them(tmp_path: Path) -> None:
    folder = tmp_path / ".config" / "vastai"
    folder.mkdir(parents=True)
    nothing = Settings(data_dir=tmp_path, vastai=Vastai())
    environ = {"HOME": str(tmp_path)}
    assert find_keys(nothing, environ) == []
    (tmp_path / ".vast_api_key").write_text("oldest\n")
    (folder / "vast_api_key").write_text("filed\n")
    assert [k.secret.reveal() for k in find_keys(nothing, environ)] == ["filed"]
    (folder / "vast_tfa_key").write_text("session\n")
    found = find_keys(nothing, environ)
    assert [(k.secret.reveal(), k.passing) for k in found] == [("session", True), ("filed", False)]
    assert "session" not in repr(found)
    environ["VAST_API_KEY"] = "named"
    assert [k.secret.reveal() for k in find_keys(nothing, environ)] == ["named"]
    told = Settings(data_dir=tmp_path, vastai=Vastai(key=SecretStr("set")))
    assert [k.secret.reveal() for k in find_keys(told, environ)] == ["set"]
    environ["VAST_API_KEY"] = "pasted key"
    with pytest.raises(UsageError, match="characters that no key has"):
        find_keys(nothing, environ)
    elsewhere = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert [k.secret.reveal() for k in find_keys(nothing, elsewhere)] == ["oldest"]


async def test_the_accounts_key_takes_over_from_a_session_that_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".config" / "vastai"
    folder.mkdir(parents=True)
    (folder / "vast_tfa_key").write_text("session")
    (folder / "vast_api_key").write_text("account")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    used: list[str] = []

    def handler(asked: httpx.Request) -> httpx.Response:
        used.append(asked.headers["authorization"].removeprefix("Bearer "))
        if used[-1] == "session":
            return said(404, msg="Session expired. Please log in again.")
        return answering()(asked)

    vastai = backend(handler, tmp_path, key=None)
    assert await vastai.absent("9")
    assert await vastai.absent("9")
    assert used == ["session", "account", "account"]
    # What is the user's own stays.
    assert (folder / "vast_tfa_key").exists()
    await vastai.aclose()


async def test_discovery_asks_nobody_without_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    found = await discover(Settings(data_dir=tmp_path, vastai=Vastai(url=URL)))
    assert not found.usable and "VAST_API_KEY" in found.detail
    told = Settings(data_dir=tmp_path, vastai=Vastai(url=URL, key=SecretStr("k")))
    found = await discover(told)
    assert not found.usable and "nothing answers" in found.detail


# -- anything at all

_NAMES = """
    offers instances next_token total_instances success error msg new_contract id key results amount
    items type start end source credit volumes disk_space machine_id gpu_names ports dph_base label
    dph_total gpu_ram num_gpus status_msg actual_status start_date is_bid contract_id
    pending_price_increases new_gpu_costpersec old_gpu_costpersec
"""
BODIES = bodies(_NAMES.split())


@hypothesis_settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(status=st.sampled_from([200, 200, 200, 400, 404, 429, 500]), body=BODIES)
async def test_whatever_is_answered_is_an_answer_or_an_expected_error(
    status: int, body: dict[str, Any], tmp_path: Path
) -> None:
    text = json.dumps(body)
    vastai = VastaiBackend(
        Settings(data_dir=tmp_path, vastai=Vastai(url=URL, key=SecretStr("k"))),
        transport=httpx.MockTransport(lambda _: httpx.Response(status, text=text)),
        pauses=(0.0,),
    )
    since = datetime(2026, 1, 1, tzinfo=UTC)
    for ask in (
        vastai.offers(ON_DEMAND),
        vastai.sessions(),
        vastai.session("7"),
        vastai.absent("7", LABEL),
        vastai.release("7"),
        vastai.balance(),
        vastai.charges(since),
        vastai.costs(),
        vastai.price_rises(),
        vastai.volumes(),
        vastai.revoke("7"),
        vastai.self_release("7"),
    ):
        try:
            await ask
        except GdlError as error:
            assert error.message.isprintable() and len(error.message) < 1000
    await vastai.aclose()
