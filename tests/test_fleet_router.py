"""The router as a program: installed, started again, told of replicas, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psutil
import pytest

from gdl.domain.errors import DeployError
from gdl.domain.event import Event
from gdl.domain.fleet_events import RouterEnded, RouterStarted
from gdl.domain.fleet_spec import FleetSpec
from gdl.domain.secret import Secret
from gdl.domain.spec import DeploymentSpec
from gdl.keyring.key_files import write_key
from gdl.orchestrator.fleet.dialects import DIALECTS
from gdl.orchestrator.fleet.router_process import RouterProcess
from gdl.settings import Settings, load
from local_ports import free_port

FAKE = Path(__file__).with_name("fake_router.py")
SPEC = FleetSpec(DeploymentSpec("m", "local"), 2)


class Told:
    """What a router tells, in order."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()

    async def __call__(self, event: Event) -> None:
        self.events.put_nowait(event)

    async def started(self) -> RouterStarted:
        async with asyncio.timeout(60):
            while True:
                event = await self.events.get()
                if isinstance(event, RouterStarted):
                    return event

    async def ended(self) -> RouterEnded:
        async with asyncio.timeout(60):
            while True:
                event = await self.events.get()
                if isinstance(event, RouterEnded):
                    return event


async def silent(_: str) -> None:
    """Nobody is told."""


def settings(folder: Path, **fleet: object) -> Settings:
    values = {"program": str(FAKE), **fleet}
    return load(data_dir=folder / "data", fleet=values)


@contextlib.asynccontextmanager
async def router(folder: Path, port: int = 0) -> AsyncIterator[tuple[RouterProcess, Told]]:
    key = write_key(folder / "fleet.api", Secret("k"))
    made, told = RouterProcess(SPEC, key, folder / "logs", settings(folder)), Told()
    await made.prepare(silent)
    await made.begin(port, told)
    try:
        yield made, told
    finally:
        await made.aclose()


@contextlib.asynccontextmanager
async def server(name: str) -> AsyncIterator[str]:
    """A server that answers every request with its name; its address."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode())
        await writer.drain()
        writer.close()

    port = free_port()
    async with await asyncio.start_server(handle, "127.0.0.1", port):
        yield f"http://127.0.0.1:{port}"


async def asked(endpoint: str, times: int) -> set[str]:
    async with httpx.AsyncClient(trust_env=False, headers={"Connection": "close"}) as http:
        return {(await http.get(f"{endpoint}/models")).text for _ in range(times)}


async def test_requests_go_to_those_that_were_added(tmp_path: Path) -> None:
    async with server("a") as one, server("b") as two, router(tmp_path) as (made, told):
        await made.add(one)
        endpoint = (await told.started()).endpoint
        assert await asked(endpoint, 3) == {"a"}
        await made.add(two)
        assert await asked(endpoint, 4) == {"a", "b"}
        await made.remove(one)
        assert await asked(endpoint, 3) == {"b"}


async def test_one_that_dies_is_back_at_the_same_address_with_all_replicas(tmp_path: Path) -> None:
    async with server("a") as one, server("b") as two, router(tmp_path) as (made, told):
        first = await told.started()
        await made.add(one)
        await made.add(two)
        os.kill(first.pid, signal.SIGKILL)
        assert "signal 9" in (await told.ended()).reason
        second = await told.started()
        assert second.endpoint == first.endpoint and second.pid != first.pid
        assert await asked(second.endpoint, 4) == {"a", "b"}
    assert not psutil.pid_exists(second.pid)


async def test_one_that_does_not_answer_keeps_no_other_waiting(tmp_path: Path) -> None:
    """The router waits long for a server that is added and does not answer."""
    dead = f"http://127.0.0.1:{free_port()}"
    async with server("a") as one, server("b") as two, router(tmp_path) as (made, told):
        endpoint = (await told.started()).endpoint
        await made.add(one)
        await made.add(two)
        adding = asyncio.create_task(made.add(dead))
        await asyncio.sleep(0)
        await made.remove(one)
        assert not adding.done()
        assert await asked(endpoint, 3) == {"b"}
        adding.cancel()


async def test_one_that_does_not_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_ROUTER_FAILS", "1")
    async with router(tmp_path) as (_, told):
        assert "no such option" in (await told.ended()).reason


async def test_a_port_of_another_program_is_given_up_in_the_end(tmp_path: Path) -> None:
    async with server("other") as other:
        port = int(other.rpartition(":")[2])
        async with router(tmp_path, port) as (_, told):
            assert f"port {port} is in use" in (await told.ended()).reason
            assert not (await told.started()).endpoint.startswith(f"{other}/")


async def test_without_an_index_it_is_said_before_anything_is_rented(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = tmp_path / "bin" / "uv"
    uv.parent.mkdir()
    uv.write_text("#!/bin/sh\necho 'error: Could not connect to the index' >&2\nexit 2\n")
    uv.chmod(0o700)
    monkeypatch.setenv("PATH", f"{uv.parent}:{os.environ['PATH']}")
    key = write_key(tmp_path / "fleet.api", Secret("k"))
    made = RouterProcess(SPEC, key, tmp_path / "logs", settings(tmp_path, program=""))
    with pytest.raises(DeployError) as refused:
        await made.prepare(silent)
    assert "cannot be installed: error: Could not connect" in refused.value.message
    assert "GDL_FLEET__PROGRAM" in refused.value.hint


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    key = write_key(tmp_path / "fleet.api", Secret("k"))
    wanted = settings(tmp_path, program=str(tmp_path / "none"))
    with pytest.raises(DeployError, match="there is no router at"):
        await RouterProcess(SPEC, key, tmp_path / "logs", wanted).prepare(silent)


@pytest.mark.parametrize("name", DIALECTS)
def test_no_command_line_holds_the_key(name: str, tmp_path: Path) -> None:
    key = write_key(tmp_path / "fleet.api", Secret("the-key-itself"))
    words = DIALECTS[name].command(Path("/bin/router"), 4000, 4001, "round_robin", key)
    assert "the-key-itself" not in " ".join(words)
    assert "127.0.0.1" in words and "0.0.0.0" not in words
