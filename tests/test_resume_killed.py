"""kill -9 right after every event of the journal, then `resume`: on the same machine, to the end
that the deployment was to have, with nothing rented beside it and nothing left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deployment_support import SIMULATED, Simulation
from gdl.domain import events as ev
from gdl.domain.events import Recorded
from gdl.domain.transitions import ACTIVE
from gdl.journal.store import Journal
from gdl.simulator.rented_session import Rented
from gdl.simulator.scenario import load as scenario
from gdl.simulator.service import Service
from local_ports import free_port
from local_processes import processes_carrying
from resume_child import Case, run

pytestmark = [pytest.mark.long, pytest.mark.soak]

AT_ONCE = 4
SPEED = 100.0

Make = Callable[[Path], Awaitable["Place"]]


@dataclass
class Place:
    """One user's folder, and how his deployments reach their machines."""

    folder: Path
    settings: dict[str, Any]
    options: dict[str, str] = field(default_factory=dict)
    model: str = "smollm2-135m"
    rented: Callable[[], list[str]] = list
    """Ids of all sessions whose machine was ever made for him, as the market itself has them."""
    billing: Callable[[], list[str]] = list

    @property
    def environment(self) -> dict[str, str]:
        return {
            "HOME": str(self.folder / "home"),
            "PATH": f"{SIMULATED}:/usr/sbin:/usr/bin:/sbin:/bin",
            "SIM_PYTHON": sys.executable,
            "LANG": "C.UTF-8",
        }

    async def play(self, **more: Any) -> tuple[int, dict[str, Any]]:
        """Exit status of the child, and its answer."""
        more |= {"options": self.options, "model": self.model}
        return await run(Case(self.environment, self.settings, self.folder / "answer.json", **more))

    async def journaled(self) -> tuple[str, list[Recorded]]:
        journal = await Journal.open(self.folder / "data" / "journal.sqlite")
        try:
            (row,) = await journal.deployments()
            return row.id, await journal.events(row.id)
        finally:
            await journal.aclose()


def place(folder: Path, **settings: Any) -> Place:
    (folder / "home").mkdir(parents=True)
    return Place(
        folder,
        {
            "data_dir": str(folder / "data"),
            "timeouts": {"start": 40, "install": 40, "session": 30, "release": 10, "http": 5},
            **settings,
        },
    )


async def local(folder: Path) -> Place:
    engine = {"port": free_port(), "log": str(folder / "vllm.log")}
    return place(folder, backend="local", engine=engine)


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[Make]:
    service = Service(scenario("calm"), root=tmp_path / "market", speed=SPEED)
    url = await service.start(0)

    async def make(folder: Path) -> Place:
        name = folder.name
        here = place(folder, backend="sandbox", consumer_id=name, sandbox={"url": url})
        here.model = "tinyllama"

        def mine() -> list[str]:
            # Without the rows of offers that somebody else had taken: no machine was made.
            sessions = service.market.sessions.values()
            return [s.id for s in sessions if s.consumer_id == name and not _taken(s)]

        here.rented = mine
        here.billing = lambda: [i for i in service.market.rented() if i in mine()]
        return here

    try:
        yield make
    finally:
        await service.aclose()


@pytest.fixture
async def own_machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Make]:
    one_at_a_time = asyncio.Lock()
    async with contextlib.AsyncExitStack() as stack:

        async def make(folder: Path) -> Place:
            (folder / "machine").mkdir(parents=True)
            async with one_at_a_time:  # it changes this process's environment
                simulation = Simulation(monkeypatch, folder / "machine")
                (host, port, user), key = await stack.enter_async_context(simulation.machine())
            engine = {"port": free_port(), "log": str(folder / "vllm.log")}
            here = place(folder, backend="ssh", engine=engine)
            identity = folder / "id"
            identity.write_text(key)
            identity.chmod(0o600)
            here.options = {"host": f"{user}@{host}:{port}", "identity": str(identity)}
            return here

        yield make


def _taken(session: Rented) -> bool:
    return "provider create failed" in (session.error or "")


@dataclass
class Outcome:
    kill_after: int
    event: str
    phase: str
    end: str
    wrong: str = ""


