"""The vastai backend from the list of offers to the proof that a machine is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import httpx
import pytest

from gdl.backends.base import extend
from gdl.backends.vastai.backend import VastaiBackend
from gdl.bootstrap import open_orchestrator
from gdl.domain.errors import (
    BackendError,
    BackendRefused,
    BackendUnreachable,
    GdlError,
    MachineError,
    OfferGone,
    ReleaseUnconfirmed,
    RentAmbiguous,
    SessionGone,
    UsageError,
)
from gdl.domain.offers import Offer, OfferQuery
from gdl.domain.session import Session, SessionStatus
from gdl.settings import load as load_settings
from gdl.simulator.fault_models import (
    ContainerFails,
    DestroyFails,
    Http,
    Listed,
    NoAddress,
    Refused,
    Stale,
)
from gdl.simulator.markets import MarketStandIn
from gdl.simulator.scripted_answers import Received
from sandbox_support import isolate
from vastai_support import LABEL, ON_DEMAND, api, backend_of, keys, market, request, settings
from waiting import wait_until


@pytest.fixture
async def stand_in(tmp_path: Path) -> AsyncIterator[MarketStandIn]:
    async with market(tmp_path) as made:
        yield made


@pytest.fixture
async def vastai(stand_in: MarketStandIn, tmp_path: Path) -> AsyncIterator[VastaiBackend]:
    async with backend_of(stand_in, tmp_path) as made:
        yield made


def asked(stand_in: MarketStandIn, method: str, path: str) -> list[dict[str, object]]:
    """The bodies of all such requests."""
    return [r.body or {} for r in stand_in.received if r.method == method and path in r.path]


async def is_gone(stand_in: MarketStandIn, ident: str) -> None:
    await wait_until(lambda: ident not in stand_in.rented())


async def cheapest(vastai: VastaiBackend) -> Offer:
    return min(await vastai.offers(ON_DEMAND), key=lambda offer: offer.price_per_hour)


async def running(vastai: VastaiBackend, ident: str) -> Session:
    async def there() -> Session | None:
        session = await vastai.session(ident)
        return session if session.status is SessionStatus.RUNNING and session.ssh else None

    found = await wait_until(there)
    assert found is not None
    return found


# -- offers


async def test_an_offer_tells_what_there_is_to_pay(vastai: VastaiBackend) -> None:
    offers = await vastai.offers(ON_DEMAND)
    assert offers
    for offer in offers:
        terms = offer.terms
        assert terms is not None
        assert offer.price_per_hour == pytest.approx(
            terms.gpu_per_hour + terms.disk_gb * terms.disk_per_gb_hour
        )
        assert offer.host_id and offer.machine_id and offer.provider == "vastai"
        assert offer.vram_gb > 1 and terms.most_disk_gb and terms.down_mbps
        bigger = offer.with_disk(terms.disk_gb + 720)
        assert bigger.price_per_hour > offer.price_per_hour


async def test_all_pages_of_a_market_are_read_once(tmp_path: Path) -> None:
    async with market(tmp_path, offers=300) as big, backend_of(big, tmp_path) as vastai:
        offers = await vastai.offers(ON_DEMAND)
        assert len(offers) == 300
        searches = len(asked(big, "POST", "/bundles/"))
        assert 5 <= searches <= 24
        assert len(await vastai.offers(replace(ON_DEMAND, max_price=0.2))) == 300
        assert len(asked(big, "POST", "/bundles/")) == searches


async def test_a_list_is_fetched_again_when_it_is_no_longer_fresh(
    stand_in: MarketStandIn, tmp_path: Path
) -> None:
    time = [datetime.now(UTC)]
    async with backend_of(stand_in, tmp_path, now=lambda: time[0]) as vastai:
        await vastai.offers(ON_DEMAND)
        before = len(asked(stand_in, "POST", "/bundles/"))
        time[0] += timedelta(seconds=30)
        await vastai.offers(ON_DEMAND)
        assert len(asked(stand_in, "POST", "/bundles/")) == before
        time[0] += timedelta(seconds=300)
        await vastai.offers(ON_DEMAND)
        assert len(asked(stand_in, "POST", "/bundles/")) == 2 * before


async def test_the_next_command_takes_the_list_of_the_last_one(
    stand_in: MarketStandIn, tmp_path: Path
) -> None:
    time = [datetime.now(UTC)]
    async with backend_of(stand_in, tmp_path, now=lambda: time[0]) as first:
        offers = await first.offers(ON_DEMAND)
    searches = len(asked(stand_in, "POST", "/bundles/"))
    async with backend_of(stand_in, tmp_path, now=lambda: time[0]) as second:
        assert list(await second.offers(ON_DEMAND)) == [
            replace(offer, fetched_at=time[0]) for offer in offers
        ]
        assert len(asked(stand_in, "POST", "/bundles/")) == searches
        # Another kind of machines is another question, and another key's lists are not ours.
        await second.offers(OfferQuery(interruptible=True))
        assert len(asked(stand_in, "POST", "/bundles/")) > searches
    for file in (tmp_path / "data").glob("vastai-offers-*.json"):
        file.write_text('{"fetched_at": 7, "offers": [{}]')
    searches = len(asked(stand_in, "POST", "/bundles/"))
    async with backend_of(stand_in, tmp_path, now=lambda: time[0]) as third:
        assert len(await third.offers(ON_DEMAND)) == len(offers)
        assert len(asked(stand_in, "POST", "/bundles/")) > searches


async def test_requests_that_are_too_many_cut_a_list_and_do_not_lose_it(tmp_path: Path) -> None:
    async with market(tmp_path, offers=300) as big, backend_of(big, tmp_path) as vastai:
        count = 0

        async def third(asked: Received) -> None:
            nonlocal count
            count += "/bundles/" in asked.path
            if count == 3:
                big.draws.inject(Http(on="inventory", answer="429"), None)

        big.arrived(third)
        assert 64 < len(await vastai.offers(ON_DEMAND)) < 300


async def test_a_gpu_that_is_named_is_searched_for_by_name(tmp_path: Path) -> None:
    async with market(tmp_path, offers=300) as big, backend_of(big, tmp_path) as vastai:
        found = await vastai.offers(replace(ON_DEMAND, gpu="4090"))
        assert found and all("4090" in offer.gpu_name for offer in found)
        (search, *more) = asked(big, "POST", "/bundles/")
        assert search["gpu_name"] == {"in": ["RTX 4090"]} and len(more) <= 1


async def test_one_offer_is_asked_for_by_its_own_id(
    stand_in: MarketStandIn, tmp_path: Path
) -> None:
    async with backend_of(stand_in, tmp_path) as before:
        offer = await cheapest(before)
        kept = len(asked(stand_in, "POST", "/bundles/"))
        # What is in a list that is fresh is known.
        assert await before.offers(OfferQuery(offer_id=offer.id)) == [offer]
        assert len(asked(stand_in, "POST", "/bundles/")) == kept
    async with backend_of(stand_in, tmp_path) as vastai:
        await one_offer(stand_in, vastai, offer)


async def one_offer(stand_in: MarketStandIn, vastai: VastaiBackend, offer: Offer) -> None:
    before = len(asked(stand_in, "POST", "/bundles/"))
    found = await vastai.offers(OfferQuery(offer_id=offer.id))
    assert [each.id for each in found] == [offer.id]
    one = asked(stand_in, "POST", "/bundles/")[before:]
    assert [each["ask_contract_id"] for each in one] == [{"in": [int(offer.id)]}]
    # What cannot be an id asks for nothing.
    assert await vastai.offers(OfferQuery(offer_ids=("²", "x", "-1", ""))) == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"dph_base": 0, "dph_total": 0},
        {"dph_base": -1.0, "dph_total": -1.0},
        {"dph_base": 1e12, "dph_total": 1e12},
        {"dph_base": None, "dph_total": "free"},
        {"gpu_ram": None},
        {"id": None, "ask_contract_id": None},
    ],
)
async def test_offers_without_an_id_or_a_sane_price_are_dropped(
    fields: dict[str, object], stand_in: MarketStandIn, tmp_path: Path
) -> None:
    async with backend_of(stand_in, tmp_path) as before:
        victim = await cheapest(before)
        count = len(await before.offers(ON_DEMAND))
    stand_in.draws.inject(Listed(offers=(f"vastai-{victim.id}",), fields=fields), None)
    async with backend_of(stand_in, tmp_path / "later") as vastai:
        offers = await vastai.offers(ON_DEMAND)
        assert victim.id not in [offer.id for offer in offers]
        assert len(offers) == count - 1
        assert all(0 < offer.price_per_hour < 1000 for offer in offers)


async def test_searches_that_are_used_up_are_not_asked_for_again(
    stand_in: MarketStandIn, tmp_path: Path
) -> None:
    api(stand_in).search_quota = 0
    async with backend_of(stand_in, tmp_path) as vastai:
        for _ in range(3):
            with pytest.raises(
                BackendRefused, match=r"they are available again at 00:00 UTC"
            ) as caught:
                await vastai.offers(ON_DEMAND)
            assert caught.value.status == 429
            assert 0 < (caught.value.retry_after or 0) <= 86_400
        assert len(asked(stand_in, "POST", "/bundles/")) == 1


async def test_without_searches_left_the_kept_list_goes_on_and_so_do_rents(
    stand_in: MarketStandIn, tmp_path: Path
) -> None:
    time = [datetime.now(UTC)]
    async with backend_of(stand_in, tmp_path, now=lambda: time[0]) as vastai:
        offer = await cheapest(vastai)
        api(stand_in).search_quota = 0
        time[0] += timedelta(minutes=20)
        assert offer.id in [each.id for each in await vastai.offers(ON_DEMAND)]
        rented = await vastai.rent(request(offer))
        assert stand_in.rented() == [rented.session.id]
        time[0] += timedelta(hours=2)
        with pytest.raises(BackendRefused, match="used up"):
            await vastai.offers(ON_DEMAND)
        await vastai.release(rented.session.id)


# -- renting


async def test_rented_entered_by_two_ways_and_gone(
    stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    offer = (await cheapest(vastai)).with_disk(80)
    rented = await vastai.rent(request(offer, disk_gb=80))
    ident = rented.session.id
    assert rented.private_key is None and rented.identity_file is None
    assert rented.session.label == LABEL
    assert rented.session.price_per_hour == pytest.approx(offer.price_per_hour)
    (sent,) = asked(stand_in, "PUT", "/asks/")
    assert sent["cancel_unavail"] is True and sent["runtype"] == "ssh_direc ssh_proxy"
    assert sent["label"] == LABEL and sent["disk"] == 80 and sent["client_id"] == "me"
    assert "price" not in sent

    session = await running(vastai, ident)
    assert session.ssh is not None and session.ssh.user == "root"
    assert len(session.ssh_alternatives) == 1
    assert session.ssh_alternatives[0] != session.ssh
    assert [each.id for each in await vastai.labelled(LABEL)] == [ident]
    assert await vastai.labelled("gdl-another") == []
    assert not await vastai.absent(ident)
    assert not await vastai.absent("1", LABEL)

    await vastai.release(ident)
    await is_gone(stand_in, ident)
    with pytest.raises(SessionGone):
        await vastai.session(ident)
    assert await vastai.absent(ident, LABEL)
    await vastai.release(ident)


async def test_a_machine_that_somebody_else_took_is_asked_for_once(
    stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    forms: tuple[Literal["503", "404", "nodes"], ...] = ("503", "404", "nodes")
    for form in forms:
        offer = await cheapest(vastai)
        stand_in.draws.inject(Stale(offers=(f"vastai-{offer.id}",), form=form))
        with pytest.raises(OfferGone):
            await vastai.rent(request(offer))
        assert offer.id not in [each.id for each in await vastai.offers(ON_DEMAND)]
    assert stand_in.rented() == []
    assert len(asked(stand_in, "PUT", "/asks/")) == 3


async def test_an_offer_that_is_dearer_by_now_is_not_rented(
    stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    offer = await cheapest(vastai)
    cheaper = replace(offer, price_per_hour=offer.price_per_hour / 2)
    with pytest.raises(MachineError, match="now costs"):
        await vastai.rent(request(cheaper))
    assert asked(stand_in, "PUT", "/asks/") == []


async def test_a_refusal_that_made_a_machine_names_it(
    stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    stand_in.draws.inject(Refused(made=True))
    with pytest.raises(RentAmbiguous) as caught:
        await vastai.rent(request(await cheapest(vastai)))
    assert [caught.value.session_id] == stand_in.rented()


@pytest.mark.parametrize(
    "answer", ["timeout", "cut", "truncated", "garbage", "empty", "502", "503", "500"]
)
async def test_a_rent_request_without_an_answer_is_found_by_its_label(
    answer: str, stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    offer = await cheapest(vastai)
    stand_in.draws.inject(Http(on="create", answer=answer, made=True))  # type: ignore[arg-type]
    with pytest.raises(RentAmbiguous):
        await vastai.rent(request(offer))
    # Never twice: that would be a second machine.
    assert len(asked(stand_in, "PUT", "/asks/")) == 1
    (found,) = await vastai.labelled(LABEL)
    assert [found.id] == stand_in.rented()
    assert len(asked(stand_in, "POST", "/ssh/")) == 1
    session = await running(vastai, found.id)
    assert session.label == LABEL


async def test_a_key_that_is_not_taken_is_attached_at_a_later_look(
    stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    stand_in.draws.inject(Http(on="ssh-key", answer="500"), None)
    rented = await vastai.rent(request(await cheapest(vastai)))
    ident = rented.session.id
    assert stand_in.rented() == [ident]
    assert len(asked(stand_in, "POST", "/ssh/")) == 2
    stand_in.draws.heal()
    await vastai.session(ident)
    await vastai.session(ident)
    assert len(asked(stand_in, "POST", "/ssh/")) == 3


async def test_a_disk_that_takes_no_notes_does_not_lose_a_machine(
    stand_in: MarketStandIn, vastai: VastaiBackend, tmp_path: Path
) -> None:
    offer = await cheapest(vastai)
    notes = tmp_path / "data" / "vastai-accounts.jsonl"

    async def full(asked: Received) -> None:
        if asked.method == "PUT":
            notes.unlink()
            notes.mkdir()

    stand_in.arrived(full)
    rented = await vastai.rent(request(offer))
    assert stand_in.rented() == [rented.session.id]
    # Before anything is rented it is an error.
    with pytest.raises(GdlError, match="cannot write"):
        await vastai.rent(request((await vastai.offers(ON_DEMAND))[-1]))
    assert len(stand_in.rented()) == 1


async def test_no_credit_is_said_with_what_helps(tmp_path: Path) -> None:
    async with market(tmp_path, credit=0.0) as poor, backend_of(poor, tmp_path) as vastai:
        with pytest.raises(BackendRefused, match="lacks credit") as caught:
            await vastai.rent(request(await cheapest(vastai)))
        assert "billing" in caught.value.hint
        assert (await vastai.balance()).credit == 0
        assert [f.status for f in await vastai.check()] == ["ok", "ok"]


# -- bids


async def test_interruptible_machines_are_listed_and_rented_apart(
    stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    bids = await vastai.offers(OfferQuery(interruptible=True))
    assert bids and all(each.interruptible and each.terms for each in bids)
    on_demand = await vastai.offers(ON_DEMAND)
    assert not {each.id for each in bids} & {each.id for each in on_demand}
    assert not any(each.interruptible for each in on_demand)

    offer = min(bids, key=lambda each: each.price_per_hour)
    assert offer.terms is not None and offer.terms.bid is not None
    with pytest.raises(UsageError, match="no bid"):
        await vastai.rent(request(offer))
    with pytest.raises(UsageError, match="on demand"):
        await vastai.rent(request(on_demand[0], bid=0.5))
    with pytest.raises(MachineError, match="more than the bid"):
        await vastai.rent(request(offer, bid=offer.terms.bid / 2))
    assert asked(stand_in, "PUT", "/asks/") == []

    rented = await vastai.rent(request(offer, bid=offer.terms.bid * 1.1))
    (sent,) = asked(stand_in, "PUT", "/asks/")
    assert sent["price"] == offer.terms.bid * 1.1
    await running(vastai, rented.session.id)
    await stand_in.hosting.fall(stand_in.contracts[rented.session.id], "outbid")
    session = await vastai.session(rented.session.id)
    assert session.outbid and session.terminal and session.idle_price
    assert "outbid" in (session.error or "")
    assert stand_in.rented() == [session.id]


# -- sessions


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("exited", "its container ended"),
        ("offline", "no connection"),
        ("unknown", "does not answer"),
        ("frozen", "frozen"),
        ("stopped", "without our request"),
    ],
)
async def test_every_dead_state_is_told_in_words_with_what_it_costs(
    state: str, words: str, stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    rented = await vastai.rent(request(await cheapest(vastai)))
    ident = rented.session.id
    alive = await running(vastai, ident)
    await stand_in.hosting.fall(stand_in.contracts[ident], state)
    session = await vastai.session(ident)
    assert session.terminal and words in (session.error or "")
    assert session.idle_price is not None and session.idle_price > 0
    if state == "frozen":
        assert session.idle_price == pytest.approx(alive.price_per_hour)
    assert not await vastai.absent(ident, LABEL)


async def test_a_container_that_cannot_start_is_over(
    stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    stand_in.draws.inject(ContainerFails())
    rented = await vastai.rent(request(await cheapest(vastai)))

    async def over() -> Session | None:
        session = await vastai.session(rented.session.id)
        return session if session.terminal else None

    session = await wait_until(over)
    assert session is not None and "OCI runtime create failed" in (session.error or "")


async def test_a_machine_without_an_address_is_no_way_in(
    stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    stand_in.draws.inject(NoAddress())
    rented = await vastai.rent(request(await cheapest(vastai)))

    async def runs() -> Session | None:
        session = await vastai.session(rented.session.id)
        return session if session.status is SessionStatus.RUNNING else None

    session = await wait_until(runs)
    assert session is not None and session.ssh is None and session.ssh_alternatives == ()


async def test_what_the_official_client_rented_is_seen_and_released(
    stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    offer = await cheapest(vastai)
    async with httpx.AsyncClient(base_url=stand_in.url) as client:
        made = await client.put(
            f"/api/v0/asks/{offer.id}/",
            json={"client_id": "me", "image": "x", "disk": 10, "label": None},
            headers={"Authorization": f"Bearer {stand_in.key}"},
        )
    ident = str(made.json()["new_contract"])
    assert [(s.id, s.label) for s in await vastai.sessions()] == [(ident, "")]
    await vastai.release(ident)
    await is_gone(stand_in, ident)
    assert await vastai.sessions() == []


async def test_a_list_of_many_pages_is_read_whole(
    stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    offers = sorted(await vastai.offers(ON_DEMAND), key=lambda each: each.price_per_hour)[:27]
    if len(offers) < 27:
        pytest.skip("the fixed list is short")
    for number, offer in enumerate(offers):
        await vastai.rent(request(offer, label=f"gdl-{number}"))
    assert len(await vastai.sessions()) == 27
    assert not await vastai.absent("1", "gdl-26")
    stand_in.draws.inject(Http(on="sessions", answer="incomplete", without="instances"))
    with pytest.raises(BackendError):
        await vastai.absent("1", "gdl-27")


@pytest.mark.parametrize("answer", ["garbage", "empty", "truncated", "301", "500", "unrouted"])
async def test_a_list_that_cannot_be_had_proves_nothing(
    answer: str, stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    stand_in.draws.inject(Http(on="sessions", answer=answer), None)  # type: ignore[arg-type]
    with pytest.raises(BackendError):
        await vastai.absent("123", LABEL)
    stand_in.draws.inject(Http(on="session", answer=answer), None)  # type: ignore[arg-type]
    with pytest.raises(BackendError):
        await vastai.session("123")


async def test_a_destroy_that_is_refused_or_a_lie_is_no_release(
    stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    rented = await vastai.rent(request(await cheapest(vastai)))
    ident = rented.session.id
    stand_in.draws.inject(Http(on="delete", answer="lies"))
    await vastai.release(ident)
    assert not await vastai.absent(ident, LABEL)
    answers: tuple[Literal["429", "301", "garbage"], ...] = ("429", "301", "garbage")
    for answer in answers:
        stand_in.draws.inject(Http(on="delete", answer=answer))
        with pytest.raises(BackendError):
            await vastai.release(ident)
    assert stand_in.rented() == [ident]
    await vastai.release(ident)
    await is_gone(stand_in, ident)
    assert await vastai.absent(ident, LABEL)


async def test_a_destroy_that_fails_is_told(stand_in: MarketStandIn, vastai: VastaiBackend) -> None:
    stand_in.draws.inject(DestroyFails(times=1))
    rented = await vastai.rent(request(await cheapest(vastai)))
    with pytest.raises(BackendRefused):
        await vastai.release(rented.session.id)
    await vastai.release(rented.session.id)
    await is_gone(stand_in, rented.session.id)


# -- keys


async def test_a_wrong_key_is_said(stand_in: MarketStandIn, tmp_path: Path) -> None:
    async with backend_of(stand_in, tmp_path, key="wrong") as vastai:
        with pytest.raises(BackendRefused, match="Invalid user key") as caught:
            await vastai.offers(ON_DEMAND)
        assert "VAST_API_KEY" in caught.value.hint
        (finding,) = await vastai.check()
        assert finding.status == "fail" and "wrong" not in finding.detail + finding.hint


async def test_another_accounts_key_proves_nothing(stand_in: MarketStandIn, tmp_path: Path) -> None:
    other = replace(stand_in.account, key="k2", id=stand_in.account.id + 1)
    keys(stand_in).accounts["k2"] = other
    async with backend_of(stand_in, tmp_path) as ours:
        rented = await ours.rent(request(await cheapest(ours)))
    ident = rented.session.id
    async with backend_of(stand_in, tmp_path, key="k2") as theirs:
        assert await theirs.sessions() == []
        for ask in (
            theirs.absent(ident, ""),
            theirs.absent("", LABEL),
            theirs.labelled(LABEL),
            theirs.session(ident),
            theirs.release(ident),
        ):
            with pytest.raises(BackendRefused, match="another Vast"):
                await ask
    assert stand_in.rented() == [ident]
    # A new key of the same account is as good as the old one.
    keys(stand_in).accounts["k3"] = stand_in.account
    async with backend_of(stand_in, tmp_path, key="k3") as again:
        assert not await again.absent(ident, LABEL)
        await again.release(ident)
        await is_gone(stand_in, ident)
        assert await again.absent(ident, LABEL)


async def test_a_machine_can_be_given_a_key_for_its_own_end_alone(
    stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    offers = await vastai.offers(ON_DEMAND)
    one = (await vastai.rent(request(offers[0], label="a"))).session.id
    other = (await vastai.rent(request(offers[1], label="b"))).session.id
    end = await vastai.self_release(one)
    assert end.key is not None and end.key.reveal() not in repr(end)
    headers = {"Authorization": f"Bearer {end.key.reveal()}"}
    async with httpx.AsyncClient(headers=headers) as machine:
        assert (await machine.delete(end.url.replace(one, other))).status_code == 401
        assert (await machine.get(end.url)).status_code == 401
        assert (await machine.put(end.url, json={"state": "stopped"})).status_code == 401
        assert (await machine.request(end.method, end.url)).status_code == 200
        await is_gone(stand_in, one)
        assert stand_in.rented() == [other]
        await vastai.revoke(end.ref)
        await vastai.revoke(end.ref)
        assert (await machine.delete(end.url)).status_code == 401
    first, second = await vastai.self_release(other), await vastai.self_release(other)
    # A key that nobody holds any more is worth nothing.
    assert first.ref != second.ref
    assert [str(key.id) for key in keys(stand_in).scoped.values()] == [second.ref]


# -- money and volumes


async def test_charges_and_price_rises(stand_in: MarketStandIn, vastai: VastaiBackend) -> None:
    rented = await vastai.rent(request(await cheapest(vastai)))
    ident = rented.session.id
    session = await running(vastai, ident)
    charges = await vastai.charges(datetime.now(UTC) - timedelta(days=1))
    assert {each.session_id for each in charges} == {ident}
    assert {each.kind for each in charges} <= {"gpu", "disk", "traffic"}
    assert sum(each.amount for each in charges) > 0
    report = await vastai.costs()
    assert report.total >= sum(each.amount for each in charges)
    assert report.by_provider == {"vastai": report.total} and report.session_count == 1

    assert await vastai.price_rises() == []
    stand_in.hosting.raise_price(stand_in.contracts[ident], 1.5)
    (rise,) = await vastai.price_rises()
    assert rise.session_id == ident and rise.price_per_hour == pytest.approx(session.price_per_hour)
    assert rise.new_price_per_hour > rise.price_per_hour


async def test_a_volume_is_made_used_and_deleted(
    stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    offer = await cheapest(vastai)
    volume = await vastai.make_volume(offer, "models", 20)
    assert volume.place == offer.machine_id and volume.price_per_hour > 0
    assert await vastai.volumes() == [volume]
    with pytest.raises(UsageError, match="already"):
        await vastai.make_volume(offer, "models", 20)
    rented = await vastai.rent(request(offer, volume=volume.id))
    with pytest.raises(BackendRefused):
        await vastai.delete_volume(volume.id)
    await vastai.release(rented.session.id)
    await is_gone(stand_in, rented.session.id)
    await vastai.delete_volume(volume.id)
    await vastai.delete_volume(volume.id)
    assert await vastai.volumes() == []


async def test_a_volume_whose_making_was_not_answered_is_found_by_its_name(
    stand_in: MarketStandIn, vastai: VastaiBackend
) -> None:
    offer = await cheapest(vastai)

    async def cut(asked: Received) -> None:
        if asked.method == "PUT":
            stand_in.draws.inject(Http(on="volumes", answer="cut", made=True))

    stand_in.arrived(cut)
    volume = await vastai.make_volume(offer, "models", 20)
    assert [each.id for each in await vastai.volumes()] == [volume.id]


async def test_nothing_answers(tmp_path: Path) -> None:
    vastai = VastaiBackend(settings("http://127.0.0.1:1", "k", tmp_path), pauses=(0.01,))
    with pytest.raises(BackendUnreachable):
        await vastai.offers(ON_DEMAND)
    (finding,) = await vastai.check()
    assert finding.status == "fail"
    await vastai.aclose()


# -- as the user sees it


async def test_a_machine_that_stands_still_is_shown_as_costing_and_can_be_destroyed(
    stand_in: MarketStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    async with backend_of(stand_in, tmp_path) as vastai:
        ident = (await vastai.rent(request(await cheapest(vastai)))).session.id
        await running(vastai, ident)
    await stand_in.hosting.fall(stand_in.contracts[ident], "stopped")
    told = load_settings(
        backend="vastai",
        data_dir=tmp_path / "data",
        vastai={"url": stand_in.url, "key": stand_in.key},
    )
    async with open_orchestrator(told) as orchestrator:
        (row,) = await orchestrator.sessions.rows()
        assert row.session.terminal and row.billing == "active" and not row.ended
        assert row.price_per_hour == row.session.idle_price
        assert row.price_per_hour < row.session.price_per_hour
        with pytest.raises(UsageError, match="its end was not requested"):
            await orchestrator.sessions.confirm_gone(ident)
        assert (await orchestrator.sessions.destroy(ident)).billing == "released"
    await is_gone(stand_in, ident)


async def test_what_the_market_lists_was_not_seen_gone(
    stand_in: MarketStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    async with backend_of(stand_in, tmp_path) as vastai:
        ident = (await vastai.rent(request(await cheapest(vastai)))).session.id
        await running(vastai, ident)
    told = load_settings(
        backend="vastai",
        data_dir=tmp_path / "data",
        timeouts={"release": 1},
        vastai={"url": stand_in.url, "key": stand_in.key},
    )
    stand_in.draws.inject(Http(on="delete", answer="500"), None)
    async with open_orchestrator(told) as orchestrator:
        with pytest.raises(ReleaseUnconfirmed):
            await orchestrator.sessions.destroy(ident)
        with pytest.raises(ReleaseUnconfirmed, match="the marketplace lists session"):
            await orchestrator.sessions.confirm_gone(ident)
        (row,) = await orchestrator.sessions.rows()
        assert row.billing != "released"
        stand_in.draws.heal()
        lines: list[str] = []
        assert (await orchestrator.sessions.destroy(ident, lines.append)).billing == "released"
        assert not [line for line in lines if "another machine" in line], "there was one alone"
    await is_gone(stand_in, ident)


async def test_a_machine_that_has_no_reserved_hours_is_not_said_to_be_extended(
    vastai: VastaiBackend,
) -> None:
    with pytest.raises(UsageError, match="no reserved hours to add to"):
        await extend(vastai, "1", 1)
