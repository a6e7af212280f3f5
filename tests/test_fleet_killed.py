"""kill -9 of the process that runs a fleet: another goes on with it, at the same address, on the
same machines; and nothing is left once it is released."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest

from deployment_support import SIMULATED
from gdl.simulator.scenario import load as scenario
from gdl.simulator.service import Service

pytestmark = [pytest.mark.long, pytest.mark.soak]

ROUTER = Path(__file__).with_name("fake_router.py")
SPEED = 100.0
LIMIT_S = 120.0


class Shell:
    """The real command line, as a user runs it against one market."""

    def __init__(self, folder: Path, service: Service, url: str) -> None:
        self.service = service
        (folder / "home").mkdir()
        self.environment: Mapping[str, str] = {
            "HOME": str(folder / "home"),
            "PATH": f"{SIMULATED}:{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "SIM_PYTHON": sys.executable,
            "LANG": "C.UTF-8",
            "GDL_DATA_DIR": str(folder / "data"),
            "GDL_BACKEND": "sandbox",
            "GDL_CONSUMER_ID": "tester",
            "GDL_SANDBOX__URL": url,
            "GDL_FLEET__PROGRAM": str(ROUTER),
        }

    @contextlib.asynccontextmanager
    async def run(self, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gdl", *words),
            env=dict(self.environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=2**24,
        )
        reading = asyncio.create_task(_drain(process))
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            await reading

    async def done(self, *words: str) -> str:
        """Its output; it must succeed."""
        async with asyncio.timeout(LIMIT_S):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gdl", *words),
                env=dict(self.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    def rented(self) -> list[str]:
        return self.service.market.rented()


async def _drain(process: asyncio.subprocess.Process) -> None:
    assert process.stderr is not None
    while await process.stderr.read(65536):
        pass


async def until(process: asyncio.subprocess.Process, kind: str, times: int = 1) -> dict[str, str]:
    """That event for the so-manieth time, of those that it prints."""
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        while line := await process.stdout.readline():
            event = json.loads(line)
            if event.get("type") == kind:
                times -= 1
                if not times:
                    return dict(event)
    raise AssertionError(f"it ended without {kind}")


@pytest.fixture
async def shell(tmp_path: Path) -> AsyncIterator[Shell]:
    service = Service(scenario("calm"), root=tmp_path / "market", speed=SPEED)
    url = await service.start(0)
    try:
        yield Shell(tmp_path, service, url)
    finally:
        await service.aclose()


@pytest.mark.parametrize(
    ("kind", "times"),
    [
        ("replica_started", 1),
        ("replica_started", 3),
        ("session_rented", 2),
        ("replica_taken_in", 1),
        ("fleet_serving", 1),
    ],
)
async def test_another_process_goes_on_with_it(shell: Shell, kind: str, times: int) -> None:
    wanted = ("tinyllama", "--replicas", "3", "--no-bench", "--json")
    async with shell.run("deploy", *wanted) as first:
        event = await until(first, kind, times)
        os.kill(first.pid, signal.SIGKILL)
        await first.wait()
    before = set(shell.rented())
    async with shell.run("resume", "--json") as second:
        await until(second, "fleet_serving", 2 if kind == "fleet_serving" else 1)
        (fleet,) = map(json.loads, (await shell.done("scale", "--json")).splitlines())
        assert (fleet["serving"], len(shell.rented())) == (3, 3)
        # What served is kept: no other machine was rented in its place.
        if kind == "fleet_serving":
            assert set(shell.rented()) == before
            assert event["deployment_id"] == fleet["id"]
        key = Path(fleet["api_key_file"]).read_text().strip()
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as http:
            models = (await http.get(f"{fleet['endpoint']}/models")).json()
        assert [m["id"] for m in models["data"]] == ["tinyllama"]
        await shell.done("destroy", fleet["id"], "--yes")
        async with asyncio.timeout(LIMIT_S):
            await second.wait()
    assert shell.rented() == []


async def test_one_whose_process_is_gone_can_be_destroyed(shell: Shell) -> None:
    async with shell.run("deploy", "tinyllama", "--replicas", "2", "--no-bench", "--json") as first:
        event = await until(first, "fleet_serving")
        os.kill(first.pid, signal.SIGKILL)
        await first.wait()
    assert len(shell.rented()) == 2
    await shell.done("destroy", event["deployment_id"], "--yes")
    assert shell.rented() == []


async def test_a_kept_one_is_gone_on_with(shell: Shell) -> None:
    wanted = ("tinyllama", "--replicas", "2", "--no-bench", "--keep")
    await shell.done("deploy", *wanted)
    before = set(shell.rented())
    assert len(before) == 2
    async with shell.run("resume", "--json") as second:
        await until(second, "fleet_serving", 2)
        assert set(shell.rented()) == before
        (fleet,) = map(json.loads, (await shell.done("scale", "--json")).splitlines())
        await shell.done("destroy", fleet["id"], "--yes")
        async with asyncio.timeout(LIMIT_S):
            await second.wait()
    assert shell.rented() == []
