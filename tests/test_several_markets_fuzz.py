"""Random trouble on two marketplaces at once: nothing stays rented, nothing is rented twice, and
every deployment ends with a word for it."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deployment_support import last, spec, told
from failover_support import FATES, journal_of, quick_orchestrator
from fake_market import FakeMarket, offer
from gdl.domain.errors import (
    BackendError,
    BackendRefused,
    BackendUnreachable,
    GdlError,
    MachineError,
    OfferGone,
    RentAmbiguous,
)
from gdl.domain.phase import Billing

TIMEOUTS = {"http": 0.5, "rent": 1, "session": 1, "release": 1}
TROUBLE: dict[str, Callable[[], GdlError]] = {
    "away": lambda: BackendUnreachable("nothing answers", "try again later"),
    "busy": lambda: BackendRefused("too many requests", status=429),
    "broken": lambda: BackendRefused("HTTP 500", status=500),
    "moved": lambda: BackendRefused("HTTP 301", status=301),
    "key": lambda: BackendRefused("wrong key", "make another", status=401),
    "garbage": lambda: BackendError("an answer nobody can use"),
}
RENT: dict[str, Callable[[], GdlError]] = {
    **TROUBLE,
    "silent": lambda: RentAmbiguous("no answer within 1 s"),
    "gone": lambda: OfferGone("the offer is gone", "take another"),
    "host": lambda: MachineError("the host could not start it", "take another"),
}


def spoiled(name: str, chance: random.Random) -> FakeMarket:
    """A market whose requests go wrong at random; some of them act all the same."""
    market = FakeMarket(
        name,
        *(
            offer(
                f"{name}-o{n}",
                name,
                round(chance.uniform(0.1, 0.9), 3),
                host=chance.choice(["", "h1", "h2", "h3"]),
                machine=f"m{n}",
            )
            for n in range(chance.randint(1, 6))
        ),
    )
    for _ in range(chance.randint(0, 4)):
        wrong = chance.choice(list(RENT))
        # These two say for certain that nothing was made.
        acted = wrong not in ("away", "gone") and chance.random() < 0.5
        market.fails("rent", RENT[wrong], acted=acted)
    for request in ("session", "sessions", "labelled", "absent", "offers"):
        if chance.random() < 0.3:
            market.fails(request, TROUBLE[chance.choice(list(TROUBLE))])
    for _ in range(chance.randint(0, 3)):
        market.fails("release", TROUBLE[chance.choice(list(TROUBLE))], acted=chance.random() < 0.5)
    return market


async def one(seed: int, folder: Path) -> None:
    chance = random.Random(seed)
    markets = [spoiled("vastai", chance), spoiled("runpod", chance)]
    fates = {f"{m.name}-{n}": chance.choice(["", "", *FATES]) for m in markets for n in range(40)}
    cancelled = chance.random() < 0.2
    most = 0

    async def count(_: object) -> None:
        nonlocal most
        most = max(most, sum(len(m.rented) for m in markets))

    for market in markets:
        market.before_rent = count
    async with quick_orchestrator(
        folder,
        on=markets,
        backend="vastai,runpod",
        fate=lambda s: fates.get(s, ""),
        timeouts=TIMEOUTS,
    ) as orchestrator:
        wanted = spec("vastai,runpod", max_attempts=chance.randint(1, 8))
        ident = await orchestrator.deployments.deploy(wanted)
        if cancelled:
            for _ in range(chance.randint(1, 400)):
                await asyncio.sleep(0)
            if ident in orchestrator.deployments.active:
                await orchestrator.deployments.cancel(ident)
        events = await told(orchestrator, ident)
    finished = last(events)
    assert finished.outcome in ("released", "failed", "cancelled")
    assert "internal error" not in (finished.error or ""), finished
    left = [ident for m in markets for ident in m.rented]
    if left:
        # Only what is said to be in doubt, and what the next start looks after.
        assert finished.billing is Billing.UNKNOWN, (finished, left)
    assert most <= 1 or finished.billing is Billing.UNKNOWN
    for market in markets:
        market.faults.clear()
    async with quick_orchestrator(folder, on=markets, backend="vastai,runpod") as orchestrator:
        await orchestrator.sessions.rows()
        for row in await orchestrator.sessions.rows():
            await orchestrator.sessions.destroy(f"{row.session.backend}/{row.session.id}")
    assert [list(m.rented) for m in markets] == [[], []]
    async with journal_of(folder) as journal:
        # A request of this minute without a machine may still be at work, for all anybody knows.
        assert not [r for r in await journal.rentals() if r.open and r.session_id]


async def several(seeds: range) -> None:
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            try:
                async with asyncio.timeout(60):
                    await one(seed, Path(folder))
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise


@pytest.mark.parametrize("first", range(0, 16, 4))
async def test_random_trouble_on_two_markets(first: int) -> None:
    await several(range(first, first + 4))


FIRSTS = [
    pytest.param(seed, marks=() if seed < 1050 else pytest.mark.soak)
    for seed in range(1000, 2000, 50)
]


@pytest.mark.minute
@pytest.mark.long
@pytest.mark.parametrize("first", FIRSTS)
async def test_random_trouble_on_two_markets_at_length(first: int) -> None:
    await several(range(first, first + 50))
