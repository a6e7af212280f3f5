"""Several marketplaces at once: one list, one failover, and every machine with its own market."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from deployment_support import GONE_PID, deployed, last, of_type, spec, told
from failover_support import journal_of, quick_orchestrator, waits
from fake_market import FakeMarket, offer
from gdl.domain import events as ev
from gdl.domain.errors import BackendRefused, BackendUnreachable, UsageError
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing
from gdl.domain.session import RentRequest
from gdl.journal.store import DeploymentRow
from gdl.orchestrator.service import Orchestrator

BOTH = "vastai,runpod"
TIMEOUTS = {"http": 3, "rent": 5, "session": 3, "release": 3}


def two_markets() -> tuple[FakeMarket, FakeMarket]:
    """Vast.ai is the cheaper one."""
    vast = FakeMarket(
        "vastai",
        offer("v1", "vastai", 0.20, host="h1", machine="m1"),
        offer("v2", "vastai", 0.30, host="h1", machine="m2"),
        offer("v3", "vastai", 0.50, host="h2", machine="m3"),
    )
    pods = FakeMarket("runpod", offer("r1", "runpod", 0.25), offer("r2", "runpod", 0.40))
    return vast, pods


def nothing_left(*markets: FakeMarket) -> None:
    assert [list(market.rented) for market in markets] == [[] for _ in markets]


async def listed(orchestrator: Orchestrator) -> list[str]:
    ranked = await orchestrator.market.offers(OfferQuery())
    return [row.offer.id for row in ranked if row.excluded is None]


async def test_one_table_cheapest_first(tmp_path: Path) -> None:
    vast, pods = two_markets()
    async with quick_orchestrator(tmp_path, on=[vast, pods], backend=BOTH) as orchestrator:
        assert orchestrator.backend_name == BOTH
        assert await listed(orchestrator) == ["v1", "r1", "v2", "r2", "v3"]
        assert orchestrator.market.away == {}


async def test_failover_goes_across_markets_and_every_release_is_proven(tmp_path: Path) -> None:
    vast, pods = two_markets()
    failing = {"vastai-1": "driver", "runpod-1": "crash"}
    async with quick_orchestrator(
        tmp_path, on=[vast, pods], backend=BOTH, fate=lambda s: failing.get(s, "")
    ) as orchestrator:
        events = await deployed(orchestrator, spec(BOTH, max_attempts=5))
    finished = last(events)
    assert finished.outcome == "released"
    assert [a.offer_id for a in finished.attempts] == ["v1", "r1", "v2"]
    assert [e.backend for e in of_type(events, ev.AttemptStarted)] == ["vastai", "runpod", "vastai"]
    nothing_left(vast, pods)
    async with journal_of(tmp_path) as journal:
        rentals = await journal.rentals()
    assert sorted((r.backend, r.billing) for r in rentals) == [
        ("runpod", Billing.RELEASED),
        ("vastai", Billing.RELEASED),
        ("vastai", Billing.RELEASED),
    ]


async def test_market_that_is_away_is_said_and_the_other_goes_on(tmp_path: Path) -> None:
    vast, pods = two_markets()
    vast.away = True
    async with quick_orchestrator(tmp_path, on=[vast, pods], backend=BOTH) as orchestrator:
        assert await listed(orchestrator) == ["r1", "r2"]
        assert orchestrator.market.away == {"vastai": "nothing answers at vastai"}
        events = await deployed(orchestrator, spec(BOTH))
        assert last(events).outcome == "released"
        said = [n.text for n in of_type(events, ev.Noted) if "is away" in n.text]
        assert said == ["vastai is away: nothing answers at vastai"]
        assert [f.status for f in await orchestrator.support.doctor() if f.name in BOTH] == [
            "fail",
            "ok",
        ]
        pods.away = True
        with pytest.raises(BackendUnreachable):
            await orchestrator.market.offers(OfferQuery())
    nothing_left(pods)


async def test_market_that_is_silent_holds_nobody_up_for_long(tmp_path: Path) -> None:
    vast, pods = two_markets()
    vast.answers.clear()
    async with quick_orchestrator(
        tmp_path, on=[vast, pods], backend=BOTH, timeouts={**TIMEOUTS, "http": 0.2}
    ) as orchestrator:
        assert await listed(orchestrator) == ["r1", "r2"]
        assert orchestrator.market.away == {"vastai": "no answer within 0.2 s"}


@pytest.mark.parametrize(
    "error",
    [
        BackendUnreachable("nothing answers", "try again"),
        BackendRefused("wrong key", "make another", status=401),
        BackendRefused("no credit", "add some", status=402),
    ],
)
async def test_market_that_does_not_rent_ends_nothing_while_another_does(
    tmp_path: Path, error: BackendRefused | BackendUnreachable
) -> None:
    vast, pods = two_markets()
    vast.fails("rent", lambda: error, times=100)
    async with quick_orchestrator(
        tmp_path, on=[vast, pods], backend=BOTH, timeouts=TIMEOUTS
    ) as orchestrator:
        events = await deployed(orchestrator, spec(BOTH, max_attempts=4))
    assert last(events).outcome == "released"
    assert [a.offer_id for a in last(events).attempts] == ["v1", "r1"]
    nothing_left(vast, pods)


async def test_with_one_market_alone_it_is_the_end(tmp_path: Path) -> None:
    vast, _ = two_markets()
    vast.fails("rent", lambda: BackendRefused("wrong key", "make another", status=401), times=9)
    async with quick_orchestrator(tmp_path, on=vast, backend="vastai") as orchestrator:
        events = await deployed(orchestrator, spec("vastai", max_attempts=4))
    assert (last(events).outcome, last(events).kind) == ("failed", "backend_refused")
    assert len(last(events).attempts) == 1


async def test_lost_answer_on_the_second_market_is_found_there_by_its_label(tmp_path: Path) -> None:
    vast, pods = two_markets()
    vast.listed.clear()
    pods.loses_answer()
    async with quick_orchestrator(tmp_path, on=[vast, pods], backend=BOTH) as orchestrator:
        events = await deployed(orchestrator, spec(BOTH))
    assert last(events).outcome == "released"
    assert [s.label for s in pods.ever] == [pods.requests[0].label]
    assert "labelled" not in vast.asked
    nothing_left(vast, pods)


async def test_dead_ssh_speaks_against_the_host_and_never_against_the_market(
    tmp_path: Path,
) -> None:
    vast, pods = two_markets()
    pods.listed.clear()
    vast.listed.append(offer("v4", "vastai", 0.6, host="h1", machine="m4"))
    async with quick_orchestrator(
        tmp_path, on=[vast, pods], backend=BOTH, fate=lambda _: "ssh"
    ) as orchestrator:
        events = await deployed(orchestrator, spec(BOTH, max_attempts=4, exclude_provider_after=2))
        found = await orchestrator.market.exclusions()
    # Another host comes before the second machine of the one that failed.
    assert [a.offer_id for a in last(events).attempts] == ["v1", "v3", "v2"]
    assert {(x.kind, x.key) for x in found if x.kind == "host"} == {("host", "h1")}
    assert not [x for x in found if x.kind == "provider"]
    nothing_left(vast)


async def test_provider_of_the_same_name_on_two_markets_is_two(tmp_path: Path) -> None:
    one = FakeMarket("one", replace(offer("a1", "one"), provider="lambda"))
    two = FakeMarket("two", replace(offer("b1", "two"), provider="lambda"))
    async with quick_orchestrator(tmp_path, on=[one, two], backend="one,two") as orchestrator:
        await orchestrator.market.exclude("provider", "lambda", backend="one")
        assert await listed(orchestrator) == ["b1"]
        assert [x.backend for x in await orchestrator.market.exclusions()] == ["one"]
        await orchestrator.market.clear_exclusions("lambda")
        await orchestrator.market.exclude("provider", "lambda")
        assert await listed(orchestrator) == []
        with pytest.raises(UsageError, match="not among those in use"):
            await orchestrator.market.exclude("provider", "lambda", backend="three")


async def test_what_another_backend_lists_of_the_same_market_is_not_shown_twice(
    tmp_path: Path,
) -> None:
    vast, _ = two_markets()
    broker = FakeMarket(
        "shopper",
        replace(offer("vastai-1", "shopper", 0.1), provider="Vast.ai"),
        replace(offer("tensordock-1", "shopper", 0.35), provider="tensordock"),
    )
    async with quick_orchestrator(
        tmp_path, on=[vast, broker], backend="vastai,shopper"
    ) as orchestrator:
        assert await listed(orchestrator) == ["v1", "v2", "tensordock-1", "v3"]
        vast.away = True
        assert await listed(orchestrator) == ["vastai-1", "tensordock-1"]


async def test_sessions_of_all_markets_even_with_one_id(tmp_path: Path) -> None:
    vast, pods = two_markets()
    async with quick_orchestrator(tmp_path, on=[vast, pods], backend=BOTH) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(BOTH, after="keep"))
        await orchestrator.deployments.wait(ident)
        twin = pods.make(RentRequest(pods.listed[0], "other", 1, "m"))
        pods.rented = {"vastai-1": replace(twin, id="vastai-1")}
        rows = await orchestrator.sessions.rows()
        assert [(r.session.backend, r.session.id, r.ours) for r in rows] == [
            ("vastai", "vastai-1", True),
            ("runpod", "vastai-1", False),
        ]
        with pytest.raises(UsageError, match="several sessions: runpod/vastai-1, vastai/vastai-1"):
            await orchestrator.sessions.destroy("vastai-1")
        # The deployment's own id tells which is meant, and so does the market's name.
        await orchestrator.sessions.destroy(ident)
        assert list(vast.rented) == []
        assert list(pods.rented) == ["vastai-1"]
        await orchestrator.sessions.destroy("runpod/vastai-1")
    nothing_left(vast, pods)


async def test_sessions_of_a_market_that_is_away_are_those_of_the_journal(tmp_path: Path) -> None:
    vast, pods = two_markets()
    async with quick_orchestrator(tmp_path, on=[vast, pods], backend=BOTH) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(BOTH, after="keep"))
        await orchestrator.deployments.wait(ident)
        vast.away = True
        (row,) = await orchestrator.sessions.rows()
        assert (row.session.id, row.session.status) == ("vastai-1", "unknown")
        assert row.billing == "active"
        assert orchestrator.sessions.away == {"vastai": "nothing answers at vastai"}


async def test_a_machine_of_a_market_that_is_not_asked_is_said(tmp_path: Path) -> None:
    vast, pods = two_markets()
    async with quick_orchestrator(tmp_path, on=[vast, pods], backend=BOTH) as orchestrator:
        ident = await orchestrator.deployments.deploy(spec(BOTH, after="keep"))
        await orchestrator.deployments.wait(ident)
    # A shell in which only the other one has a key.
    async with quick_orchestrator(tmp_path, on=pods, backend="runpod") as orchestrator:
        assert await orchestrator.sessions.rows() == []
        assert "vastai-1 may be billing there" in orchestrator.sessions.away["vastai"]
        pods.away = True
        with pytest.raises(BackendUnreachable) as silent:
            await orchestrator.sessions.rows()
        assert "vastai-1 may be billing there" in silent.value.message
        pods.away = False
    async with quick_orchestrator(tmp_path, on=vast, backend="vastai") as orchestrator:
        await orchestrator.sessions.destroy("vastai-1")
    async with quick_orchestrator(tmp_path, on=pods, backend="runpod") as orchestrator:
        assert await orchestrator.sessions.rows() == []
        assert orchestrator.sessions.away == {}


async def test_deployment_that_was_killed_goes_on_at_the_market_it_had_rented_from(
    tmp_path: Path,
) -> None:
    vast, pods = two_markets()
    async with quick_orchestrator(
        tmp_path,
        on=[vast, pods],
        backend=BOTH,
        fate=lambda s: "driver" if s.startswith("vastai") else "",
    ) as orchestrator:
        ident = await orchestrator.deployments.deploy(
            spec(BOTH, after="hold", ask_on_failure=True, auto_failover=False)
        )
        await waits(orchestrator, ident)
        # As if killed while the answer of the second market was on its way.
        async with journal_of(tmp_path) as journal:
            (rental,) = await journal.rentals()
            asked = replace(
                rental,
                intent_id="second",
                label="gdl-second",
                deployment_id="d2",
                backend="runpod",
                provider="runpod",
                offer_id="r1",
                session_id=None,
                released_at=None,
                billing=Billing.REQUESTED,
            )
            await journal.save(asked)
            row = DeploymentRow("d2", rental.requested_at, "m", BOTH, "", GONE_PID)
            await journal.add_deployment(row)
        pods.make(RentRequest(pods.listed[0], "tester", 1, "m", label="gdl-second"))
        await orchestrator.deployments.cancel(ident)
        await told(orchestrator, ident)
    async with quick_orchestrator(tmp_path, on=[vast, pods], backend=BOTH) as orchestrator:
        (row2,) = await orchestrator.sessions.rows()
        assert (row2.session.backend, row2.deployment_id) == ("runpod", "d2")
        await orchestrator.sessions.destroy("d2")
    nothing_left(vast, pods)


async def test_cancelled_while_both_markets_have_machines(tmp_path: Path) -> None:
    vast, pods = two_markets()
    async with quick_orchestrator(tmp_path, on=[vast, pods], backend=BOTH) as orchestrator:
        first = await orchestrator.deployments.deploy(spec(BOTH, after="hold"))
        while not vast.rented:
            await asyncio.sleep(0)
        vast.listed.clear()
        second = await orchestrator.deployments.deploy(spec(BOTH, after="hold"))
        while not pods.rented:
            await asyncio.sleep(0)
        await orchestrator.deployments.cancel(first)
        await orchestrator.deployments.cancel(second)
        await told(orchestrator, first)
        await told(orchestrator, second)
    nothing_left(vast, pods)