async def one(here: Place, count: int, after: str = "destroy") -> Outcome | None:
    """None when the deployment was over before that event."""
    status, _ = await here.play(kill_after=count, after=after)
    if status == 0:
        return None
    assert status == -signal.SIGKILL
    ident, history = await here.journaled()
    last = history[-1].event
    phase = next(
        (str(r.event.phase) for r in reversed(history) if isinstance(r.event, ev.PhaseChanged)),
        "PLANNED",
    )
    done = Outcome(count, type(last).__name__, phase, "")
    before = here.billing()
    status, said = await here.play(resume=ident)
    ended = said.get("finished", {})
    done.end = ended.get("outcome") or said.get("refused") or f"exit {status}"
    if isinstance(last, ev.DeploymentFinished):
        return done if "has ended" in done.end else _wrong(done, said, "it had ended")
    _, after_all = await here.journaled()
    sessions = {r.event.session_id for r in after_all if isinstance(r.event, ev.SessionRented)}
    if done.end != "released":
        return _wrong(done, said, "no end")
    if len(sessions) != 1 or (before and len(here.rented()) != 1):
        return _wrong(done, said, f"sessions {sessions or here.rented()}")
    if left := here.billing():
        return _wrong(done, said, f"still billing: {left}")
    if ended.get("kind") == "release_unconfirmed":
        # Stopping for ten minutes of the market's clock, the service gave up: a named end.
        done.end = "released, not proven"
        return done
    if keys := [p.name for p in (here.folder / "data" / "keys").glob("*")]:
        return _wrong(done, said, f"keys left: {keys}")
    if alive := processes_carrying(str(here.folder / "home")):
        return _wrong(done, said, f"processes left: {alive[:2]}")
    numbers = [r.seq for r in after_all]
    if numbers != sorted(set(numbers)):
        return _wrong(done, said, "the history is not one")
    return done


def _wrong(outcome: Outcome, said: dict[str, Any], why: str) -> Outcome:
    outcome.wrong = f"{why}; {json.dumps(said)[-600:]}"
    return outcome


async def every_event(make: Make, folder: Path) -> list[Outcome]:
    """Kills after the first event, the second, and so on until one is over before that."""
    found: list[Outcome] = []
    over = asyncio.Event()
    numbers = iter(range(1, 500))

    async def worker() -> None:
        while not over.is_set():
            count = next(numbers)
            outcome = await one(await make(folder / f"kill-{count}"), count)
            if outcome is None:
                over.set()
            else:
                found.append(outcome)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    return sorted(found, key=lambda o: o.kill_after)


def judge(name: str, found: list[Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    wrong = [o for o in found if o.wrong]
    phases = Counter(o.phase for o in found)
    with capsys.disabled():
        print(
            f"\n{name}: {len(found)} kills, {len(found) - len(wrong)} resumed on the same machine"
        )
        print("  " + ", ".join(f"{phase} {count}" for phase, count in phases.items()))
        for each in wrong:
            print(f"  after event {each.kill_after} ({each.event}, {each.phase}): {each.wrong}")
    # Runs differ by an event or two, so a phase that is as short can be missed by all kills.
    assert len(phases.keys() & {str(phase) for phase in ACTIVE}) >= len(ACTIVE) - 2
    assert len(wrong) <= 0.05 * len(found)
    money = ("sessions", "still billing", "keys left", "processes left")
    assert not [o for o in wrong if o.wrong.startswith(money)]


async def test_local_is_resumed_after_every_event(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge("local", await every_event(local, tmp_path), capsys)


async def test_a_rented_machine_is_resumed_after_every_event(
    market: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge("sandbox", await every_event(market, tmp_path), capsys)


async def test_a_machine_of_ones_own_is_resumed_after_every_event(
    own_machines: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge("ssh", await every_event(own_machines, tmp_path), capsys)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_machine_is_taken_up_with_its_key_and_released_without(
    market: Make, tmp_path: Path, when: str
) -> None:
    here = await market(tmp_path / "user")
    status, _ = await here.play(kill_at_key=when)
    assert status == -signal.SIGKILL
    (first,) = here.rented()
    ident, _ = await here.journaled()
    status, said = await here.play(resume=ident)
    ended = said["finished"]
    assert (status, ended["outcome"], ended["billing"]) == (0, "released", "released")
    assert here.billing() == []
    assert not list((here.folder / "data" / "keys").glob("*"))
    if when == "after":
        assert here.rented() == [first]
    else:
        # The first is gone, for certain, before another one is asked for.
        assert ended["attempts"][0]["session_id"] == first
        assert len(here.rented()) == 2
