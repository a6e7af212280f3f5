"""kill -9 at every request of a deployment to a marketplace, before it is acted upon and after: the
next process sees every machine that exists, and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import SecretStr

from deployment_support import SIMULATED
from gdl.bootstrap import open_orchestrator
from gdl.domain.errors import UsageError
from gdl.domain.phase import Billing
from gdl.settings import load
from gdl.simulator.markets import NAMES, MarketStandIn
from gdl.simulator.scenario import load as scenario
from gdl.simulator.scripted_answers import Received
from resume_child import CHILDREN, Case, play
from waiting import wait_until

pytestmark = [pytest.mark.long, pytest.mark.soak]

AT_ONCE = 3
SPEED = 100.0
LIMIT_S = 60.0
When = Literal["before", "after"]


@dataclass
class Kill:
    """What came of it. request: the one it was killed at, "" where it had ended before that."""

    number: int
    when: When
    request: str = ""
    existed: int = 0
    wrong: str = ""


def settings_of(market: MarketStandIn, folder: Path) -> dict[str, Any]:
    return {
        "data_dir": str(folder / "data"),
        "backend": market.name,
        "consumer_id": "tester",
        "timeouts": {"start": 40, "install": 40, "session": 30, "release": 15, "http": 5},
        market.name: {"url": market.url, "key": SecretStr(market.key)},
    }


async def one(name: str, folder: Path, number: int, when: When) -> Kill:
    """A deployment that is killed at its request of that number, on a marketplace of its own."""
    (folder / "home").mkdir(parents=True)
    found = Kill(number, when)
    async with MarketStandIn(
        name, scenario("calm"), root=folder / "market", seed=3, speed=SPEED, offers=60
    ) as market:
        case = Case(
            {
                "HOME": str(folder / "home"),
                "PATH": f"{SIMULATED}:/usr/sbin:/usr/bin:/sbin:/bin",
                "SIM_PYTHON": sys.executable,
                "LANG": "C.UTF-8",
            },
            settings_of(market, folder),
            folder / "answer.json",
            model="tinyllama",
        )
        child = CHILDREN.Process(target=play, args=(case,))
        left = number

        async def told(asked: Received) -> None:
            nonlocal left
            left -= 1
            if not left and child.pid is not None:
                found.request = f"{asked.method} {asked.path}"
                os.kill(child.pid, signal.SIGKILL)

        (market.arrived if when == "before" else market.answered)(told)
        child.start()
        await asyncio.to_thread(child.join, LIMIT_S)
        if child.exitcode is None:
            child.kill()
            found.wrong = "it hung"
        elif not found.request and child.exitcode:
            found.wrong = f"exit status {child.exitcode}"
        elif found.request:
            market.arrived(None)
            market.answered(None)
            await _seen_and_ended(market, folder, found)
    return found


async def _seen_and_ended(market: MarketStandIn, folder: Path, found: Kill) -> None:
    # What was being made when the process was killed is made by now.
    await asyncio.sleep(0.1)
    found.existed = len(market.rented())
    if len(market.contracts) > 1:
        found.wrong = f"rented twice: {list(market.contracts)}"
        return
    settings = load(None, **settings_of(market, folder))
    async with open_orchestrator(settings) as orchestrator:
        rows = await orchestrator.sessions.rows()
        seen = {row.session.id for row in rows if row.billing is not Billing.RELEASED}
        if unseen := set(market.rented()) - seen:
            found.wrong = f"unseen: {unseen}"
            return
        for ident in market.rented():
            # Its end may have been asked for before the kill: then it is gone at some moment.
            with contextlib.suppress(UsageError):
                await orchestrator.sessions.destroy(ident)
        await wait_until(lambda: market.rented() == [])
        billing = [row for row in await orchestrator.sessions.rows() if row.billing in _BILLS]
        if billing:
            found.wrong = f"said to bill though it is gone: {billing[0].session.id}"


_BILLS = (Billing.ACTIVE, Billing.REQUESTED)


async def every_request(name: str, folder: Path, when: When) -> list[Kill]:
    """At the first request, the second, and so on until the deployment is over before that."""
    found: list[Kill] = []
    over = asyncio.Event()
    numbers = iter(range(1, 1000))

    async def worker() -> None:
        while not over.is_set():
            number = next(numbers)
            kill = await one(name, folder / f"kill-{number}", number, when)
            if not kill.request and not kill.wrong:
                over.set()
            else:
                found.append(kill)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return sorted(found, key=lambda kill: kill.number)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", NAMES)
async def test_no_machine_is_unseen_after_a_kill_at_any_request(
    name: str, when: When, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = await every_request(name, tmp_path, when)
    wrong = [kill for kill in found if kill.wrong]
    existed = Counter(bool(kill.existed) for kill in found)
    with capsys.disabled():
        print(
            f"\n{name}: {len(found)} kills {when} a request was acted upon, {existed[True]} of them"
            f" with a machine, {len(wrong)} wrong"
        )
        for kill in wrong:
            print(f"  at request {kill.number}, {kill.request}: {kill.wrong}")
    assert existed[True] and existed[False]
    assert not wrong
