"""Going on with a deployment whose process was killed: who may, and what is offered."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from deployment_support import Simulation, last, told
from gdl.domain import events as ev
from gdl.domain.errors import UsageError
from gdl.domain.events import Recorded
from gdl.domain.phase import Billing, Phase
from gdl.orchestrator.deployment.exclusions import DeploymentExclusions, restore
from gdl.orchestrator.machine.log_file import bytes_kept, skipping
from interrupted_support import interrupted
from local_processes import processes_naming
from waiting import wait_until

SERVER_STARTS = 23
"""Journaled events until the first word of a server that was started."""


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Simulation:
    return Simulation(monkeypatch, tmp_path)


async def test_it_goes_on_under_its_own_id(sim: Simulation) -> None:
    ident = await interrupted(sim, Phase.INSTALLING)
    async with sim.orchestrator() as orchestrator:
        (row,) = await orchestrator.deployments.resumable()
        assert (row.deployment_id, row.phase) == (ident, Phase.INSTALLING)
        assert await orchestrator.deployments.resume(ident) == ident
        assert await orchestrator.deployments.resumable() == []
        history = await told(orchestrator, ident)
    end = last(history)
    assert (end.outcome, end.billing, end.session_id) == ("released", Billing.NONE, row.session_id)
    assert [r.seq for r in history] == sorted({r.seq for r in history})
    rented = [r.event for r in history if isinstance(r.event, ev.SessionRented)]
    assert [event.session_id for event in rented] == [row.session_id]


async def test_what_failed_meanwhile_is_fixed_on_the_same_machine(sim: Simulation) -> None:
    sim.server("import")
    ident = await interrupted(sim, kill_after=SERVER_STARTS)
    # The server ends while nobody watches.
    await wait_until(lambda: processes_naming(str(sim.folder)) == [])
    async with sim.orchestrator() as orchestrator:
        assert await orchestrator.deployments.resume(ident) == ident
        history = await told(orchestrator, ident)
    events = [r.event for r in history]
    assert any(isinstance(e, ev.RemedyApplied) for e in events)
    assert last(history).outcome == "released"
    assert len([e for e in events if isinstance(e, ev.SessionRented)]) == 1


async def test_of_two_that_resume_at_once_one_wins(sim: Simulation) -> None:
    ident = await interrupted(sim, Phase.PREFLIGHT)
    async with sim.orchestrator() as first, sim.orchestrator() as second:
        both = await asyncio.gather(
            first.deployments.resume(ident),
            second.deployments.resume(ident),
            return_exceptions=True,
        )
        (refused,) = [each for each in both if isinstance(each, BaseException)]
        assert isinstance(refused, UsageError)
        assert "gdl-tui" in refused.message
        winner = first if both[0] == ident else second
        assert last(await told(winner, ident)).outcome == "released"


async def test_attach_goes_on_where_nothing_serves_yet(sim: Simulation) -> None:
    ident = await interrupted(sim, Phase.STARTING)
    async with sim.orchestrator() as orchestrator:
        (row,) = await orchestrator.deployments.resumable()
        assert await orchestrator.deployments.attach(str(row.session_id)) == ident
        assert last(await told(orchestrator, ident)).outcome == "released"


async def test_the_command_line_rents_no_second_machine_beside_the_first(sim: Simulation) -> None:
    ident = await interrupted(sim, Phase.CONNECTING)
    code, _, err = await gdl(sim, "deploy", "smollm2-135m", "--no-bench", "--destroy")
    assert code == 2
    assert f"gdl-tui resume {ident}" in err
    assert "--new" in err
    code, _, err = await gdl(sim, "resume")
    assert code == 0, err
    assert f"continuing in {Phase.CONNECTING}" in err
    code, _, err = await gdl(sim, "resume")
    assert (code, "nothing to resume" in err) == (0, True)
    code, _, err = await gdl(sim, "resume", ident)
    assert (code, "has ended (released)" in err) == (2, True)


async def gdl(sim: Simulation, *words: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gdl", "--backend", "local", *words),
        env={**os.environ, "GDL_DATA_DIR": str(sim.folder / "data")},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await child.communicate()
    assert child.returncode is not None
    return child.returncode, out.decode(), err.decode()


# -- parts -----------------------------------------------------------------------------------------


def test_a_log_goes_on_where_its_copy_ends(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = b"".join(b"line %d of the second server\n" % n for n in range(500))
    earlier = b"".join(b"line %d of the first server\n" % n for n in range(500))
    head = log[:4096]
    assert bytes_kept(path, head) == 0
    for kept in (0, 1, 100, 4095, 4096, 9000, len(log)):
        path.write_bytes(earlier + log[:kept])
        assert bytes_kept(path, head) == kept
        copy = bytearray(path.read_bytes())
        write = skipping(copy.extend, kept)
        for at in range(0, len(log), 777):
            write(log[at : at + 777])
        assert bytes(copy) == earlier + log


def test_whom_the_journal_excludes_is_excluded_again() -> None:
    from datetime import UTC, datetime

    at = datetime(2026, 1, 1, tzinfo=UTC)
    events: list[ev.Event] = [
        ev.AttemptStarted(1, "a-1", "vast", "RTX", 1, 24, 0.1),
        ev.ExclusionSet(1, "machine", "m-1", "SSH failed"),
        ev.ExclusionSet(1, "provider", "vast", "set aside", aside=True),
        ev.ExclusionLifted(1, "provider", "vast", "nothing else suits"),
        ev.AttemptStarted(2, "a-2", "vast", "RTX", 1, 24, 0.1),
        ev.ExclusionSet(2, "provider", "vast", "set aside", aside=True),
        ev.ExclusionSet(2, "provider", "dock", "excluded by you"),
        ev.ExclusionLifted(2, "provider", "dock"),
    ]
    exclusions = DeploymentExclusions()
    restore(
        exclusions, [Recorded("d", n, at, event) for n, event in enumerate(events, 1)], "shopper"
    )
    assert [(x.kind, x.key) for x in exclusions.in_force] == [("machine", "m-1")]
    assert [x.key for x in exclusions.aside] == ["vast"]
    assert exclusions.failed_hosts(("shopper", "provider", "vast")) == 2
    assert exclusions.included == {"dock"}
