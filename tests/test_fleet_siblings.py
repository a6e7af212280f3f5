"""What the replicas of a fleet know of each other: prices, costs and limits of all together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fake_market import offer
from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState, replayed
from gdl.domain.events import Recorded
from gdl.domain.offers import Exclusion, Offer
from gdl.domain.phase import Billing
from gdl.orchestrator.deployment.exclusions import DeploymentExclusions
from gdl.orchestrator.deployment.siblings import Siblings

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def machine(name: str, price: float) -> Offer:
    return offer(name, "vastai", price, machine=f"m-{name}")


def rented(name: str, price: float, *, ago: timedelta = HOUR) -> DeploymentState:
    """A replica on a machine since then."""
    at = NOW - ago
    events = (
        ev.AttemptStarted(1, name, "vastai", "RTX 4090", 1, 24.0, price, backend="vastai"),
        ev.SessionRented(1, f"s-{name}", "vastai", price),
        ev.BillingChanged(1, Billing.ACTIVE),
    )
    return replayed(name, [Recorded(name, n, at, event) for n, event in enumerate(events, 1)])


def siblings(*prices: float) -> Siblings:
    """Replicas named a, b, ... on machines of these prices, for an hour."""
    made = Siblings()
    for name, price in zip("abcdef", prices, strict=False):
        state = rented(name, price)
        made.join(name, lambda state=state: state, DeploymentExclusions())  # type: ignore[misc]
    return made


def new(made: Siblings, name: str = "new") -> DeploymentExclusions:
    """One more, that has nothing yet."""
    exclusions = DeploymentExclusions()
    made.join(name, lambda: DeploymentState(name), exclusions)
    return exclusions


def test_what_an_hour_may_cost_is_what_the_others_leave() -> None:
    made = siblings(0.5, 0.25)
    new(made)
    assert made.price_left("new") is None
    made.max_price = 1.0
    assert made.price_left("new") == pytest.approx(0.25)
    made.take("new", machine("x", 0.25))
    new(made, "later")
    assert made.price_left("later") == 0.0


def test_what_is_taken_counts_before_it_is_rented() -> None:
    made = siblings(0.6)
    new(made, "first")
    made.take("first", machine("x", 1.2))
    new(made)
    # The one that runs for an hour has had its ten minutes; the other one has not begun.
    assert made.promised("new", 1 / 6, NOW) == pytest.approx(0.2)
    assert made.cost("new", NOW) == pytest.approx(0.6)
    assert {x.key for x in made.exclusions("new", NOW)} >= {"a", "x", "m-x"}


def test_what_failed_for_one_is_not_tried_by_another_for_an_hour() -> None:
    made = siblings()
    mine = new(made, "first")
    mine.add(Exclusion("offer", "x", "failed", NOW, backend="vastai"))
    new(made)
    assert [x.key for x in made.exclusions("new", NOW)] == ["x"]
    assert made.exclusions("new", NOW + 2 * HOUR) == []
    assert made.exclusions("first", NOW) == []


def test_a_guard_is_told_when_all_together_have_spent_the_limit() -> None:
    made = siblings(1.0, 3.0)
    made.max_spend = 8.0
    # Four dollars are spent, four an hour go: at 13:00 it is over, when the first has cost two.
    assert made.limit_of("a", NOW) == pytest.approx(2.0)
    assert made.limit_of("b", NOW) == pytest.approx(6.0)
    later = NOW + timedelta(minutes=30, seconds=7)
    assert made.limit_of("a", later) == pytest.approx(2.0, abs=0.02)
    made.spent_before = 4.0
    assert made.limit_of("a", NOW) == pytest.approx(1.0)


def test_replicas_on_one_machine_have_ports_of_their_own() -> None:
    made = siblings()
    made.promise("a", "127.0.0.1", 8000)
    assert made.ports("b", "127.0.0.1") == {8000}
    assert made.ports("b", "203.0.113.7") == made.ports("a", "127.0.0.1") == frozenset()
