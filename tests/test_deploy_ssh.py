"""Deployments on a machine one already has, over SSH; and where it forbids port forwarding."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployment_support import SIMULATED, Simulation, deployed, last, of_type, spec, until
from gdl.bootstrap import open_orchestrator
from gdl.domain import events as ev
from gdl.domain.decisions import AfterServing
from gdl.domain.health import CheckStatus
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Billing
from gdl.domain.remedies import Remedy, RemedyKind
from gdl.orchestrator.service import Orchestrator
from local_processes import processes_naming
from local_shell import put_script
from real_sshd import SSHD, Sshd, real_sshd
from waiting import wait_until


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulation:
    simulation = Simulation(monkeypatch, tmp_path)
    engine = {"port": simulation.settings().engine.port, "log": str(tmp_path / "vllm.log")}
    simulation.flags = {"backend": "ssh", "engine": engine}
    return simulation


async def test_a_machine_of_ones_own_is_used_and_left_tidy(sim: Simulation) -> None:
    async with sim.own_machine() as (host, identity):
        where = {"host": host, "identity": str(identity)}
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            events = await deployed(orchestrator, spec("ssh", bench=True))
            uv = next(e for e in of_type(events, ev.StepFinished) if e.name == "uv")
            assert (uv.outcome, uv.detail) == ("done", "while the machine was looked at")
            end = last(events)
            assert (end.outcome, end.billing) == ("released", Billing.NONE)
        jobs = Path(os.environ["HOME"]) / ".gdl-tui" / "jobs"
        assert not (jobs / "engine").exists()
        assert processes_naming(str(sim.folder / "home")) == []
        assert identity.exists()
        # The second deployment finds what the first has installed.
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            events = await deployed(orchestrator, spec("ssh"))
            outcomes = {e.name: e.outcome for e in of_type(events, ev.StepFinished)}
            assert set(outcomes.values()) == {"skipped"}


async def test_what_an_earlier_deployment_had_to_add_is_known_and_handed_over(
    sim: Simulation,
) -> None:
    """A machine of one's own keeps the remedies for the very same command."""
    sim.server("long")
    found = Remedy(RemedyKind.FLAG, "--max-model-len", "2048")
    async with sim.own_machine() as (host, identity):
        where = {"host": host, "identity": str(identity)}
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            wanted = spec("ssh", engine_args=("--max-model-len", "4096"), auto_fix=True)
            (first,) = of_type(await deployed(orchestrator, wanted), ev.RemedyApplied)
            assert (first.by, first.remedy.value) == ("auto", "2048")
            ident = await orchestrator.deployments.deploy(wanted)
            events = [each async for each in orchestrator.deployments.events(ident)]
            assert last(events).outcome == "released", last(events).error
            (again,) = of_type(events, ev.RemedyApplied)
            assert (again.by, again.remedy) == ("earlier", found)
            script = await orchestrator.support.export(ident, "script")
    assert "--max-model-len 2048" in script


async def test_a_kept_server_is_found_without_naming_the_host_again(sim: Simulation) -> None:
    async with sim.own_machine() as (host, identity):
        where = {"host": host, "identity": str(identity)}
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            end = last(await deployed(orchestrator, spec("ssh", after="keep")))
            assert end.outcome == "serving"
        async with open_orchestrator(sim.settings()) as orchestrator:
            rows = await orchestrator.sessions.rows()
            assert [r.session.id for r in rows] == [end.session_id]
            checks = await orchestrator.endpoints.health(str(end.session_id))
            assert {c.status for c in checks} <= {CheckStatus.PASSED, CheckStatus.SKIPPED}
            assert (await orchestrator.benchmarks.bench(str(end.session_id))).failed == 0
            await orchestrator.sessions.destroy(str(end.session_id))
        async with open_orchestrator(sim.settings()) as orchestrator:
            assert await orchestrator.sessions.rows() == []
    assert processes_naming(str(sim.folder / "home")) == []


async def test_a_cut_connection_is_made_again_and_excludes_nobody(sim: Simulation) -> None:
    async with sim.own_machine() as (host, identity), cutting(host, 2) as (address, cuts):
        where = {"host": address, "identity": str(identity)}
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            events = await deployed(orchestrator, spec("ssh"))
            assert last(events).outcome == "released", last(events).error
            assert cuts == [0] and of_type(events, ev.ExclusionSet) == []
            # One that is cut every time is told, and tried again by the next deployment.
            cuts[0] = 10_000
            sim.monkeypatch.setattr("gdl.orchestrator.machine.ways._CUT_S", 0.5)
            end = last(await deployed(orchestrator, spec("ssh")))
            assert "failed: Connection reset by peer" in str(end.error)
            cuts[0] = 0
            assert await orchestrator.market.exclusions() == []
            (row,) = await orchestrator.market.offers(OfferQuery())
            assert row.excluded is None


@contextlib.asynccontextmanager
async def cutting(host: str, times: int) -> AsyncIterator[tuple[str, list[int]]]:
    """A way to the machine that resets so many connections first: (host, how many are left)."""
    user, _, rest = host.rpartition("@")
    there, _, port = rest.rpartition(":")
    left = [times]

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if left[0]:
            left[0] -= 1
            writer.transport.abort()
            return
        onward_reader, onward_writer = await asyncio.open_connection(there, int(port))

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(pump(reader, onward_writer), pump(onward_reader, writer))

    async with await asyncio.start_server(carry, "127.0.0.1", 0) as server:
        yield f"{user}@127.0.0.1:{server.sockets[0].getsockname()[1]}", left


