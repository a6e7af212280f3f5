"""An engine that is killed, and one that outlives its server, in every phase: noticed at once, told
right, cleared up by pid, and started once more."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import sandbox_support as support
from deployment_support import last, of_type, told, until
from gdl.domain import events as ev
from gdl.domain.events import Recorded
from gdl.domain.health import Condition
from gdl.domain.phase import Phase
from gdl.domain.remedies import RemedyKind
from gdl.domain.spec import DeploymentSpec
from gdl.endpoint.health_monitor import LOOK_EVERY_S, HealthMonitor, Look
from gdl.orchestrator.endpoint import health_watch
from gdl.orchestrator.service import Orchestrator
from local_processes import processes_naming

PHASES = ("starting", "loading", "serving")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    support.isolate(monkeypatch, tmp_path)


def scenario(
    folder: Path, at: str, phase: str, *, times: int, status: int = 1, shutdown: float = 3.0
) -> str:
    path = folder / "mine.toml"
    path.write_text(
        f'title = "x"\n[timing]\nshutdown = {shutdown}\n[[fault]]\nkind = "server"\n'
        f'at = "{at}"\nphase = "{phase}"\n'
        f"times = {times}\nstatus = {status}\nafter = 60.0\n"
    )
    return str(path)


async def served_again(orchestrator: Orchestrator) -> list[Recorded]:
    """Until it serves with a restart behind it, then released."""
    spec = DeploymentSpec("tinyllama", "sandbox", bench=False, after="hold", max_attempts=1)
    ident = await orchestrator.deployments.deploy(spec)
    again = False

    def serves(event: ev.Event) -> bool:
        nonlocal again
        again = again or isinstance(event, ev.RemedyApplied)
        return isinstance(event, ev.DeploymentFinished) or (
            again and isinstance(event, ev.PhaseChanged) and event.phase is Phase.SERVING
        )

    await until(orchestrator, ident, serves)
    await orchestrator.deployments.cancel(ident)
    return await told(orchestrator, ident)


@pytest.mark.parametrize("phase", PHASES)
async def test_a_killed_engine_is_told_and_started_once_more(phase: str, tmp_path: Path) -> None:
    wanted = support.settings(tmp_path, scenario(tmp_path, "killed", phase, times=1))
    async with support.sandbox(wanted) as (orchestrator, backend):
        events = await served_again(orchestrator)
        assert support.service_of(backend).market.rented() == []
    assert last(events).outcome == "cancelled"
    (found,) = of_type(events, ev.Diagnosed)
    assert found.rule == "engine-killed" and "engine process was killed" in found.cause
    assert any("EngineCore_DP0" in x or "exited unexpectedly" in x for x in found.evidence)
    (applied,) = of_type(events, ev.RemedyApplied)
    assert (applied.remedy.kind, applied.by) == (RemedyKind.RESTART, "auto")
    assert processes_naming(str(tmp_path)) == []


async def test_a_dead_engine_is_noticed_before_its_server_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conditions: list[tuple[int | None, Condition]] = []
    judged = HealthMonitor.judge

    def judge(self: HealthMonitor, look: Look) -> bool:
        changed = judged(self, look)
        conditions.append((look.status, self.condition))
        return changed

    monkeypatch.setattr(HealthMonitor, "judge", judge)
    # It would take a minute to end.
    path = scenario(tmp_path, "killed", "serving", times=1, shutdown=6000.0)
    async with support.sandbox(support.settings(tmp_path, path)) as (orchestrator, _):
        spec = DeploymentSpec("tinyllama", "sandbox", bench=False, after="hold", max_attempts=1)
        ident = await orchestrator.deployments.deploy(spec)
        found = await until(
            orchestrator,
            ident,
            lambda e: (
                isinstance(e, ev.RemedyApplied | ev.DeploymentFinished)
                or (isinstance(e, ev.HealthChanged) and e.condition is Condition.DEAD)
            ),
        )
        await orchestrator.deployments.cancel(ident)
        await told(orchestrator, ident)
    assert isinstance(found.event, ev.HealthChanged)
    dead = [n for n, (status, _) in enumerate(conditions) if status == 503]
    noticed = [n for n, (_, condition) in enumerate(conditions) if condition is Condition.DEAD]
    # By the second look at it, which is within two seconds.
    assert noticed[0] - dead[0] == 1 and 2 * LOOK_EVERY_S < 2.0


async def test_a_server_that_stays_with_a_dead_engine_is_started_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_watch, "DEAD_S", 1.0)
    path = scenario(tmp_path, "killed", "serving", times=1, shutdown=6000.0)
    async with support.sandbox(support.settings(tmp_path, path)) as (orchestrator, _):
        events = await served_again(orchestrator)
    assert last(events).outcome == "cancelled"
    (found,) = of_type(events, ev.Diagnosed)
    assert found.rule == "dead-while-running"


async def test_an_engine_that_is_killed_twice_while_it_serves_is_a_named_failure(
    tmp_path: Path,
) -> None:
    wanted = support.settings(tmp_path, scenario(tmp_path, "killed", "serving", times=0))
    async with support.sandbox(wanted) as (orchestrator, backend):
        spec = DeploymentSpec("tinyllama", "sandbox", bench=False, after="hold", max_attempts=1)
        end = last(await told(orchestrator, await orchestrator.deployments.deploy(spec)))
        assert support.service_of(backend).market.rented() == []
    assert (end.outcome, end.kind, end.billing.value) == ("failed", "deploy", "released")
    assert "by itself, with status 0: The engine process was killed" in str(end.error)
    assert "had already been restarted once" in str(end.error) and end.hint


@pytest.mark.parametrize("status", [129, 137])
@pytest.mark.parametrize("phase", PHASES)
async def test_an_engine_that_its_server_left_behind_is_ended_by_pid(
    phase: str, status: int, tmp_path: Path
) -> None:
    wanted = support.settings(
        tmp_path, scenario(tmp_path, "orphaned", phase, times=1, status=status)
    )
    async with support.sandbox(wanted) as (orchestrator, _):
        events = await served_again(orchestrator)
    assert last(events).outcome == "cancelled"
    (found,) = of_type(events, ev.Diagnosed)
    assert found.rule == "left-behind" and f"signal {status - 128}" in found.cause
    notes = [note.text for note in of_type(events, ev.Noted)]
    assert any(re.search(r"^ended 1 process .* running \(pid \d+\)", text) for text in notes), notes
    assert processes_naming(str(tmp_path)) == []
