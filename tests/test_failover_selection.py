"""Which offer comes next: hosts whose SSH fails, offers that are gone, and what was confirmed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployment_support import deployed, last, of_type, told, until
from deployment_support import spec as any_spec
from failover_support import fates, offers_tried, quick_orchestrator, spec, waits
from gdl.backends.ssh.backend import SshHostsBackend
from gdl.domain import events as ev
from gdl.domain.decisions import AfterFailure
from gdl.domain.offers import OfferQuery
from gdl.domain.spec import ConfirmedOffer
from gdl.orchestrator.run.tries import MOST_GONE
from gdl.orchestrator.service import Orchestrator
from gdl.settings import load
from gdl.simulator.fault_models import NeverReady, Refused
from shopper_support import FakeShopper, listing

MARKET = [listing(f"vastai-{n}", price=n / 1000, machine=n) for n in range(101, 107)]
"""One provider alone."""


@pytest.fixture
async def shopper() -> AsyncIterator[FakeShopper]:
    async with FakeShopper(offers=MARKET, ssh=("203.0.113.9", 22, "root")) as fake:
        yield fake


def dead(shopper: FakeShopper, *numbers: int, how: str = "ssh") -> dict[str, str]:
    return {f"vastai-{n}": how for n in numbers}


# -- hosts whose SSH fails -------------------------------------------------------------------------


async def test_others_are_tried_before_the_provider_of_a_dead_host_which_then_comes_back(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.list_offers(*MARKET[:3], listing("tensordock-301", price=0.5, machine=0))
    fate = fates(shopper, {"vastai-101": "ssh", "tensordock-301": "crash"})
    async with quick_orchestrator(tmp_path, shopper.url, fate=fate) as orchestrator:
        events = await deployed(orchestrator, spec())
        across = {(x.kind, x.key) for x in await orchestrator.market.exclusions()}
    assert offers_tried(events) == ["vastai-101", "tensordock-301", "vastai-102"]
    assert last(events).outcome == "released"
    (aside,) = [e for e in of_type(events, ev.ExclusionSet) if e.kind == "provider"]
    assert aside.aside and not aside.remembered and "vastai-machine-101" in aside.reason
    (back,) = of_type(events, ev.ExclusionLifted)
    assert back.key == "vastai" and "without the 1 host" in back.reason
    assert across == {("machine", "vastai-machine-101")}


async def test_one_market_alone_goes_on_over_stale_offers_and_dead_hosts(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", "stale", 2)
    fate = fates(shopper, dead(shopper, 103, 104, 105))
    async with quick_orchestrator(tmp_path, shopper.url, fate=fate) as orchestrator:
        events = await deployed(orchestrator, spec(max_attempts=4, exclude_provider_after=4))
    assert offers_tried(events) == [o.id for o in MARKET]
    assert last(events).outcome == "released" and shopper.billing() == []


async def test_after_the_last_machine_no_next_offer_is_promised(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", NeverReady(kind="never-ready", share=None, after=600.0), None)
    timeouts = {"http": 3.0, "rent": 5.0, "session": 0.3, "release": 3.0}
    async with quick_orchestrator(tmp_path, shopper.url, timeouts=timeouts) as orchestrator:
        end = last(await deployed(orchestrator, spec(max_attempts=2)))
    assert "not ready within" in str(end.error) and len(end.attempts) == 2
    assert end.hint == "2 machines were tried; `--max-attempts` sets how many"


async def test_a_provider_is_excluded_after_several_dead_hosts_until_it_is_included(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    fate = fates(shopper, dead(shopper, 101, 102, 103))
    async with quick_orchestrator(tmp_path, shopper.url, fate=fate) as orchestrator:
        end = last(events := await deployed(orchestrator, spec(max_attempts=5)))
        assert offers_tried(events) == ["vastai-101", "vastai-102", "vastai-103"]
        assert "3 from vastai after SSH errors on 3 hosts" in str(end.error)
        assert "`--include-provider vastai`" in str(end.hint)
    async with quick_orchestrator(tmp_path, shopper.url, fate=fate) as orchestrator:
        assert last(await deployed(orchestrator, spec())).kind == "no_suitable_offer"
        rows = await orchestrator.market.offers(OfferQuery())
        assert "until you include it" in str(rows[-1].excluded)
        events = await deployed(orchestrator, spec(include_providers=("vastai",)))
        assert offers_tried(events) == ["vastai-104"]
        assert offers_tried(await deployed(orchestrator, spec())) == ["vastai-104"]


async def test_a_host_that_could_be_entered_ends_the_count(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    fate = fates(shopper, {**dead(shopper, 101, 102, 104, 105), "vastai-103": "crash"})
    async with quick_orchestrator(tmp_path, shopper.url, fate=fate) as orchestrator:
        events = await deployed(orchestrator, spec(max_attempts=6))
    assert len(offers_tried(events)) == 6 and last(events).outcome == "released"


async def test_never_excluding_a_provider_is_possible(tmp_path: Path, shopper: FakeShopper) -> None:
    fate = fates(shopper, dead(shopper, 101, 102, 103, 104, 105))
    async with quick_orchestrator(tmp_path, shopper.url, fate=fate) as orchestrator:
        events = await deployed(orchestrator, spec(max_attempts=6, exclude_provider_after=0))
    assert last(events).outcome == "released"


# -- machines tried, and offers that were gone -----------------------------------------------------


async def test_offers_that_were_gone_are_no_machines_tried(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", "stale", 5)
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(max_attempts=1))
        events = await told(orchestrator, ident)
        assert orchestrator.deployments.state(ident).tried == 1
    assert offers_tried(events) == [o.id for o in MARKET]
    assert last(events).outcome == "released"


async def test_a_market_of_gone_offers_ends(tmp_path: Path, shopper: FakeShopper) -> None:
    shopper.list_offers(*(listing(f"vastai-{n}", machine=n) for n in range(100, 160)))
    shopper.inject("create", "stale", None)
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        end = last(await deployed(orchestrator, spec(max_attempts=2)))
    assert len(end.attempts) == MOST_GONE and end.kind == "offer_gone"
    assert f"{MOST_GONE} offers in a row were no longer available" in str(end.error)


# -- what is nobody's fault ------------------------------------------------------------------------


async def test_the_marketplaces_429_is_waited_out_on_the_same_offer(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    busy = "vastai CreateInstance failed (HTTP 429): too many requests"
    shopper.inject("create", Refused(error=busy), 2)
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        events = await deployed(orchestrator, spec())
    assert offers_tried(events) == ["vastai-101"] and last(events).outcome == "released"
    assert of_type(events, ev.ExclusionSet) == []
    told_so = [e.text for e in of_type(events, ev.Progressed) if "HTTP 429" in e.text]
    assert any("accepts no more requests for now" in text for text in told_so)


async def test_a_429_that_stays_ends_it_and_is_held_against_nobody(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.inject("create", Refused(error="vastai CreateInstance failed (HTTP 429): no"), None)
    quick = {"http": 3.0, "rent": 5.0, "session": 1.0, "release": 3.0}
    async with quick_orchestrator(tmp_path, shopper.url, timeouts=quick) as orchestrator:
        end = last(events := await deployed(orchestrator, spec()))
        assert await orchestrator.market.exclusions() == []
    assert of_type(events, ev.ExclusionSet) == [] and shopper.billing() == []
    assert end.kind == "backend_refused" and "not a machine's fault" in str(end.hint)


async def test_a_sibling_that_was_faster_costs_no_machine_and_no_exclusion(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    raced = "UNIQUE constraint failed: sessions.consumer_id, sessions.offer_id"
    shopper.inject("create", Refused(error=raced, error_type=""), 1)
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        events = await deployed(orchestrator, spec(max_attempts=1))
        assert await orchestrator.market.exclusions() == []
    assert offers_tried(events) == ["vastai-101", "vastai-102"]
    first = last(events).attempts[0]
    assert "another of our requests got" in first.reason
    assert last(events).outcome == "released" and len(shopper.sessions) <= 2


# -- what was confirmed ----------------------------------------------------------------------------


async def test_the_confirmed_offer_is_rented_though_a_cheaper_one_came(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        wanted = spec(confirmed=(ConfirmedOffer("vastai-103", 0.103),))
        events = await deployed(orchestrator, wanted)
    assert offers_tried(events) == ["vastai-103"]
    planned = of_type(events, ev.DeploymentPlanned)[0].spec
    assert planned.confirmed == (ConfirmedOffer("vastai-103", 0.103),)


@pytest.mark.parametrize("now", [None, 0.2])
async def test_another_one_than_the_confirmed_is_rented_only_after_a_question(
    now: float | None, tmp_path: Path, shopper: FakeShopper
) -> None:
    dearer = [] if now is None else [listing("vastai-101", price=now, machine=101)]
    shopper.list_offers(*dearer, *MARKET[1:])
    confirmed = (ConfirmedOffer("vastai-101", 0.101),)
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        ident = await orchestrator.deployments.deploy(
            spec(confirmed=confirmed, ask_on_failure=True)
        )
        await waits(orchestrator, ident)
        state = orchestrator.deployments.state(ident)
        why = "no longer listed" if now is None else "now costs $0.200/h"
        assert why in state.stuck and "vastai-102 at $0.102/h" in state.stuck
        assert state.attempts == () and shopper.seen("POST", "/api/v1/sessions") == []
        await orchestrator.deployments.decide(ident, AfterFailure.NEXT)
        events = await told(orchestrator, ident)
    assert offers_tried(events) == ["vastai-102"]


async def test_without_anybody_to_ask_another_one_is_not_rented(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    async with quick_orchestrator(tmp_path, shopper.url) as orchestrator:
        end = last(
            await deployed(orchestrator, spec(confirmed=(ConfirmedOffer("vastai-999", 1.0),)))
        )
    assert end.kind == "no_suitable_offer" and end.attempts == ()


async def test_the_next_offer_is_named_and_no_dearer_one_is_rented_in_its_place(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.list_offers(*MARKET[:2], listing("tensordock-301", price=0.5, machine=0))
    fate = fates(shopper, {"vastai-101": "crash"})
    async with quick_orchestrator(tmp_path, shopper.url, fate=fate) as orchestrator:
        deployments = orchestrator.deployments
        ident = await deployments.deploy(spec(auto_failover=False, ask_on_failure=True))
        await waits(orchestrator, ident)
        named = await deployments.next_offer(ident)
        other = await deployments.next_offer(ident, other_source=True)
        assert [row.offer.id for row in (named, other)] == ["vastai-102", "tensordock-301"]
        # By the time that the user has answered, it costs more.
        shopper.list_offers(listing("vastai-102", price=0.2, machine=102))
        await deployments.decide(ident, AfterFailure.NEXT, max_price=named.offer.price_per_hour)
        asked = 0

        def again(event: ev.Event) -> bool:
            nonlocal asked
            asked += isinstance(event, ev.ChoiceAwaited)
            return asked == 2

        await until(orchestrator, ident, again)
        assert "too expensive" in deployments.state(ident).stuck
        assert len(shopper.seen("POST", "/api/v1/sessions")) == 1
        # What is agreed to then holds.
        named = await deployments.next_offer(ident)
        await deployments.decide(ident, AfterFailure.NEXT, max_price=named.offer.price_per_hour)
        events = await told(orchestrator, ident)
    assert offers_tried(events) == ["vastai-101", "vastai-102"]


# -- nothing left ----------------------------------------------------------------------------------


async def test_with_everything_excluded_each_choice_says_why_it_cannot_be(
    tmp_path: Path, shopper: FakeShopper
) -> None:
    shopper.list_offers(MARKET[0])
    fate = fates(shopper, {"vastai-101": "crash"})
    async with quick_orchestrator(tmp_path, shopper.url, fate=fate) as orchestrator:
        ident = await orchestrator.deployments.deploy(
            spec(auto_failover=False, ask_on_failure=True)
        )
        await waits(orchestrator, ident)
        assert orchestrator.deployments.state(ident).stuck == ""
        for number, choice in enumerate((AfterFailure.NEXT, AfterFailure.EXCLUDE), start=2):
            await orchestrator.deployments.decide(ident, choice)
            asked = 0

            def again(event: ev.Event, number: int = number) -> bool:
                nonlocal asked
                asked += isinstance(event, ev.ChoiceAwaited)
                return asked == number

            await until(orchestrator, ident, again)
            assert "no suitable offers (1 excluded" in orchestrator.deployments.state(ident).stuck
        await orchestrator.deployments.include_provider(ident, "vastai")
        await orchestrator.deployments.decide(ident, AfterFailure.RETRY)
        await until(
            orchestrator, ident, lambda e: isinstance(e, ev.AttemptFailed) and e.attempt == 2
        )
        await orchestrator.deployments.cancel(ident)
        assert last(await told(orchestrator, ident)).outcome == "cancelled"


# -- machines of the user's own --------------------------------------------------------------------


def own_hosts(folder: Path, *hosts: str) -> contextlib.AbstractAsyncContextManager[Orchestrator]:
    """An orchestrator on machines of the user's own; the first try on one fails."""
    settings = load(backend="ssh", data_dir=folder, hosts=tuple({"host": h} for h in hosts))
    tried: list[str] = []

    def fate(session: str) -> str:
        tried.append(session)
        return "ssh" if len(tried) == 1 else ""

    return quick_orchestrator(folder, on=SshHostsBackend(settings), backend="ssh", fate=fate)


