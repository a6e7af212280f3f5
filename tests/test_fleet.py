"""Fleets on markets in memory: the wished number serves behind one address, or the reason is named;
nothing stays rented, and nobody rents a machine twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import fleet_support
from failover_support import journal_of
from fake_market import FakeMarket, offer
from fleet_support import (
    FleetAttempt,
    ListRouter,
    Servers,
    fleet,
    fleet_orchestrator,
    last,
    market,
    told,
    until,
)
from gdl.domain import clock
from gdl.domain import events as ev
from gdl.domain import fleet_events as fe
from gdl.domain.decisions import AfterServing
from gdl.domain.errors import BackendRefused, BackendUnreachable, DeployError, GdlError, UsageError
from gdl.domain.events import Event, Noted
from gdl.domain.fleet_orders import Change, End, FleetOrder, Scale
from gdl.domain.health import Condition, HealthSample
from gdl.domain.phase import Billing
from gdl.domain.secret import Secret
from gdl.domain.session import Session
from gdl.journal import fleets
from gdl.orchestrator.fleet import fleet_task, resuming
from gdl.orchestrator.fleet.router import Told
from gdl.orchestrator.service import Orchestrator

serves = fe.FleetServing


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks more often than a fleet of real machines has to."""
    monkeypatch.setattr(fleet_task, "_LOOK_S", 0.02)
    monkeypatch.setattr(fleet_task, "_ORDERS_S", 0.02)


def rented_offers(where: FakeMarket) -> list[str]:
    return [request.offer.id for request in where.requests]


async def serving(orchestrator: Orchestrator, ident: str, replicas: int) -> None:
    """Until so many are sent requests."""
    async with asyncio.timeout(30):
        async for _ in orchestrator.fleets.events(ident):
            state = orchestrator.fleets.state(ident)
            there = len(state.serving) == len(state.live) == replicas == state.wanted
            if there and state.short is None:
                return


def attempt_of(orchestrator: Orchestrator, replica: str) -> FleetAttempt:
    found = orchestrator.deployments.attempt(replica)
    assert isinstance(found, FleetAttempt)
    return found


async def test_replicas_take_the_cheapest_machines_each_another(tmp_path: Path) -> None:
    there, router = market(), ListRouter()
    async with fleet_orchestrator(tmp_path, there, router=router) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(3))
        await until(orchestrator, ident, lambda e: isinstance(e, serves))
        assert sorted(rented_offers(there)) == ["vastai-0", "vastai-1", "vastai-2"]
        view = await orchestrator.fleets.view(ident)
        assert (view.serving, view.wanted, len(router.urls)) == (3, 3, 3)
        assert view.price_per_hour == pytest.approx(0.6)
        keys = {Path(r.api_key_file).read_text() for r in await orchestrator._journal.rentals()}
        assert keys == {Path(view.api_key_file).read_text()}
        await orchestrator.fleets.order(ident, End())
        end = last(await told(orchestrator, ident))
    assert (end.outcome, end.billing, there.rented) == ("released", Billing.RELEASED, {})
    assert not Path(view.api_key_file).exists()


async def test_the_load_of_another_process_fleet_is_told_by_its_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each through the tunnel of the process that runs it, with the fleet's key."""
    asked: list[bytes] = []

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        lines = ["vllm:num_requests_running 3", "vllm:num_requests_waiting 1"]
        body = "\n".join([*lines, f"vllm:generation_tokens_total {1000 * len(asked)}", ""])
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write((head + body).encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(tell, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setattr(fleet_support, "_PORTS", count(port))
    async with server, fleet_orchestrator(tmp_path, there := market()) as owner:
        ident = await owner.fleets.deploy(fleet(1))
        await until(owner, ident, lambda e: isinstance(e, serves))
        async with fleet_orchestrator(tmp_path, there) as other:
            first = await other.fleets.view(ident)
            key = Path(first.api_key_file).read_bytes().strip()
            assert key in asked[0] and b"GET /metrics" in asked[0]
            (replica,) = (await other.fleets.view(ident)).replicas
            assert replica.health is not None and replica.health.running == 3
            assert replica.health.waiting == 1
            assert replica.health.tokens_per_s is not None and replica.health.tokens_per_s > 0
            server.close()
            await server.wait_closed()
            (silent,) = (await other.fleets.view(ident)).replicas
            assert silent.health is None
        assert asked and not (await owner.fleets.view(ident)).replicas[0].health
        await owner.fleets.order(ident, End())
        assert last(await told(owner, ident)).outcome == "released"


async def test_one_that_dies_gets_no_request_and_is_replaced(tmp_path: Path) -> None:
    there, router = market(), ListRouter()
    async with fleet_orchestrator(tmp_path, there, router=router) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2))
        await until(orchestrator, ident, lambda e: isinstance(e, serves))
        dead = orchestrator.fleets.state(ident).serving[0]
        attempt_of(orchestrator, dead.id).server.over.set()
        await until(orchestrator, ident, lambda e: isinstance(e, fe.ReplicaEnded))
        assert dead.url not in router.urls
        await serving(orchestrator, ident, 2)
        state = orchestrator.fleets.state(ident)
        assert dead.id not in [r.id for r in state.serving]
        await orchestrator.fleets.order(ident, End())
        assert last(await told(orchestrator, ident)).outcome == "released"
    assert there.rented == {}


