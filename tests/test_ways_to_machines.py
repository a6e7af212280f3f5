"""Several ways to one machine: a dead one costs seconds, and the one that leads there is kept."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deployment_support import Simulation
from gdl.domain.engine_image import EngineImage
from gdl.domain.errors import SshAuthFailed, SshError
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.domain.secret import Secret
from gdl.domain.session import Session, SessionStatus, SshAddress
from gdl.keyring.key_files import write_key
from gdl.orchestrator.machine import connection
from gdl.orchestrator.machine.ways import first_link, ways_to
from gdl.settings import Settings
from local_ports import free_port
from virtual_time import clock_for

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


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


@pytest.mark.parametrize(
    ("image", "kind", "longest_s"),
    [
        (None, SshError, 120),
        (EngineImage("vllm/vllm-openai:v1", 9.0), SshError, 300),
        (EngineImage("vllm/vllm-openai:v1", 9.0), SshAuthFailed, 60),
    ],
)
def test_an_image_of_its_own_may_have_to_fetch_its_ssh_server(
    image: EngineImage | None,
    kind: type[SshError],
    longest_s: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = clock_for(monkeypatch, "gdl.orchestrator.machine.connection.time")

    async def refused(*_: object, **__: object) -> None:
        raise kind("refuses the connection")

    async def nothing(*_: object) -> None:
        return None

    monkeypatch.setattr(connection, "first_link", refused)
    asked = Rental(*("i1", "d1", 1, "runpod", "runpod", "a1", "me", 0.3), NOW, Billing.ACTIVE)
    deployment = SimpleNamespace(
        rental=asked, image=image, record=SimpleNamespace(change=nothing), progress=nothing
    )

    async def tried() -> None:
        machine = connection.Machine(cast(Any, deployment), Settings(), rents=True)
        with pytest.raises(kind):
            await machine.connect(running(SshAddress("203.0.113.7", 22, "root")))

    clock.run(tried())
    assert longest_s < clock.monotonic() <= longest_s + 6
