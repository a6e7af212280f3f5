"""The command line on fleets: what is wished, what is ordered, what is told, and the exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from cli_support import SCENARIOS, Scripted, opener_of
from gdl.cli.app import run
from gdl.domain import fleet_events as fe
from gdl.domain.event import Event
from gdl.domain.events import Recorded
from gdl.domain.fleet_orders import Change, End, Scale
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.fleet_view import FleetView, ReplicaView
from gdl.domain.health import Condition, HealthSample
from gdl.domain.phase import Billing, Phase
from gdl.domain.spec import DeploymentSpec

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FLEET = "fleet-1"
URL = "http://127.0.0.1:4000/v1"


@pytest.fixture
def scripted() -> Scripted:
    made = Scripted(SCENARIOS["destroy"])
    made.fleets.known = [view()]
    return made


def gdl(scripted: Scripted, *arguments: str) -> int:
    return run(arguments, opener=opener_of(scripted))


def replica(ident: str, *, taken_in: bool = True) -> ReplicaView:
    return ReplicaView(
        id=ident,
        generation=1,
        phase=Phase.SERVING,
        billing=Billing.ACTIVE,
        taken_in=taken_in,
        why_out="" if taken_in else "it is away",
        leaving="",
        health=HealthSample(Condition.HEALTHY, running=3.0, tokens_per_s=120.0),
        backend="vastai",
        provider="vastai",
        gpu_name="RTX 4090",
        gpu_count=1,
        price_per_hour=0.4,
        cost=0.1,
        session_id=f"s-{ident}",
        since=NOW,
    )


def view(serving: int = 2, wanted: int = 2, *, runs: bool = True) -> FleetView:
    return FleetView(
        id=FLEET,
        model="tinyllama",
        wanted=wanted,
        serving=serving,
        endpoint=URL,
        api_key_file="/keys/fleet.api",
        routed=True,
        replicas=tuple(replica(f"d{n}", taken_in=n < serving) for n in range(wanted)),
        price_per_hour=0.8,
        cost=0.2,
        tokens_per_s=240.0,
        usd_per_million=0.93,
        short="",
        context=2048,
        generation=1,
        outcome="" if runs else "serving",
        since=NOW,
        here=False,
        runs=runs,
    )


def history(*events: Event) -> list[Recorded]:
    return [
        Recorded(FLEET, n, NOW + timedelta(seconds=n), event) for n, event in enumerate(events, 1)
    ]


def served(*more: Event) -> list[Recorded]:
    spec = FleetSpec(DeploymentSpec("tinyllama", "vastai"), 2)
    return history(
        fe.FleetPlanned(spec, "/keys/fleet.api"),
        fe.RouterStarted("vllm-router", "0.1.17", URL, 7),
        fe.ReplicaStarted("d1", 1, model="tinyllama"),
        fe.ReplicaTakenIn("d1", "http://127.0.0.1:1", 2048),
        *more,
    )


def test_a_fleet_is_wished_with_all_that_one_deployment_would(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    end = fe.FleetFinished("released", Billing.RELEASED, 0.5)
    scripted.fleets.history[FLEET] = served(fe.FleetServing(2), end)
    code = gdl(
        *(scripted, "deploy", "tinyllama", "--replicas", "2", "--spread-markets", "--yes"),
        *("--max-price", "1.5", "--policy", "random", "--if-short", "release", "--destroy"),
    )
    out, err = capsys.readouterr()
    (spec,) = scripted.fleets.wished
    assert (code, spec.replicas, spec.spread_markets, spec.policy) == (0, 2, True, "random")
    assert (spec.if_short, spec.replica.after, spec.replica.query.max_price) == (
        *("release", "destroy", 1.5),
    )
    assert f"OPENAI_BASE_URL={URL}" in out and f"GDL_FLEET={FLEET}" in out
    assert "replica 1 gets requests: 1 of 2 serve" in err


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (fe.FleetFinished("failed", Billing.RELEASED, 0.0, "e", "h", "no_suitable_offer"), 3),
        (fe.FleetFinished("released", Billing.UNKNOWN, 1.0, "e", "h", "release_unconfirmed"), 9),
        (fe.FleetFinished("serving", Billing.ACTIVE, 1.0), 0),
        (fe.FleetFinished("released", Billing.RELEASED, 1.0, "e", "h", "spend_limit"), 10),
    ],
)
def test_the_exit_code_says_how_it_ended(scripted: Scripted, end: Event, code: int) -> None:
    scripted.fleets.history[FLEET] = served(end)
    assert gdl(scripted, "deploy", "tinyllama", "--replicas", "2", "--yes") == code


def test_every_event_is_a_line_of_json(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.fleets.history[FLEET] = served(fe.FleetFinished("released", Billing.RELEASED, 0.5))
    gdl(scripted, "deploy", "tinyllama", "--replicas", "2", "--yes", "--json")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["type"] for line in lines if line["deployment_id"] == FLEET] == [
        *("fleet_planned", "router_started", "replica_started", "replica_taken_in"),
        "fleet_finished",
    ]


def test_scale_lists_and_orders(scripted: Scripted, capsys: pytest.CaptureFixture[str]) -> None:
    assert gdl(scripted, "scale") == 0
    out = capsys.readouterr().out
    assert "2 of 2 serve" in out and "$0.93 per 1M tokens" in out and "serving" in out
    assert gdl(scripted, "scale", FLEET, "3", "--yes", "--no-wait") == 0
    flags = ("--engine-arg=--max-num-seqs", "--engine-arg", "8")
    assert gdl(scripted, "scale", FLEET, *flags, "--no-wait") == 0
    assert scripted.fleets.ordered == [
        (FLEET, Scale(3)),
        (FLEET, Change(engine_args=("--max-num-seqs", "8"))),
    ]


def test_scale_waits_until_it_is_so(scripted: Scripted) -> None:
    assert gdl(scripted, "scale", FLEET, "2") == 0


def test_growing_costs_money_also_while_nobody_knows_how_much(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """All replicas were lost, say, and the next ones are still to be rented."""
    scripted = Scripted(SCENARIOS["destroy"], bills=True, simulated=False)
    known, asks = view(), ("scale", FLEET, "3", "--no-wait")
    for replicas in ((), (replace(replica("d0"), session_id=None, price_per_hour=0.0),)):
        scripted.fleets.known = [replace(known, replicas=replicas)]
        assert gdl(scripted, *asks) == 2
        assert (
            "1 replica more cost money, and there is no terminal to ask on"
            in capsys.readouterr().err
        )
    own = replace(replica("d0"), price_per_hour=0.0)
    scripted.fleets.known = [replace(known, replicas=(own,))]
    assert gdl(scripted, *asks) == 0
    assert scripted.fleets.ordered == [(FLEET, Scale(3))]


def test_nothing_is_asked_of_a_fleet_that_nobody_works_on(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.fleets.known = [view(runs=False)]
    assert gdl(scripted, "scale", FLEET, "3", "--yes") == 2
    assert "no gdl-tui is running fleet-1" in capsys.readouterr().err
    assert scripted.fleets.ordered == []


def test_destroy_ends_a_fleet_as_a_whole(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gdl(scripted, "destroy", FLEET) == 2
    assert scripted.fleets.ordered == []
    assert gdl(scripted, "destroy", FLEET, "--yes") == 0
    assert scripted.fleets.ordered == [(FLEET, End())]


def test_resume_goes_on_with_the_one_fleet_there_is(scripted: Scripted) -> None:
    scripted.fleets.known = [view(runs=False)]
    scripted.fleets.history[FLEET] = served(fe.FleetFinished("released", Billing.RELEASED, 0.5))
    assert gdl(scripted, "resume") == 0
    assert scripted.fleets.resumed == [FLEET]


@pytest.mark.parametrize(
    "words",
    [
        ("--if-short", "keep"),
        ("--router", "smg"),
        ("--policy", "random"),
        ("--spread-markets",),
    ],
)
def test_what_is_for_a_fleet_is_not_ignored_without_one(
    scripted: Scripted, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert gdl(scripted, "deploy", "m", "--yes", *words) == 2
    assert f"{words[0]} is for a fleet: pass --replicas N, too" in capsys.readouterr().err
    assert "deploy" not in scripted.calls


def test_a_ceiling_below_what_it_costs_is_told(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted.fleets.known = [view()]
    assert gdl(scripted, "scale", FLEET, "--max-price", "0.001", "--no-wait", "--yes") == 0
    assert "they stay, and none is rented until" in capsys.readouterr().err


def test_a_volume_is_for_one_machine(scripted: Scripted) -> None:
    assert gdl(scripted, "deploy", "m", "--replicas", "2", "--volume", "cache") == 2