async def test_a_second_deployment_on_a_busy_machine_is_refused(sim: Simulation) -> None:
    async with sim.own_machine() as (host, identity):
        where = {"host": host, "identity": str(identity)}
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            first = last(await deployed(orchestrator, spec("ssh", after="keep")))
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            end = last(await deployed(orchestrator, spec("ssh")))
            assert end.kind == "deploy" and "earlier deployment still serves" in str(end.error)
            # The refusal has not harmed the one that serves.
            checks = await orchestrator.endpoints.health(str(first.session_id))
            assert {c.status for c in checks} == {CheckStatus.PASSED, CheckStatus.SKIPPED}
            await orchestrator.sessions.destroy(str(first.session_id))


async def test_what_is_done_ahead_ends_when_the_machine_is_left(sim: Simulation) -> None:
    """A port that is taken ends the deployment while uv is still brought."""
    tools = sim.folder / "tools"
    tools.mkdir()
    slow, began = sim.folder / "slow-uv", sim.folder / "began"
    slow.symlink_to("/bin/sleep")
    put_script(tools, "uv", f": > {began}; exec {slow} 300")
    # The look takes until the other has begun.
    put_script(tools, "nvidia-smi", f"while ! [ -e {began} ]; do sleep 0.02; done; exit 9")
    sim.monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        engine = {**sim.flags["engine"], "port": taken.getsockname()[1]}  # type: ignore[dict-item]
        async with sim.own_machine() as (host, identity):
            where = {"host": host, "identity": str(identity)}
            async with open_orchestrator(
                sim.settings(engine=engine), options=where
            ) as orchestrator:
                end = last(await deployed(orchestrator, spec("ssh")))
            assert "already in use" in str(end.error)
            assert began.exists() and processes_naming(str(slow)) == []


async def test_what_a_killed_server_left_is_ended_and_nobody_elses(sim: Simulation) -> None:
    sim.server("orphan")
    async with sim.own_machine() as (host, identity):
        where = {"host": host, "identity": str(identity)}
        async with open_orchestrator(sim.settings(), options=where) as orchestrator:
            await deployed(orchestrator, spec("ssh", after="keep"))
        folder = Path(os.environ["HOME"]) / ".gdl-tui" / "jobs" / "engine"
        os.killpg(int((folder / "pid").read_text()), signal.SIGKILL)
        stranger = subprocess.Popen(["sleep", "60"])
        sim.server("")
        try:
            async with open_orchestrator(sim.settings(), options=where) as orchestrator:
                events = await deployed(orchestrator, spec("ssh"))
                assert last(events).outcome == "released"
                notes = [n.text for n in of_type(events, ev.Noted)]
                assert [n for n in notes if n.startswith("ended 1 processes that an earlier")]
            assert stranger.poll() is None
        finally:
            stranger.kill()
            stranger.wait()


@pytest.mark.real
async def test_where_forwarding_is_forbidden_curl_over_ssh_does_it(
    sim: Simulation, tmp_path: Path
) -> None:
    assert Path(SSHD).exists(), "install openssh-server"
    options = (
        "AllowTcpForwarding no",
        f"SetEnv PATH={SIMULATED}:/usr/bin:/bin SIM_PYTHON={sys.executable}",
    )
    with real_sshd(tmp_path / "sshd", *options) as sshd:
        work = {"work_dir": str(tmp_path / "machine")}
        async with orchestrator_on(sim, sshd, install=work) as orchestrator:
            ident = await orchestrator.deployments.deploy(spec("ssh", after="hold", bench=True))
            await until(
                orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text
            )
            state = orchestrator.deployments.state(ident)
            assert state.tunnel is not None and state.tunnel.mode == "ssh-curl"
            assert state.checks["inference"].status is CheckStatus.PASSED
            assert state.benchmark is not None and state.benchmark.failed == 0
            await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
            assert (await orchestrator.deployments.wait(ident)).outcome == "released"


@pytest.mark.real
@pytest.mark.parametrize("sessions", [1, 2])
async def test_a_machine_that_allows_few_sessions(
    sim: Simulation, tmp_path: Path, sessions: int
) -> None:
    """Watching, the log and samples give way to commands, and come again: all of it is told, and
    the server is ended."""
    options = (
        f"MaxSessions {sessions}",
        f"SetEnv PATH={SIMULATED}:/usr/bin:/bin SIM_PYTHON={sys.executable}",
    )
    with real_sshd(tmp_path / "sshd", *options) as sshd:
        work = {"work_dir": str(tmp_path / "machine")}
        async with orchestrator_on(sim, sshd, install=work) as orchestrator:
            events = await deployed(orchestrator, spec("ssh", bench=False))
            assert last(events).outcome == "released", last(events).error
            # No command was left without a session by what had given way to it.
            checked = [event.check for event in of_type(events, ev.Checked)]
            assert checked and not [c for c in checked if c.status is CheckStatus.FAILED]
    # Who watched it ends with its next word.
    await wait_until(lambda: processes_naming(str(tmp_path / "machine")) == [], limit_s=10)


@contextlib.asynccontextmanager
async def orchestrator_on(
    sim: Simulation, sshd: Sshd, **flags: object
) -> AsyncIterator[Orchestrator]:
    settings = sim.settings(**flags)
    where = {"host": sshd.address, "identity": str(sshd.identity)}
    async with open_orchestrator(settings, options=where) as orchestrator:
        yield orchestrator
