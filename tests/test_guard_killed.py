"""The guard while the computer that rented the machine is gone: killed in the middle, with the
network away and the machine's clock wrong. The marketplaces are stand-ins, the shells are real."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gdl.simulator.fault_models import Http
from gdl.simulator.machines import HostElsewhere
from gdl.simulator.markets import MarketStandIn
from gdl.simulator.scenario import load as load_scenario
from gdl.simulator.simulated_machine import Machine
from local_shell import put_script
from real_sshd import real_sshd
from test_sandbox_cli import environment
from waiting import wait_until

CHILD = [sys.executable, str(Path(__file__).parent / "guard_child.py")]
LASTS_S = 45
"""Of the money: long enough for a deployment to serve, and a minute is waited for after it."""


class Computer:
    """The one that rents; it can be killed."""

    def __init__(self, folder: Path, market: MarketStandIn, **more: str) -> None:
        self.folder = folder
        self._name = market.name
        prefix = f"GDL_{market.name.upper()}"
        self._more = {
            f"{prefix}__URL": market.url,
            f"{prefix}__KEY": market.key,
            "GDL_TIMEOUTS__HTTP": "5",
            "TERM": "dumb",
            **more,
        }

    async def run(self, *words: str) -> tuple[int, str]:
        """A command to its end; (exit code, what it said)."""
        done = await asyncio.to_thread(
            subprocess.run,
            [*CHILD, "--backend", self._name, *words],
            env=environment(self.folder, **self._more),
            capture_output=True,
            text=True,
            timeout=100,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    async def json(self, *words: str) -> list[dict[str, Any]]:
        code, said = await self.run(*words, "--json")
        assert code == 0, said
        return [json.loads(line) for line in said.splitlines() if line.startswith("{")]

    @contextlib.asynccontextmanager
    async def deploying(self, *words: str) -> AsyncIterator[tuple[subprocess.Popen[bytes], Path]]:
        log = self.folder / "deploy.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*CHILD, "--backend", self._name, "deploy", *words],
                env=environment(self.folder, **self._more),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            yield process, log
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    async def limit(self) -> str:
        """What a machine costs in LASTS_S, of the one that is taken first."""
        rows = await self.json("offers", "--min-vram", "20")
        suitable = [row for row in rows if not row.get("excluded")]
        offer = suitable[0].get("offer", suitable[0])
        return f"{float(offer['price_per_hour']) * LASTS_S / 3600:.8f}"


def contract_of(market: MarketStandIn) -> Any:
    (ident,) = market.rented()
    return market.contracts[ident]


async def killed_then_told(computer: Computer, market: MarketStandIn, wrong_clock: str) -> None:
    """A deployment whose computer is killed while the money lasts: within a minute after the cap
    the machine is gone, and what is told then is true."""
    limit = await computer.limit()
    words = ("qwen3-0.6b", "--min-vram", "20", "--no-bench", "--max-spend", limit)
    async with computer.deploying(*words) as (process, log):
        await wait_until(
            lambda: "the guard on the machine: ends at" in log.read_text(),
            f"a guard: {log}",
            limit_s=40,
        )
        rented_at = time.monotonic()
        contract = contract_of(market)
        if isinstance(contract.machine, Machine):
            # From now on its clock says something else.
            put_script(contract.machine.folder / "bin", "date", f"echo {wrong_clock}")
        # The first requests for its end come to nothing.
        market.draws.inject(Http(on="delete", answer="cut"), 2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert market.rented() == [contract.id]
    await wait_until(lambda: market.rented() == [], "it ends itself", limit_s=LASTS_S + 60)
    lasted_s = time.monotonic() - rented_at
    assert LASTS_S / 3 < lasted_s < LASTS_S + 60, "at the cap, and within a minute of it"
    rows = await computer.json("sessions")
    (row,) = [row for row in rows if row["id"] == contract.id]
    assert row["billing"] == "released" and row["guard"].startswith("the guard ended it at ")
    assert row["guard"].endswith(" spent") and row["cost"] == pytest.approx(float(limit), rel=0.2)
    code, said = await computer.run("resume", contract.id)
    assert code == 10 and "the guard ended it at" in said, said
    entries = await computer.json("ledger")
    (entry,) = [one for one in entries if one.get("kind") == "released"]
    assert "the guard ended it at" in entry["evidence"]


@pytest.mark.minute
@pytest.mark.long
@pytest.mark.parametrize(("name", "clock"), [("vastai", "4102444800"), ("runpod", "86400")])
async def test_a_machine_ends_itself_when_its_computer_was_killed(
    tmp_path: Path, name: str, clock: str
) -> None:
    async with MarketStandIn(
        name, load_scenario("calm"), root=tmp_path / "market", speed=100.0
    ) as market:
        await killed_then_told(Computer(tmp_path, market), market, clock)
        if market.vastai is not None:
            keys = [r for r in market.received if "/auth/apikeys/" in r.path and r.method != "GET"]
            assert [r.method for r in keys] == ["POST", "DELETE"], "made, and revoked"


@pytest.mark.real
@pytest.mark.long
async def test_on_a_real_ssh_host_too(tmp_path: Path) -> None:
    home = tmp_path / "machine"
    home.mkdir()
    with real_sshd(tmp_path / "sshd", f"SetEnv HOME={home}") as sshd:
        keys = tmp_path / "sshd" / "authorized_keys"
        host = HostElsewhere(sshd.host, sshd.port, sshd.user, sshd.identity.read_text())
        async with MarketStandIn("vastai", load_scenario("calm"), host=host, speed=100.0) as market:
            # Other tests may be on this host, too.
            computer = Computer(tmp_path, market, GDL_ENGINE__LOG=str(home / "vllm.log"))

            async def let_in() -> None:
                """As the marketplace would: what is attached to a machine opens it."""
                while True:
                    texts = [key.export_public_key().decode() for key in host.keys]
                    keys.write_text("".join(texts))
                    await asyncio.sleep(0.1)

            letting = asyncio.create_task(let_in())
            try:
                await killed_then_told(computer, market, "0")
                assert market.rented() == [] and len(market.contracts) == 1
            finally:
                letting.cancel()
        for job in (home / ".gdl-tui" / "jobs").glob("*/pid"):
            with contextlib.suppress(ProcessLookupError, ValueError):
                os.killpg(int(job.read_text()), signal.SIGKILL)