async def test_one_out_of_reach_is_taken_out_and_comes_back(tmp_path: Path) -> None:
    there, router = market(), ListRouter()
    async with fleet_orchestrator(tmp_path, there, router=router) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2))
        await until(orchestrator, ident, lambda e: isinstance(e, serves))
        one = orchestrator.fleets.state(ident).serving[0]
        attempt = attempt_of(orchestrator, one.id)
        attempt.is_seen(HealthSample(Condition.UNREACHABLE, "the SSH connection is being made"))
        await until(orchestrator, ident, lambda e: isinstance(e, fe.ReplicaTakenOut))
        assert one.url not in router.urls
        attempt.is_seen(HealthSample(Condition.HEALTHY))
        await serving(orchestrator, ident, 2)
        assert one.url in router.urls
        assert len(there.requests) == 2


async def test_a_slow_server_is_better_than_none(tmp_path: Path) -> None:
    there, router = market(), ListRouter()
    async with fleet_orchestrator(tmp_path, there, router=router) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2))
        await until(orchestrator, ident, lambda e: isinstance(e, serves))
        slow = HealthSample(Condition.DEGRADED, "no full answer within 1.4 s")
        for one in orchestrator.fleets.state(ident).serving:
            attempt_of(orchestrator, one.id).is_seen(slow)
        await until(orchestrator, ident, lambda e: isinstance(e, fe.ReplicaTakenOut))
        await asyncio.sleep(0.6)
        assert len(router.urls) == 1


async def test_it_grows_and_shrinks_while_it_serves(tmp_path: Path) -> None:
    there, router = market(), ListRouter()
    async with fleet_orchestrator(tmp_path, there, router=router) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(1))
        await serving(orchestrator, ident, 1)
        await orchestrator.fleets.order(ident, Scale(3))
        await serving(orchestrator, ident, 3)
        await orchestrator.fleets.order(ident, Scale(1))
        await serving(orchestrator, ident, 1)
        assert len(there.rented) == len(router.urls) == 1
        with pytest.raises(UsageError) as refused:
            await orchestrator.fleets.order(ident, Scale(0))
        assert "destroy" in refused.value.hint


async def test_other_flags_replace_one_after_the_other(tmp_path: Path) -> None:
    there, router = market(), ListRouter()
    async with fleet_orchestrator(tmp_path, there, router=router) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2))
        await until(orchestrator, ident, lambda e: isinstance(e, serves))
        first = {r.id for r in orchestrator.fleets.state(ident).serving}
        most: list[int] = []
        least: list[int] = []
        await orchestrator.fleets.order(ident, Change(engine_args=("--max-num-seqs", "8")))
        async with asyncio.timeout(30):
            async for _ in orchestrator.fleets.events(ident):
                state = orchestrator.fleets.state(ident)
                most.append(len(there.rented))
                if state.generation == 2:
                    least.append(len(router.urls))
                    now = {r.id for r in state.live}
                    if not now & first and len(state.serving) == 2:
                        break
        assert max(most) == 3 and min(least) >= 2
        for one in now:
            spec = orchestrator.deployments.state(one).spec
            assert spec is not None and spec.engine_args == ("--max-num-seqs", "8")


