"""An engine of another package: it deploys without a change to anything but its own folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import TabbedContent

import sandbox_support as support
from deployment_support import last, of_type, told, until
from gdl.bootstrap import open_orchestrator
from gdl.domain import events as ev
from gdl.domain.benchmark import BenchLoad
from gdl.domain.decisions import AfterServing
from gdl.domain.errors import UsageError
from gdl.domain.health import CheckStatus, Condition
from gdl.domain.phase import Billing, Phase
from gdl.domain.spec import DeploymentSpec
from gdl.engines import registry
from gdl.settings import load
from gdl.tui.app import GdlApp
from outside_packages import install
from test_sandbox_cli import gdl
from tui_pilot import loaded, screen_text
from tui_pilot import until as shown
from waiting import wait_until

SPEC = DeploymentSpec("toy-small", "sandbox", bench=False, engine="toy")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package, installed for this test."""
    folder = install("toy_engine", tmp_path / "site")
    monkeypatch.syspath_prepend(str(folder))
    registry.info.cache_clear()
    yield folder
    registry.get.cache_clear()
    registry.info.cache_clear()


@pytest.fixture
def alone(site: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    support.isolate(monkeypatch, tmp_path)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_it_comes_after_the_built_in_engines(site: Path) -> None:
    assert registry.names()[0] == "vllm" and "toy" in registry.names()
    assert registry.info("toy").display_name == "Toy"
    assert registry.info("toy").log_title == "toy.log"


@pytest.mark.parametrize(
    ("module", "words"),
    [("raise RuntimeError('\\x1b[2J')\n", "RuntimeError"), ("", "AttributeError"),
     ("Engine = dict\n", "AttributeError")],
)  # fmt: skip
def test_a_broken_package_is_an_error_with_its_name(
    module: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"bad{abs(hash(module)) % 1000}"
    (tmp_path / f"{name}_engine.py").write_text(module)
    info = tmp_path / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[gdl.engines]\n{name} = {name}_engine:Engine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match="cannot be used") as caught:
        registry.get(name)
    assert words in caught.value.message and f"{name}_engine" in caught.value.hint
    assert caught.value.message.isprintable()


def test_the_command_line_deploys_it(site: Path, tmp_path: Path) -> None:
    more = {"PYTHONPATH": str(site), "GDL_SANDBOX__SPEED": "50"}
    wanted = ("deploy", "toy-small", "--engine", "toy", "--backend", "sandbox")
    done = gdl(tmp_path, *wanted, "--scenario", "calm", "--destroy", "--json", "--bench", **more)
    assert done.returncode == 0, done.stderr
    events = lines(done.stdout)
    assert events[-1]["outcome"] == "released" and events[-1]["billing"] == "released"
    assert events[-1]["benchmark"]["failed"] == 0
    (planned,) = [e for e in events if e["type"] == "deployment_planned"]
    assert planned["spec"]["engine"] == "toy"
    (found,) = [e for e in events if e["type"] == "host_inspected"]
    assert found["facts"]["engine"] == {"installed": False, "told": [["spring", "steel"]]}
    entered = {e["phase"]: e["detail"] for e in events if e["type"] == "phase_changed"}
    assert entered["INSTALLING"] == "a toy with a spring of steel"
    assert entered["STARTING"] == "the spring is wound up"
    assert any("the spring is wound 75%" in e["text"] for e in events if e["type"] == "progressed")


def test_the_command_line_asks_it(site: Path, tmp_path: Path) -> None:
    more = {"PYTHONPATH": str(site)}
    rows = lines(gdl(tmp_path, "models", "--engine", "toy", "--json", **more).stdout)
    # 0.2 GB of weights, the cache guessed from them, and a quarter of a GB for each of four.
    assert [(r["alias"], r["vram_gb"]) for r in rows] == [("toy-small", 1.2), ("toy-big", 70.0)]
    assert all(r["chat"] and not r["tools"] for r in rows)
    plan = gdl(tmp_path, "doctor", "--plan", "none", "--engine", "toy", "--json", **more)
    assert lines(plan.stdout)[0]["spring"] == "steel"
    market = ("offers", "--backend", "sandbox", "--scenario", "calm", "--json", "--model")
    assert gdl(tmp_path, *market, "toy-big", "--engine", "toy", **more).returncode == 0
    other = gdl(tmp_path, *market, "tinyllama", "--engine", "toy", **more)
    assert other.returncode == 2 and "Toy does not support 'tinyllama'" in other.stderr
    log = tmp_path / "toy.log"
    log.write_text("TOY 01:02:03 toy: awake\nTOY 01:02:03 toy: no flux in capacitors\n")
    found = lines(gdl(tmp_path, "diagnose", str(log), "--json", **more).stdout)
    assert found[0]["rule"] == "toy-flux" and found[0]["remedy"] == "Fill capacitors up."


async def test_the_orchestrator_serves_it(alone: None, tmp_path: Path) -> None:
    async with support.sandbox(support.settings(tmp_path, "calm")) as (orchestrator, _):
        ident = await orchestrator.deployments.deploy(SPEC)
        await until(orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text)
        report = await orchestrator.benchmarks.bench(
            ident, BenchLoad(requests=4, concurrency=2, max_tokens=4)
        )
        assert (report.completed, report.output_tokens) == (4, 16)
        sample = await wait_until(
            lambda: (
                (now := orchestrator.endpoints.readings(ident).health)
                and now.tokens_per_s is not None
                and now
            )
        )
        assert sample and (sample.condition, sample.running) == (Condition.HEALTHY, 0.0)
        (rental,) = await orchestrator._journal.rentals()
        assert (rental.engine, rental.engine_log) == ("toy", "toy.log")
        assert (await orchestrator.deployments.attach(ident)) == ident
        await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        assert last(await told(orchestrator, ident)).outcome == "released"


async def test_its_failure_is_explained_by_its_own_rule(alone: None, tmp_path: Path) -> None:
    async with support.sandbox(support.settings(tmp_path, "calm")) as (orchestrator, _):
        spec = replace(SPEC, max_attempts=1, engine_args=("--dry", "springs"))
        events = await told(orchestrator, await orchestrator.deployments.deploy(spec))
    (found,) = of_type(events, ev.Diagnosed)
    assert (found.rule, found.cause) == ("toy-flux", "There is no flux in springs.")
    assert last(events).outcome == "failed" and last(events).hint == "Fill springs up."


async def test_what_it_cannot_do_is_told_before_money_is_spent(alone: None, tmp_path: Path) -> None:
    wanted = support.settings(tmp_path, "calm", install={"runtime": "container"})
    async with support.sandbox(wanted) as (orchestrator, _):
        with pytest.raises(UsageError, match="Toy does not run as container"):
            await orchestrator.deployments.deploy(SPEC)
        assert await orchestrator._journal.rentals() == []


async def test_the_terminal_ui_deploys_it(alone: None, tmp_path: Path) -> None:
    wanted = support.settings(tmp_path, "calm", engine={"name": "toy"})
    async with support.sandbox(wanted) as (orchestrator, _):
        app = GdlApp(
            orchestrator,
            wanted,
            clock=lambda: datetime.now(UTC),
            version="0.1.0",
            reduced_motion=True,
        )
        async with app.run_test(size=(110, 40)) as pilot:
            await loaded(pilot)
            await pilot.press("m")
            await shown(pilot, lambda: "Which model?" in screen_text(app))
            await pilot.press(*"toy-small", "enter")
            await loaded(pilot)
            await pilot.press("enter")
            await shown(pilot, lambda: "install Toy, load the model" in screen_text(app))
            await pilot.press("y")
            await shown(pilot, lambda: "Start Toy" in screen_text(app))
            tabs = app.screen.query_one(TabbedContent)
            assert tabs.get_tab("engine").label_text == "toy.log"
            (ident,) = orchestrator.deployments.active
            await until(
                orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text
            )
            tabs.active = "engine"
            await shown(pilot, lambda: "toy: wound up" in screen_text(app))
            await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
            async with asyncio.timeout(30):
                finished = await orchestrator.deployments.wait(ident)
            assert finished.outcome == "released"
            assert orchestrator.deployments.state(ident).phase is Phase.STOPPED


async def test_a_kept_one_is_attached_to_whatever_the_settings_name(
    alone: None, tmp_path: Path
) -> None:
    wanted = load(
        backend="local", data_dir=tmp_path / "data", timeouts={"install": 30, "start": 30}
    )
    async with open_orchestrator(wanted) as orchestrator:
        spec = replace(SPEC, backend="local", after="keep")
        events = await told(orchestrator, await orchestrator.deployments.deploy(spec))
        assert last(events).outcome == "serving", last(events).error
        said = [line for e in of_type(events, ev.LogLines) for line in e.lines]
        (kept,) = [line for line in said if "toy: kept in " in line]
        assert kept.endswith("/cache/toy") and str(tmp_path) in kept
    async with open_orchestrator(wanted) as orchestrator:
        (row,) = await orchestrator.sessions.rows()
        ident = await orchestrator.deployments.attach(row.session.id)
        await until(orchestrator, ident, lambda e: isinstance(e, ev.Noted) and "holding" in e.text)
        state = orchestrator.deployments.state(ident)
        assert state.spec is not None and state.spec.engine == "toy"
        assert all(check.status is not CheckStatus.FAILED for check in state.checks.values())
        await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        assert last(await told(orchestrator, ident)).billing is not Billing.ACTIVE