async def test_an_own_machine_is_never_excluded_beyond_its_deployment(tmp_path: Path) -> None:
    async with own_hosts(tmp_path, "root@203.0.113.7", "root@203.0.113.8") as orchestrator:
        events = await deployed(orchestrator, any_spec("ssh", model="tinyllama"))
        first, second = offers_tried(events)
        assert first != second and last(events).kind == ""
        assert not any(e.remembered or e.until for e in of_type(events, ev.ExclusionSet))
        assert not any(e.kind == "provider" for e in of_type(events, ev.ExclusionSet))
        assert await orchestrator.market.exclusions() == []
        assert offers_tried(await deployed(orchestrator, any_spec("ssh", model="tinyllama"))) == [
            first
        ]


async def test_one_own_machine_alone_is_tried_again_by_a_key_press(tmp_path: Path) -> None:
    async with own_hosts(tmp_path, "root@203.0.113.7") as orchestrator:
        ident = await orchestrator.deployments.deploy(
            any_spec("ssh", model="tinyllama", ask_on_failure=True)
        )
        await waits(orchestrator, ident)
        await orchestrator.deployments.decide(ident, AfterFailure.RETRY)
        events = await told(orchestrator, ident)
    first, second = offers_tried(events)
    assert first == second and last(events).kind == ""