async def test_without_room_one_is_released_first(tmp_path: Path) -> None:
    there = market("vastai", 0.1, 0.2)
    async with fleet_orchestrator(tmp_path, there) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2))
        await until(orchestrator, ident, lambda e: isinstance(e, serves))
        await orchestrator.fleets.order(ident, Change(context=1024))
        async with asyncio.timeout(30):
            async for _ in orchestrator.fleets.events(ident):
                state = orchestrator.fleets.state(ident)
                if {r.generation for r in state.serving} == {2} and len(state.serving) == 2:
                    break
        assert len(there.rented) == 2


async def test_without_any_machine_for_the_new_flags_it_is_short_and_waits(
    tmp_path: Path,
) -> None:
    """One has left for the first of them; the other stays, and nothing is begun in a hurry."""
    there, router = market(), ListRouter()
    async with fleet_orchestrator(tmp_path, there, router=router) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2))
        await until(orchestrator, ident, lambda e: isinstance(e, serves))
        await orchestrator.fleets.order(ident, Change(context=1024, max_price=0.001))
        short = await until(orchestrator, ident, lambda e: isinstance(e, fe.FleetShort))
        assert isinstance(short.event, fe.FleetShort)
        assert (short.event.kind, short.event.final) == ("no_suitable_offer", False)
        state = orchestrator.fleets.state(ident)
        assert len(state.serving) == 1 and len(state.replicas) <= 5
        await orchestrator.fleets.order(ident, End())
        assert last(await told(orchestrator, ident)).outcome == "released"
    assert there.rented == {}


async def test_what_an_hour_may_cost_holds_for_all_together(tmp_path: Path) -> None:
    there = market("vastai", 0.1, 0.4, 0.5, 0.6)
    async with fleet_orchestrator(tmp_path, there) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(3, max_price=0.8))
        short = (await until(orchestrator, ident, lambda e: isinstance(e, fe.FleetShort))).event
        assert isinstance(short, fe.FleetShort)
        await serving_at_least(orchestrator, ident, 2)
        assert sum(s.price_per_hour for s in there.rented.values()) <= 0.8
        assert short.kind == "no_suitable_offer"
        # More money brings the third one.
        await orchestrator.fleets.order(ident, Change(max_price=1.2))
        await serving(orchestrator, ident, 3)
        assert sum(s.price_per_hour for s in there.rented.values()) <= 1.2


async def serving_at_least(orchestrator: Orchestrator, ident: str, replicas: int) -> None:
    async with asyncio.timeout(30):
        async for _ in orchestrator.fleets.events(ident):
            if len(orchestrator.fleets.state(ident).serving) >= replicas:
                return


async def test_half_a_fleet_is_kept_or_released_as_asked(tmp_path: Path) -> None:
    for if_short in ("keep", "release"):
        there = market("vastai", 6.0, 6.0, 6.0)  # ten minutes of one cost a dollar
        folder = tmp_path / if_short
        folder.mkdir()
        async with fleet_orchestrator(folder, there) as orchestrator:
            wanted = fleet(3, max_spend=2.5, if_short=if_short)
            ident = await orchestrator.fleets.deploy(wanted)
            short = (await until(orchestrator, ident, lambda e: isinstance(e, fe.FleetShort))).event
            assert isinstance(short, fe.FleetShort)
            assert short.kind == "spend_limit" and short.final
            if if_short == "keep":
                await serving_at_least(orchestrator, ident, 2)
                assert len(there.rented) == 2
            else:
                end = last(await told(orchestrator, ident))
                assert (end.outcome, end.kind) == ("released", "spend_limit")
                assert there.rented == {}


async def test_they_are_spread_over_markets(tmp_path: Path) -> None:
    cheap, dear = market("vastai", 0.1, 0.2, 0.3), market("runpod", 0.5, 0.6)
    async with fleet_orchestrator(tmp_path, cheap, dear) as orchestrator:
        wanted = fleet(3, backend="vastai,runpod", spread_markets=True)
        ident = await orchestrator.fleets.deploy(wanted)
        await serving(orchestrator, ident, 3)
        assert (len(cheap.rented), len(dear.rented)) == (2, 1)


async def test_a_kind_of_machines_serves_several(tmp_path: Path) -> None:
    there = FakeMarket("runpod", offer("rtx-4090", "runpod", 0.3))
    async with fleet_orchestrator(tmp_path, there) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2, backend="runpod"))
        await serving(orchestrator, ident, 2)
        assert rented_offers(there) == ["rtx-4090", "rtx-4090"]


