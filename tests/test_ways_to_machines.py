"""Several ways to one machine: a dead one costs seconds, and the one that leads there is kept."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deployment_support import Simulation
from gdl.domain.errors import SshError
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.secret import Secret
from gdl.domain.session import Session, SessionStatus, SshAddress
from gdl.keyring.key_files import write_key
from gdl.orchestrator.machine.ways import first_link, ways_to
from local_ports import free_port


def rental(folder: Path, key: str) -> Rental:
    path = write_key(folder / "k.pem", Secret(key))
    return Rental(
        *("i1", "d1", 1, "vastai", "vastai", "a1", "me", 0.3, datetime.now(UTC), Billing.ACTIVE),
        session_id="s1",
        key_file=str(path),
        host_key_file=str(folder / "k.hostkey"),
    )


def running(*ways: SshAddress) -> Session:
    return Session(
        *("s1", "vastai", "vastai", SessionStatus.RUNNING), ssh=ways[0], ssh_alternatives=ways[1:]
    )


@pytest.mark.parametrize("dead_first", [True, False])
async def test_the_way_that_leads_there_is_taken_and_tried_first_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dead_first: bool
) -> None:
    simulation = Simulation(monkeypatch, tmp_path)
    async with simulation.machine() as (address, key):
        there, dead = SshAddress(*address), SshAddress("127.0.0.1", free_port(), "root")
        session = running(dead, there) if dead_first else running(there, dead)
        ours = rental(tmp_path, key)
        link, now = await first_link(ours, session, simulation.settings())
        async with contextlib.aclosing(link):
            assert (now.host, now.port, now.user) == address
            assert (await link.run("echo in")).stdout.strip() == "in"
        assert ways_to(session, now)[0] == there


async def test_no_way_leads_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(monkeypatch, tmp_path)
    async with simulation.machine() as (_, key):
        dead = [SshAddress("127.0.0.1", free_port(), "root") for _ in range(2)]
        with pytest.raises(SshError, match="refuses the connection"):
            await first_link(rental(tmp_path, key), running(*dead), simulation.settings())
