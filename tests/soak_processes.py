"""The processes of a soak: a market, programs that deploy, and the start that must find everything.

Each is forked from a process that has imported everything and runs no loop: it begins in
milliseconds, and can be killed like a program of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import patch

import asyncssh

from failover_support import FATES, QuickAttempt, WordMachine
from gdl.backends.sandbox.backend import SandboxBackend
from gdl.domain import clock
from gdl.domain.errors import GdlError
from gdl.domain.spec import DeploymentSpec
from gdl.engines import registry as engines
from gdl.hub.lookup import Hub
from gdl.journal.consumer_id import consumer_id_of
from gdl.journal.store import Journal, Statement
from gdl.orchestrator.machine import connection
from gdl.orchestrator.run.attempt import Attempt
from gdl.orchestrator.service import Orchestrator
from gdl.settings import load
from gdl.simulator import fault_models as fm
from gdl.simulator import key_pool, simulated_machine
from gdl.simulator.market import Market
from gdl.simulator.scenario import Scenario
from gdl.simulator.scenario import load as load_scenario
from gdl.simulator.service import Service
from gdl.simulator.simulated_machine import Machine

SPEED = 100.0
MODEL = "qwen2-1.5b"
TIMEOUTS = {"connect": 1, "http": 3, "rent": 5, "session": 10, "release": 2}
_REAL = datetime
REAL_SPEED = 40.0
_REAL_TIMEOUTS = {"connect": 5, "http": 5, "rent": 10, "session": 20, "release": 8, "start": 60}


def prepare() -> None:
    """Once, before anything is forked: machines are a word, unless a round has simulated ones with
    SSH and processes, and there is one key for all."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    pem = key.export_private_key("pkcs8-pem").decode()
    key_pool._make = lambda: key_pool.Key(pem, key)
    patch.object(simulated_machine, "Machine", WordMachine).start()
    # Whoever resumes a deployment asks such a machine for SSH, and there is none.
    patch.object(connection, "_SSHD_COMES_S", 0.5).start()


def fork(work: Callable[[], None], log: Path) -> int:
    """The pid of a process that does `work` and ends; what it prints goes to `log`."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if not pid:
        _be_child(work, log)
    return pid


def _be_child(work: Callable[[], None], log: Path) -> NoReturn:
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for stream in (1, 2):
            os.dup2(descriptor, stream)
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


# -- the market --------------------------------------------------------------------------------


def scenario(seed: int) -> Scenario:
    """Chaos, with ends and rents that misbehave besides."""
    chance = random.Random(seed)
    base = load_scenario("chaos")
    faults: list[Any] = [
        fm.SlowCreate(share=0.04, after=chance.choice((2.0, 8.0, 30.0))),
        fm.Refused(share=0.04, made=True),
        fm.Dies(share=0.03, at="loading", stays=True),
        fm.Http(on="delete", answer="cut", made=True, times=0, share=0.05),
        fm.Http(on="sessions", answer="500", times=0, share=0.03),
    ]
    if chance.random() < 0.3:
        faults.append(fm.Http(on="delete", answer="lies", times=0, share=0.1))
    if chance.random() < 0.4:
        places = tuple(chance.sample(range(1, 9), 3))
        faults.append(fm.DestroyFails(cheapest=places, times=chance.choice((0, 1, 12))))
    timing = base.timing.model_copy(update={"sweep": chance.choice((0.0, 7.5))})
    return base.model_copy(update={"fault": (*base.fault, *faults), "timing": timing})


def market(seed: int, folder: Path, port: int, books: Path, *, real: bool) -> None:
    """Serve on `port` until a signal ends it. SIGUSR1: write all that was rented to `books`.
    SIGUSR2: the SSH servers of all machines end. real: with machines, and nothing else wrong."""

    async def serve() -> None:
        if real:
            simulated_machine.Machine = Machine  # type: ignore[misc]
        wrong = load_scenario("calm") if real else scenario(seed)
        speed = REAL_SPEED if real else SPEED
        service = Service(wrong, root=folder, seed=seed, speed=speed)
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        ending: list[asyncio.Future[Any]] = []
        loop.add_signal_handler(signal.SIGUSR1, lambda: _write_books(service.market, books))
        loop.add_signal_handler(signal.SIGUSR2, lambda: ending.append(_no_ssh(service.market)))
        loop.add_signal_handler(signal.SIGTERM, ended.set)
        await service.start(port)
        await ended.wait()
        await service.aclose()

    asyncio.run(serve())


def _no_ssh(of: Market) -> asyncio.Future[Any]:
    machines = [s.machine for s in of.sessions.values() if isinstance(s.machine, Machine)]
    servers = [machine._server for machine in machines if machine._server is not None]
    return asyncio.gather(*(server.aclose() for server in servers), return_exceptions=True)


def _write_books(of: Market, path: Path) -> None:
    rows = [
        {
            "id": s.id,
            "rented": s.rented,
            "status": s.status,
            "error": s.error,
            "offer": s.offer.id,
            "made": bool(s.ssh_user),
            "created": s.created.timestamp(),
            "ended": s.ended.timestamp() if s.ended else None,
        }
        for s in of.sessions.values()
    ]
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(rows))
    fresh.replace(path)


# -- programs -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a program suffers. skew_s: its clock is off by that. disk_after_s, disk_bytes: from
    then on no file may grow beyond that size. killed_at: SIGKILL at that write to the journal,
    before or after it."""

    skew_s: float = 0.0
    disk_after_s: float | None = None
    disk_bytes: int = 0
    killed_at: int = 0
    before: bool = False