async def test_each_has_its_own_failover(tmp_path: Path) -> None:
    there = market()

    def fate(session: str) -> str:
        return "crash" if session in ("vastai-1", "vastai-2") else ""

    async with fleet_orchestrator(tmp_path, there, fate=fate) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2))
        await serving(orchestrator, ident, 2)
        assert len(orchestrator.fleets.state(ident).replicas) == 2
        assert len(there.requests) == len(set(rented_offers(there))) == 4


async def test_nothing_to_be_had_is_an_end_with_a_reason(tmp_path: Path) -> None:
    there = FakeMarket("vastai")
    async with fleet_orchestrator(tmp_path, there) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(3))
        end = last(await told(orchestrator, ident))
    assert (end.outcome, end.kind) == ("failed", "no_suitable_offer")
    assert end.error and end.hint


@pytest.mark.parametrize(
    ("models", "why"),
    [
        ({"another": 2048}, "it serves another"),
        ({"tinyllama": 512}, "a context of 512 tokens, 1024 were requested"),
    ],
)
async def test_one_that_serves_something_else_gets_no_request(
    tmp_path: Path, models: dict[str, int | None], why: str
) -> None:
    there, router, servers = market(), ListRouter(), Servers(models)
    async with fleet_orchestrator(tmp_path, there, router=router, servers=servers) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2, context=1024))
        refused = (
            await until(orchestrator, ident, lambda e: isinstance(e, fe.ReplicaRefused))
        ).event
        assert isinstance(refused, fe.ReplicaRefused) and why in refused.reason
        async with asyncio.timeout(30):
            while len(router.urls) < 2:
                await asyncio.sleep(0.05)
        assert servers.asked[0] not in router.urls


async def test_one_key_refused_is_told_and_replaced(tmp_path: Path) -> None:
    there, servers = market(), Servers("HTTP 401 Unauthorized")
    async with fleet_orchestrator(tmp_path, there, servers=servers) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2))
        refused = (
            await until(orchestrator, ident, lambda e: isinstance(e, fe.ReplicaRefused))
        ).event
        assert isinstance(refused, fe.ReplicaRefused)
        assert refused.reason == "it does not accept the fleet's key"


async def test_different_contexts_are_told(tmp_path: Path) -> None:
    there, servers = market(), Servers({"tinyllama": 4096})
    async with fleet_orchestrator(tmp_path, there, servers=servers) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2))
        said = (await until(orchestrator, ident, lambda e: isinstance(e, Noted))).event
        assert isinstance(said, Noted) and "contexts of 2048 to 4096 tokens" in said.text
        assert orchestrator.fleets.state(ident).context == 2048


async def test_without_a_router_nothing_is_rented(tmp_path: Path) -> None:
    there, router = market(), ListRouter()
    router.missing = True
    async with fleet_orchestrator(tmp_path, there, router=router) as orchestrator:
        with pytest.raises(DeployError):
            await orchestrator.fleets.deploy(fleet(3))
        assert await orchestrator.fleets.rows() == []
    assert there.requests == []


async def test_a_router_that_never_starts_ends_the_fleet(tmp_path: Path) -> None:
    """Machines without an address cost money for nothing."""
    there = market()
    async with fleet_orchestrator(tmp_path, there, router=NeverStarts()) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2))
        events = await told(orchestrator, ident)
    end = last(events)
    assert (end.outcome, end.kind, there.rented) == ("failed", "deploy", {})
    assert end.error == "the router does not start: it has ended (status 1): no such option"
    assert end.hint is not None and "router.log" in end.hint
    assert not any(isinstance(event, serves) for event in events)


class NeverStarts(ListRouter):
    async def begin(self, port: int, told: Told) -> None:
        self._trying = asyncio.create_task(self._try(told))

    async def _try(self, told: Told) -> None:
        while True:
            await told(fe.RouterEnded("the router has ended (status 1): no such option"))
            await asyncio.sleep(0.05)

    async def aclose(self) -> None:
        self._trying.cancel()
        await asyncio.gather(self._trying, return_exceptions=True)


async def test_a_router_that_dies_leaves_the_fleet_as_it_is(tmp_path: Path) -> None:
    there, router = market(), ListRouter()
    async with fleet_orchestrator(tmp_path, there, router=router) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2))
        await serving(orchestrator, ident, 2)
        await router.dies()
        state = orchestrator.fleets.state(ident)
        assert state.router is not None and state.router.pid == 2
        assert len(state.serving) == 2 and len(there.requests) == 2


