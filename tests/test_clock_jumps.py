"""A clock that is set while a deployment runs, and a laptop that sleeps: no limit fires, and no
cost is negative or that of hours that never were."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import gdl
import sandbox_support as support
from deployment_support import last, of_type, told
from gdl.domain import clock
from gdl.domain import events as ev
from gdl.domain.phase import Phase
from gdl.domain.spec import DeploymentSpec
from gdl.orchestrator.service import Orchestrator

SOURCE = Path(gdl.__file__).parent
HALF_AN_HOUR = timedelta(minutes=30)


class Wall(datetime):
    """The computer's clock, which somebody sets."""

    ahead = timedelta()

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime.now(UTC) + cls.ahead


@pytest.mark.parametrize("jump", [HALF_AN_HOUR, -HALF_AN_HOUR])
def test_a_clock_that_is_set_moves_no_time_of_ours(
    jump: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "datetime", Wall)
    monkeypatch.setattr(Wall, "ahead", timedelta())
    steady = clock.SteadyClock()
    before = steady.now()
    monkeypatch.setattr(Wall, "ahead", jump)
    time.sleep(0.01)
    assert timedelta() < steady.now() - before < timedelta(seconds=5)


def test_time_that_was_slept_through_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = clock.SteadyClock()
    before, counted = steady.now(), time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda which: counted(which) + 1800)
    assert steady.now() - before >= HALF_AN_HOUR


def test_nothing_else_asks_the_computer_for_the_time_of_day() -> None:
    asks = re.compile(r"datetime\.(utc)?now\(|\btime\.time\(")
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if asks.search(path.read_text(encoding="utf-8"))
    }
    # The simulated service has a clock of its own; the second runs on the machine; the third is
    # compared with what the kernel noted of a packet by that clock, a moment before.
    ours = {name for name in found if not name.startswith("simulator/")}
    assert ours == {"domain/clock.py", "endpoint/ssh_curl.py", "loadgen/arrival.py"}


def jumping(by: timedelta) -> tuple[Callable[[], datetime], Callable[[], None]]:
    """A clock, and what makes it jump."""
    ahead = timedelta()

    def jump() -> None:
        nonlocal ahead
        ahead = by

    return lambda: clock.now() + ahead, jump


@pytest.mark.parametrize("phase", [Phase.CONNECTING, Phase.LOADING, Phase.SERVING])
@pytest.mark.parametrize("by", [HALF_AN_HOUR, -HALF_AN_HOUR])
async def test_a_jump_ends_no_deployment(
    by: timedelta, phase: Phase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    support.isolate(monkeypatch, tmp_path)
    now, jump = jumping(by)
    defaults = Orchestrator.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "clock", now)
    async with support.sandbox(support.settings(tmp_path, "calm")) as (orchestrator, backend):
        spec = DeploymentSpec("tinyllama", "sandbox", bench=False, after="destroy", max_attempts=1)
        ident = await orchestrator.deployments.deploy(spec)
        async for recorded in orchestrator.deployments.events(ident):
            event = recorded.event
            if isinstance(event, ev.PhaseChanged) and event.phase is phase:
                jump()
        events = await told(orchestrator, ident)
        assert support.service_of(backend).market.rented() == []
    end = last(events)
    (attempt,) = end.attempts
    assert (end.outcome, end.billing.value) == ("released", "released"), end.error
    assert not of_type(events, ev.AttemptFailed)
    assert 0 <= attempt.cost <= attempt.price_per_hour * 0.6 and attempt.seconds >= 0
