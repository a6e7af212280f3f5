"""What is asked before a fleet is rented, grows, or ends."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gdl.cli.consent import Consent, agreed, costs, suitable_offers
from gdl.cli.output import say
from gdl.domain.errors import UsageError
from gdl.domain.money import dollars, hourly
from gdl.presentation.lines import plain
from gdl.presentation.words import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gdl.domain.fleet_spec import FleetSpec
    from gdl.domain.fleet_view import FleetView
    from gdl.orchestrator.api.ports import OrchestratorApi

_LOOK_AHEAD = 10
"""As for one machine: offers whose prices make the ceiling that is agreed to."""


async def to_rent_fleet(orchestrator: OrchestratorApi, spec: FleetSpec, said: Consent) -> FleetSpec:
    """The fleet as it was agreed to: all of its machines together cost no more an hour than was
    named. Raises as `to_rent`."""
    if not costs(orchestrator) or said.given:
        return spec
    if not said.asks:
        where = orchestrator.backend_name.replace(",", " and ")
        raise UsageError(
            f"a fleet on {where} costs money, and there is no terminal to ask on",
            "pass --yes, or a limit: --max-price or --max-spend, both for all replicas together",
        )
    suitable = await suitable_offers(orchestrator, spec.replica)
    prices = [each.offer.price_per_hour for each in suitable]
    if max(prices[: spec.replicas]) <= 0:
        return spec
    about = of_several(prices, spec.replicas)
    most = max(prices[: spec.replicas + _LOOK_AHEAD]) * spec.replicas
    asked = spec.replica.query.max_price
    most = most if asked is None else min(most, asked)
    model = plain(spec.replica.model, 80)
    say(f"{plural(spec.replicas, 'replica')} of {model}: about {hourly(about)} together")
    say(f"never more than {hourly(most)} together, even while machines are replaced")
    if spec.replica.max_spend is not None:
        say(f"all end when {dollars(spec.replica.max_spend)} are spent")
    await agreed("rent them?", said, undone="nothing was rented", refusal="")
    query = replace(spec.replica.query, max_price=most)
    return replace(spec, replica=replace(spec.replica, query=query))


def of_several(prices: Sequence[float], replicas: int) -> float:
    """What so many machines cost together, by the prices of those that there are, cheapest first:
    for more of them the last one counts."""
    return sum(prices[:replicas]) + prices[-1] * max(replicas - len(prices), 0)


async def to_grow(
    orchestrator: OrchestratorApi, view: FleetView, replicas: int, said: Consent
) -> None:
    """Whether a fleet may have so many replicas. Raises Cancelled, UsageError."""
    # Of a replica that has rented nothing yet, or no more, nobody knows what it will cost.
    rented = [each.price_per_hour for each in view.replicas if each.session_id is not None]
    prices = [price for price in rented if price > 0]
    if not costs(orchestrator) or (rented and not prices):
        return
    more = replicas - view.wanted
    price = "at a price that is not known"
    if prices:
        each = sum(prices) / len(prices)
        price = f"at about {hourly(each)} each, beside {hourly(sum(prices))}"
    await agreed(
        f"{plural(more, 'replica')} more {price}?",
        said,
        undone="the fleet stays as it is",
        refusal=f"{plural(more, 'replica')} more cost money, and there is no terminal to ask on",
    )