async def test_two_fleets_at_once_take_nothing_from_each_other(tmp_path: Path) -> None:
    there = market()
    async with fleet_orchestrator(tmp_path, there) as orchestrator:
        one = await orchestrator.fleets.deploy(fleet(2))
        two = await orchestrator.fleets.deploy(fleet(2))
        await serving(orchestrator, one, 2)
        await serving(orchestrator, two, 2)
        await orchestrator.fleets.order(one, End())
        await told(orchestrator, one)
        assert len(orchestrator.fleets.state(two).serving) == 2
        assert len(there.rented) == 2


async def test_kept_replicas_are_gone_on_with(tmp_path: Path) -> None:
    there = market()
    async with fleet_orchestrator(tmp_path, there) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2, after="keep"))
        end = last(await told(orchestrator, ident))
        assert (end.outcome, end.billing) == ("serving", Billing.ACTIVE)
    assert len(there.rented) == 2
    async with fleet_orchestrator(tmp_path, there) as orchestrator:
        (view,) = await orchestrator.fleets.rows()
        assert view.resumable


class Reopened(FleetAttempt):
    """Serves as well on a machine that was rented before."""

    async def connect(self, session: Session) -> None:
        async def adopt() -> None:
            pass

        self.server.adopt = adopt  # type: ignore[method-assign]

    def begin_endpoint(self, api_key: Secret) -> None:
        pass

    async def open_endpoint(self, api_key: Secret) -> ev.TunnelOpened:
        return ev.TunnelOpened(1, "http://127.0.0.1:19999/v1", "forward")

    async def verify(self) -> None:
        self.dies = asyncio.Event()


async def kept(folder: Path, there: FakeMarket, **wanted: Any) -> str:
    """A fleet that is left serving; its id."""
    async with fleet_orchestrator(folder, there) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2, after="keep", **wanted))
        end = last(await told(orchestrator, ident))
        assert (end.outcome, len(there.rented)) == ("serving", 2)
    return ident


async def test_what_was_left_serving_costs_what_its_machines_do(tmp_path: Path) -> None:
    """Once, however often it is gone on with; and their price counts for whoever comes after."""
    there = market("vastai", 3600.0, 3600.0, 3600.0)  # a dollar each second
    ident = await kept(tmp_path, there, max_price=7200.0)
    for _ in range(2):
        async with fleet_orchestrator(tmp_path, there, attempt=Reopened) as orchestrator:
            await orchestrator.fleets.resume(ident)
            await serving(orchestrator, ident, 2)
            view = await orchestrator.fleets.view(ident)
            since = min(s.created_at for s in there.rented.values() if s.created_at is not None)
            assert view.cost <= 2 * ((clock.now() - since).total_seconds() + 1)
            siblings = orchestrator.deployments.siblings(ident)
            assert (siblings.price(""), siblings.price_left("")) == (7200.0, 0.0)
            assert siblings.cost("", clock.now()) == pytest.approx(view.cost, abs=2)
            await orchestrator.fleets.order(ident, End(keep=True))
            assert last(await told(orchestrator, ident)).outcome == "serving"
    assert len(there.rented) == 2 and len(there.requests) == 2


async def test_what_was_left_serving_is_waited_for_while_its_market_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "_AGAIN_S", (0.1, 0.1))
    there = market("vastai", 3600.0, 3600.0, 3600.0)
    ident = await kept(tmp_path, there)
    async with fleet_orchestrator(tmp_path, there, attempt=Reopened) as orchestrator:
        there.away = True
        await orchestrator.fleets.resume(ident)
        state = orchestrator.fleets.state(ident)
        assert (len(state.live), state.serving) == (2, ())
        siblings = orchestrator.deployments.siblings(ident)
        cost = (await orchestrator.fleets.view(ident)).cost
        assert siblings.price("") == 7200.0
        assert siblings.cost("", clock.now()) == pytest.approx(cost, abs=2)
        await asyncio.sleep(0.2)
        there.away = False
        await serving(orchestrator, ident, 2)
        assert len(there.requests) == len(there.rented) == 2


