"""Deployments whose process was killed, to be gone on with."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

from deployment_support import Simulation
from gdl.domain import events as ev
from gdl.domain.phase import Phase
from gdl.journal.store import Journal
from resume_child import Case, run
from shopper_support import FakeShopper, listing


async def interrupted(
    sim: Simulation,
    phase: Phase | None = None,
    *,
    kill_after: int = 0,
    at_key: str = "",
    after: str = "destroy",
    **options: str,
) -> str:
    """The id of a deployment whose process was killed as it entered a phase, after so many events,
    or "before" or "after" a rented machine's key was written. after: as in its spec."""
    settings = sim.settings()
    given: dict[str, Any] = {
        "backend": "local",
        "data_dir": str(settings.data_dir),
        "engine": {"port": settings.engine.port, "log": settings.engine.log},
        "timeouts": {"start": 20, "install": 20, "session": 10, "release": 3, "http": 3},
        **sim.flags,
    }
    case = Case(
        dict(os.environ),
        given,
        sim.folder / "answer.json",
        options,
        kill_after,
        str(phase or ""),
        at_key,
        after=after,
    )
    status, said = await run(case)
    assert status == -signal.SIGKILL, said
    journal = await Journal.open(settings.data_dir / "journal.sqlite")
    try:
        (row,) = await journal.deployments()
    finally:
        await journal.aclose()
    return row.id


@contextlib.asynccontextmanager
async def served_by_a_machine_that_is_dark(
    sim: Simulation, after: str
) -> AsyncIterator[tuple[FakeShopper, str]]:
    """It is rented and served; since its process was killed, nobody answers at its address."""
    sim.with_gpu()
    async with contextlib.AsyncExitStack() as up:
        ssh, key = await up.enter_async_context(sim.machine())
        offer = listing("vastai-101", price=0.10)
        async with FakeShopper(offers=[offer], ssh=ssh, private_key=key) as shopper:
            sim.flags |= {"backend": "shopper", "shopper_url": shopper.url}
            ident = await interrupted(sim, Phase.SERVING, after=after)
            assert len(shopper.billing()) == 1
            await up.aclose()
            yield shopper, ident


def tries_again(event: ev.Event) -> bool:
    return isinstance(event, ev.Progressed) and "waited" in event.text
