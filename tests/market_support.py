"""Machines that outlive a process: the simulated service rents out a real SSH host with a simulated
GPU, over a cable that can be pulled out. Its fixtures are there for every test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deployment_support import GONE_PID, Simulation, last, spec, told, until
from gdl.domain import events as ev
from gdl.journal.store import Journal
from gdl.orchestrator.api.views import TunnelRow
from gdl.orchestrator.service import Orchestrator
from shopper_support import FakeShopper, listing
from waiting import wait_until

OFFERS = [listing("vastai-101", price=0.10), listing("vastai-102")]


class Cable:
    """TCP between us and a machine, which can be pulled out."""

    def __init__(self, port: int) -> None:
        self._to, self.port = port, 0
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()

    async def plug(self) -> None:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def pull(self) -> None:
        assert self._server is not None
        self._server.close()
        for end in list(self._ends):
            end.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        pairs = ((reader, far_writer), (far_reader, writer))
        self._ends |= {writer, far_writer}
        await asyncio.gather(*(_copy(*pair) for pair in pairs))
        self._ends -= {writer, far_writer}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulation:
    simulation = Simulation(monkeypatch, tmp_path)
    simulation.with_gpu()
    return simulation


@contextlib.asynccontextmanager
async def market(sim: Simulation) -> AsyncIterator[tuple[FakeShopper, Cable]]:
    async with sim.machine() as ((host, port, user), key):
        cable = Cable(port)
        await cable.plug()
        ssh = (host, cable.port, user)
        async with FakeShopper(offers=OFFERS, ssh=ssh, private_key=key) as shopper:
            sim.flags |= {"backend": "shopper", "shopper_url": shopper.url}
            yield shopper, cable
        await cable.pull()


@contextlib.asynccontextmanager
async def journal_of(sim: Simulation) -> AsyncIterator[Journal]:
    journal = await Journal.open(sim.folder / "data" / "journal.sqlite")
    try:
        yield journal
    finally:
        await journal.aclose()


async def kept(sim: Simulation) -> str:
    """A deployment that left its machine serving; its id."""
    async with sim.orchestrator() as orchestrator:
        ident = await orchestrator.deployments.deploy(spec("shopper", after="keep"))
        assert last(await told(orchestrator, ident)).outcome == "serving"
    return ident


async def forgotten(sim: Simulation, ident: str) -> None:
    """As if its process had been killed while it held the tunnel."""
    async with journal_of(sim) as journal:
        await journal.set_outcome(ident, "", GONE_PID)


async def held(orchestrator: Orchestrator, ident: str) -> None:
    await until(orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text)


@dataclass
class Place:
    """A serving session, and the command line beside it."""

    simulation: Simulation
    shopper: FakeShopper
    cable: Cable
    session: str
    entry: tuple[str, ...] = ("-m", "gdl")
    """What Python is given to run."""

    async def has_no_tunnel(self) -> bool:
        return not await self.gdl("tunnel", "--json")

    async def gdl(self, *words: str, code: int = 0) -> str:
        """What the command line prints; in a process of its own."""
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, *self.entry, "--backend", "shopper", *words),
            env={
                **os.environ,
                "GDL_DATA_DIR": str(self.simulation.folder / "data"),
                "GDL_SHOPPER_URL": self.shopper.url,
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await child.communicate()
        assert child.returncode == code, err.decode()
        return out.decode() if code == 0 else err.decode()

    async def open(self) -> TunnelRow:
        row = json.loads(await self.gdl("tunnel", self.session, "--json"))
        return TunnelRow(**row)


@pytest.fixture
async def place(sim: Simulation) -> AsyncIterator[Place]:
    async with market(sim) as (shopper, cable):
        await kept(sim)
        (session,) = shopper.billing()
        here = Place(sim, shopper, cable, session)
        try:
            yield here
        finally:
            await here.gdl("destroy", session, "--yes")
            await wait_until(here.has_no_tunnel)