@pytest.mark.parametrize("keep", [True, False])
async def test_one_that_is_waited_for_is_kept_or_released_with_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    monkeypatch.setattr(resuming, "_AGAIN_S", (0.1, 0.1))
    there = market()
    ident = await kept(tmp_path, there)
    answer, ending, tries = there.sessions, asyncio.Event(), count(1)

    async def not_before_the_end() -> Sequence[Session]:
        if keep or next(tries) <= 2:  # once for each of them
            raise BackendUnreachable("nothing answers", "try again later")
        await ending.wait()
        return await answer()

    async with fleet_orchestrator(tmp_path, there, attempt=Reopened) as orchestrator:
        monkeypatch.setattr(there, "sessions", not_before_the_end)
        await orchestrator.fleets.resume(ident)
        await orchestrator.fleets.order(ident, End(keep))
        await until(orchestrator, ident, lambda e: isinstance(e, fe.FleetEnding) and e.order > 0)
        ending.set()
        end = last(await told(orchestrator, ident))
        assert end.outcome == ("serving" if keep else "released"), end.error
        assert end.billing is (Billing.ACTIVE if keep else Billing.RELEASED)
        assert len(there.rented) == (2 if keep else 0)


async def test_what_is_being_kept_is_released_when_that_is_ordered_and_grows_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "_AGAIN_S", (1.0, 1.0))
    there = market()
    ident = await kept(tmp_path, there)
    answer, back = there.sessions, asyncio.Event()

    async def away() -> Sequence[Session]:
        if not back.is_set():
            raise BackendUnreachable("nothing answers", "try again later")
        return await answer()

    def ends(keep: bool) -> Callable[[Event], bool]:
        return lambda e: isinstance(e, fe.FleetEnding) and e.order > 0 and e.keep is keep

    async with fleet_orchestrator(tmp_path, there, attempt=Reopened) as orchestrator:
        monkeypatch.setattr(there, "sessions", away)
        await orchestrator.fleets.resume(ident)
        await orchestrator.fleets.order(ident, End(keep=True))
        await until(orchestrator, ident, ends(True))
        with pytest.raises(UsageError, match="is ending"):
            await orchestrator.fleets.order(ident, Scale(3))
        await orchestrator.fleets.order(ident, End())
        await until(orchestrator, ident, ends(False))
        back.set()
        end = last(await told(orchestrator, ident))
        assert (end.outcome, end.billing, len(there.rented)) == ("released", Billing.RELEASED, 0)


async def test_what_served_is_kept_while_it_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, asked = market(), asyncio.Event()
    ident = await kept(tmp_path, there)

    async def no_answer(session_id: str) -> Session:
        asked.set()
        return await asyncio.Future()

    async with fleet_orchestrator(tmp_path, there, attempt=Reopened) as orchestrator:
        monkeypatch.setattr(there, "session", no_answer)
        await orchestrator.fleets.resume(ident)
        await asked.wait()
        await orchestrator.fleets.order(ident, End(keep=True))
        end = last(await told(orchestrator, ident))
        assert (end.outcome, end.billing) == ("serving", Billing.ACTIVE), end.error
        monkeypatch.undo()
    assert len(there.rented) == 2 and "release" not in there.asked


async def test_one_that_is_ended_while_it_is_gone_on_with_is_not_taken_for_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, asked = market(), asyncio.Event()
    await kept(tmp_path, there)

    async def no_answer(session_id: str) -> Session:
        asked.set()
        return await asyncio.Future()

    async with fleet_orchestrator(tmp_path, there, attempt=Reopened) as orchestrator:
        monkeypatch.setattr(there, "session", no_answer)
        ident = await orchestrator.deployments.attach(next(iter(there.rented)))
        await asked.wait()
        await orchestrator.deployments.cancel(ident)
        end = await orchestrator.deployments.wait(ident)
        assert (end.outcome, end.billing) == ("cancelled", Billing.ACTIVE)
        monkeypatch.undo()


@pytest.mark.parametrize("does", ["add", "remove"])
async def test_a_defect_ends_it_like_any_other_failure(tmp_path: Path, does: str) -> None:
    async def broken(url: str) -> None:
        raise AttributeError("no such thing")

    there, router = market(), ListRouter()
    setattr(router, does, broken)
    async with fleet_orchestrator(tmp_path, there, router=router) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2))
        if does == "remove":
            await serving(orchestrator, ident, 2)
            await orchestrator.fleets.order(ident, Scale(1))
        end = last(await told(orchestrator, ident))
    assert (end.outcome, there.rented) == ("failed", {})
    assert end.error is not None and "AttributeError: no such thing" in end.error


