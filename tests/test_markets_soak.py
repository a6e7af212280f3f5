"""Randomized deployments on each marketplace's stand-in; bench/markets.py plays a thousand."""

from __future__ import annotations

import pytest

from gdl.simulator.markets import NAMES
from market_rounds import Rounds, run

pytestmark = [pytest.mark.long, pytest.mark.soak]


@pytest.mark.parametrize("name", NAMES)
async def test_each_deployment_ends_well_and_leaves_nothing_rented(name: str) -> None:
    tally = await run(Rounds(name, 24, seed=40, hosts=120, at_once=4))
    assert (tally.left, tally.twice, tally.hung, tally.nameless) == ([], [], [], [])
    assert tally.served >= 22, tally.failed
