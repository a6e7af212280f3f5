"""Every scenario ends as its file says, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import sandbox_support as support
from deployment_support import last, of_type
from gdl.domain import events as ev
from gdl.domain.errors import UsageError
from gdl.orchestrator.machine import connection
from gdl.simulator import scenario as scenarios
from local_processes import processes_naming
from waiting import wait_until

pytestmark = pytest.mark.scenarios

MAIN = frozenset(
    {
        *(
            "calm",
            "demo",
            "stale-then-ssh-timeout",
            "stale-404",
            "all-stale",
            "one-market",
            "disk-too-small",
        ),
        *("auth-failed", "key-late", "dies-provisioning", "false-stop", "no-driver", "uv-fails"),
        *("install-no-space", "crash-cuda-mismatch", "crash-torchvision-mismatch"),
        *("first-inference-crashes", "shopper-429", "lost-answer-cut", "delete-fails"),
        *("delete-lies", "driver-older-than-listed", "driver-rebuilding"),
    }
)
"""Played in every run of the tests; the others with `-m scenarios`, as they take minutes."""
PLAYED = [
    pytest.param(name, marks=() if name in MAIN else pytest.mark.scenarios)
    for name in scenarios.names()
    if scenarios.load(name).expect is not None
]
CHANCES = [pytest.param(n, marks=() if n == 1 else pytest.mark.scenarios) for n in range(1, 9)]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    support.isolate(monkeypatch, tmp_path)
    # The time for a key that spreads is the program's own and real; here time is scaled.
    monkeypatch.setattr(connection, "_KEY_SPREADS_S", 2.0)
    monkeypatch.setattr(connection, "_SSHD_COMES_S", 4.0)


@pytest.mark.parametrize("name", PLAYED)
async def test_a_deployment_ends_as_the_scenario_says(name: str, tmp_path: Path) -> None:
    expect = scenarios.load(name).expect
    assert expect is not None
    wanted = support.settings(tmp_path, name, **expect.settings)
    async with support.sandbox(wanted) as (orchestrator, backend):
        events = await support.deployed(
            orchestrator,
            max_attempts=wanted.max_attempts,
            exclude_provider_after=wanted.exclude_provider_after,
        )
        end = last(events)
        left = support.service_of(backend).market.rented()
    said = [(a.offer_id, a.ended, a.reason) for a in end.attempts], end.error
    assert (end.outcome, end.billing.value) == (expect.outcome, expect.billing), said
    assert tuple(a.ended for a in end.attempts) == expect.attempts, said
    assert end.kind == expect.kind, said
    if expect.providers:
        assert tuple(a.provider for a in end.attempts) == expect.providers
    if expect.reasons:
        for attempt, words in zip(end.attempts, expect.reasons, strict=True):
            assert words in attempt.reason
    if expect.diagnosed:
        assert expect.diagnosed in [d.rule for d in of_type(events, ev.Diagnosed)]
    assert len(left) == expect.left
    assert support.left_behind(tmp_path) == []
    assert processes_naming(str(tmp_path)) == []


@pytest.mark.parametrize("seed", CHANCES)
async def test_chance_ends_serving_or_in_a_named_failure(seed: int, tmp_path: Path) -> None:
    wanted = support.settings(tmp_path, "chaos", sandbox={"seed": seed}, max_attempts=5)
    async with support.sandbox(wanted) as (orchestrator, backend):
        end = last(await support.deployed(orchestrator, max_attempts=5))
        assert support.service_of(backend).market.rented() == []
    assert end.outcome in ("released", "failed")
    if end.outcome == "failed":
        assert end.kind not in ("", "error") and end.error and end.hint
    assert support.left_behind(tmp_path) == []
    assert processes_naming(str(tmp_path)) == []


def test_every_scenario_can_be_read_and_has_a_title() -> None:
    for name in scenarios.names():
        scenario = scenarios.load(name)
        assert scenario.title and scenario.name == name


def test_every_crash_of_the_rules_has_its_log_in_a_scenario() -> None:
    shown = {
        log
        for name in scenarios.names()
        for f in scenarios.load(name).fault
        for log in scenarios.named_logs(f)
    }
    assert len(shown) >= 38


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('title = "x"\n[[fault]]\nkind = "nope"\n', "fault"),
        ('title = "x"\n[[fault]]\nkind = "server"\nat = "loading"\nlogs = ["no"]\n', "no log"),
        ('title = "x"\nspeed = 3\n', "speed"),
        ("title = ", "not valid TOML"),
        ('name = "n"\ntitle = "x"\n', "name"),
    ],
)
def test_a_scenario_of_ones_own_that_is_wrong_is_explained(
    text: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        scenarios.load(str(path))
    assert words in caught.value.message


def test_an_unknown_scenario_names_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        scenarios.load("calmer\x1b[2J")
    assert "calm" in caught.value.hint and caught.value.message.isprintable()


async def test_a_new_scenario_needs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('title = "Mine"\n[[fault]]\nkind = "stale"\ncheapest = [1, 2]\n')
    async with support.sandbox(support.settings(tmp_path, str(path))) as (orchestrator, _):
        end = last(await support.deployed(orchestrator))
    assert [a.ended for a in end.attempts] == ["failed", "failed", "released"]


async def test_cancelling_while_ssh_is_awaited_releases_the_machine(tmp_path: Path) -> None:
    wanted = support.settings(tmp_path, "slow-boot", speed=1)
    async with support.sandbox(wanted) as (orchestrator, backend):
        ident = await orchestrator.deployments.deploy(
            support._spec({"bench": False, "after": "destroy"})
        )
        await wait_until(lambda: backend.service and backend.service.market.rented())
        await orchestrator.deployments.cancel(ident)
        async with asyncio.timeout(20):
            events = [r async for r in orchestrator.deployments.events(ident)]
        assert last(events).outcome == "cancelled"
        assert support.service_of(backend).market.rented() == []