async def test_one_that_dies_is_out_while_its_end_is_found_out_and_the_journal_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is known before its reason; and the orders are waited for meanwhile."""
    done, waits = asyncio.Event(), asyncio.Event()

    class Slow(FleetAttempt):
        async def revive(self) -> None:
            await done.wait()
            await super().revive()

    there, router, read = market(), ListRouter(), fleets.orders

    async def busy(*of: Any) -> list[tuple[int, FleetOrder]]:
        if waits.is_set():
            await done.wait()
        return await read(*of)

    monkeypatch.setattr(fleets, "orders", busy)
    async with fleet_orchestrator(tmp_path, there, router=router, attempt=Slow) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2))
        await serving(orchestrator, ident, 2)
        victim = orchestrator.fleets.state(ident).serving[0]
        waits.set()
        attempt_of(orchestrator, victim.id).server.over.set()
        out = await until(orchestrator, ident, lambda e: isinstance(e, fe.ReplicaTakenOut))
        assert victim.url not in router.urls and isinstance(out.event, fe.ReplicaTakenOut)
        assert out.event.reason == "the server ended while serving"
        done.set()
        await orchestrator.fleets.order(ident, End())
        assert last(await told(orchestrator, ident)).outcome == "released"


async def test_orders_wait_for_a_journal_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, failed = market(), count()
    read = fleets.orders

    async def locked(*of: Any) -> list[tuple[int, FleetOrder]]:
        if next(failed) % 2 == 0:
            raise GdlError("the journal cannot be written: database is locked", "try again")
        return await read(*of)

    monkeypatch.setattr(fleets, "orders", locked)
    async with fleet_orchestrator(tmp_path, there) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(1))
        await orchestrator.fleets.order(ident, Scale(2))
        await serving(orchestrator, ident, 2)
        await orchestrator.fleets.order(ident, End())
        assert last(await told(orchestrator, ident)).outcome == "released"
    assert there.rented == {}


async def test_the_end_of_the_program_releases_it(tmp_path: Path) -> None:
    there = market()
    async with fleet_orchestrator(tmp_path, there) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(3))
        await until(orchestrator, ident, lambda e: isinstance(e, fe.ReplicaTakenIn))
    assert there.rented == {}
    async with journal_of(tmp_path) as journal:
        assert [r for r in await journal.rentals() if r.open] == []


async def test_an_end_that_is_not_proven_is_said(tmp_path: Path) -> None:
    there = market()
    async with fleet_orchestrator(tmp_path, there, timeouts={"release": 0.4}) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(2))
        await serving(orchestrator, ident, 2)
        there.fails("release", lambda: BackendRefused("not now", "later"), 100)
        there.fails("absent", lambda: BackendRefused("not now", "later"), 100)
        await orchestrator.fleets.order(ident, End())
        end = last(await told(orchestrator, ident))
    assert (end.kind, end.billing) == ("release_unconfirmed", Billing.UNKNOWN)


@pytest.mark.parametrize("replicas", [1, 2])
async def test_replicas_left_serving_one_by_one_are_not_called_released(
    tmp_path: Path, replicas: int
) -> None:
    """As its user does who leaves each from its own screen, or quits the terminal UI."""
    there = market()
    async with fleet_orchestrator(tmp_path, there) as orchestrator:
        ident = await orchestrator.fleets.deploy(fleet(replicas))
        await serving(orchestrator, ident, replicas)
        key_file = Path(orchestrator.fleets.state(ident).api_key_file)
        for replica in list(orchestrator.fleets.state(ident).replicas):
            await orchestrator.deployments.decide(replica, AfterServing.KEEP)
            assert (await orchestrator.deployments.wait(replica)).outcome == "serving"
        end = last(await told(orchestrator, ident))
        assert len(there.rented) == replicas
        assert (end.outcome, end.billing) == ("serving", Billing.ACTIVE)
        assert key_file.exists(), "or nobody could ask what was left"
    async with fleet_orchestrator(tmp_path, there, attempt=Reopened) as orchestrator:
        await orchestrator.fleets.resume(ident)
        await serving(orchestrator, ident, replicas)
        assert len(there.rented) == len(there.requests) == replicas