class _Instances(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _REAL)


def skew_clock(seconds: float) -> None:
    """This process's clock, as the program (not the simulator) reads it, is off from now on."""
    offset = timedelta(seconds=seconds)

    class Skewed(_REAL, metaclass=_Instances):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return _REAL.now(tz) + offset

        @classmethod
        def __get_pydantic_core_schema__(cls, _: Any, schema_of: Callable[[Any], Any]) -> Any:
            return schema_of(_REAL)

    for name, module in list(sys.modules.items()):
        ours = name.startswith("gdl.") and not name.startswith("gdl.simulator")
        if ours and getattr(module, "datetime", None) is _REAL:
            module.datetime = Skewed  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def program(folder: Path, url: str, seed: int, *, real: bool) -> AsyncIterator[Orchestrator]:
    """What `gdl-tui` is made of, on the market at `url`; machines as in failover_support."""
    chance = random.Random(seed)
    fates = ["", "", "", "", *FATES]
    fates.remove("ends")
    quick = type(
        "Soaked",
        (QuickAttempt,),
        {"fate": staticmethod(lambda _: chance.choice(fates)), "pause": chance.uniform(0, 0.05)},
    )
    settings = load(
        backend="sandbox",
        data_dir=folder,
        consumer_id="soak",
        sandbox={"url": url},
        timeouts=_REAL_TIMEOUTS if real else TIMEOUTS,
    )
    consumer = consumer_id_of(settings)
    journal = await Journal.open(folder / "journal.sqlite")
    orchestrator = Orchestrator(
        settings=settings,
        backends=[SandboxBackend(settings, consumer)],
        engines=engines.get,
        journal=journal,
        hub=Hub(settings, clock.now),
        consumer_id=consumer,
        attempt=Attempt if real else quick,
    )
    try:
        yield orchestrator
    finally:
        await orchestrator.aclose()


def deploy(
    folder: Path, url: str, seed: int, trouble: Trouble, end: Path, *, resume: bool, real: bool
) -> None:
    """One deployment; its last event as JSON in `end`. resume: one that was interrupted, where
    there is one."""
    chance = random.Random(seed)
    if trouble.skew_s:
        skew_clock(trouble.skew_s)
    if trouble.killed_at:
        _kill_at_write(trouble.killed_at, before=trouble.before)
    after = "keep" if chance.random() < 0.25 else "destroy"

    async def work() -> None:
        if trouble.disk_after_s is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(trouble.disk_after_s, _fill_disk, trouble.disk_bytes)
        async with program(folder, url, seed, real=real) as ours:
            resumable = await ours.deployments.resumable() if resume else ()
            if resumable:
                ident = await ours.deployments.resume(chance.choice(resumable).deployment_id)
            else:
                spec = DeploymentSpec(MODEL, "sandbox", bench=False, after=after, max_attempts=4)
                ident = await ours.deployments.deploy(spec)
            finished = await ours.deployments.wait(ident)
            _unlimited()
            end.write_text(
                json.dumps(
                    {
                        "deployment": ident,
                        "resumed": bool(resumable),
                        "outcome": finished.outcome,
                        "billing": finished.billing.value,
                        "kind": finished.kind,
                        "error": finished.error or "",
                    }
                )
            )

    try:
        asyncio.run(work())
    except GdlError as error:
        _unlimited()
        end.write_text(json.dumps({"kind": error.kind, "error": error.message}))


def _kill_at_write(number: int, *, before: bool) -> None:
    write_all, writes = Journal._write_all, itertools.count(1)

    async def counted(journal: Journal, *statements: Statement) -> int:
        last = next(writes) == number
        if last and before:
            os.kill(os.getpid(), signal.SIGKILL)
        changed = await write_all(journal, *statements)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return changed

    patch.object(Journal, "_write_all", counted).start()


def _fill_disk(most: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _unlimited() -> None:
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def settle(folder: Path, url: str, seed: int, told: Path, *, ends: bool, real: bool) -> None:
    """The next start: list what is rented; `ends`: destroy all of it, and list again. What it says
    goes to `told`, one list of rows after the other."""

    async def work() -> None:
        lists: list[list[dict[str, Any]]] = []
        failed: list[str] = []
        async with program(folder, url, seed, real=real) as ours:
            lists.append(await _rows(ours))
            if ends:
                for row in lists[0]:
                    if row["billing"] != "released":
                        try:
                            await ours.sessions.destroy(row["id"])
                        except GdlError as error:
                            failed.append(f"{error.kind}: {error.message}")
                with contextlib.suppress(GdlError):  # the market is moody
                    await ours.sessions.ask_again()
                lists.append(await _rows(ours))
        told.write_text(json.dumps({"lists": lists, "failed": failed}))

    asyncio.run(work())


async def _rows(ours: Orchestrator) -> list[dict[str, Any]]:
    for _ in range(20):
        try:
            rows = await ours.sessions.rows()
        except GdlError as error:
            # The market is moody; a user would try again, too.
            trouble = error
            await asyncio.sleep(0.1)
        else:
            return [{"id": r.session.id, "billing": r.billing, "ours": r.ours} for r in rows]
    raise trouble


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Nothing is heard of a process meanwhile: a cut."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def over(pid: int, limit_s: float) -> int | None:
    """The wait status of a child; None while it runs on."""
    until = time.monotonic() + limit_s
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        if time.monotonic() >= until:
            return None
        time.sleep(0.01)
