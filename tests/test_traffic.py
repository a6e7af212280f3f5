"""What went through a machine's network: read from its kernel, kept while it serves, told."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from gdl.domain.errors import Disconnected
from gdl.domain.host import CommandResult
from gdl.domain.phase import Phase
from gdl.domain.readings import Traffic
from gdl.host.traffic import traffic_of
from gdl.orchestrator.machine import gpu_sampler
from gdl.tui.screens.dialogs import Details
from tui_pilot import shows, until
from tui_support import make_app, session_row

RECEIVED, SENT = 31_200_000_000, 412_000_000
DEV = f"""Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
    lo: 9999999    100    0    0    0     0          0         0  9999999    100 0 0 0 0 0 0
  eth0: {RECEIVED} 20800000    0    0    0     0          0         0 {SENT} 300000 0 0 0 0 0 0
docker0:    5555     10    0    0    0     0          0         0     7777     10 0 0 0 0 0 0
"""


def test_what_stays_on_the_machine_is_not_counted() -> None:
    assert traffic_of(DEV) == Traffic(RECEIVED, SENT)
    for nothing in ("", "cat: /proc/net/dev: No such file", "  eth0: 1 2 3", DEV[:300]):
        assert traffic_of(nothing) is None


class Machine:
    """Serves, and is out of reach at the second look."""

    def __init__(self, ended: asyncio.Event) -> None:
        self.ended, self.looks = ended, 0

    async def run(self, command: str, **_more: Any) -> CommandResult:
        assert command == "cat /proc/net/dev"
        self.looks += 1
        if self.looks == 1:
            return CommandResult(0, DEV, "")
        self.ended.set()
        raise Disconnected("the SSH connection was lost", "it is made again")


async def test_it_is_read_while_the_machine_serves(monkeypatch: Any) -> None:
    monkeypatch.setattr(gpu_sampler, "LOOK_EVERY_S", 0.001)
    ended, readings = asyncio.Event(), SimpleNamespace(gpu=None, traffic=None)
    state = SimpleNamespace(phase=Phase.SERVING)
    deployment = SimpleNamespace(rental=None, readings=readings, state=state)
    machine = Machine(ended)
    await gpu_sampler.watch(cast(Any, deployment), machine, ended)
    assert machine.looks == 2 and readings.traffic == Traffic(RECEIVED, SENT)


async def test_the_details_of_a_session_tell_it() -> None:
    app, orchestrator = make_app()
    orchestrator.rows = [session_row("s-1", ours=True)]
    orchestrator.traffic = Traffic(RECEIVED, SENT)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("4")
        await until(pilot, shows(app, "Rented machines · 1"))
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Details))
        await until(pilot, shows(app, "31 GB received, 0.4 GB sent since the machine started"))
