"""Verification in whole deployments: what was promised is put to the proof, and what is not kept
degrades the deployment without ending it."""

from __future__ import annotations

from pathlib import Path

import pytest

import sandbox_support as support
from deployment_support import last, of_type, told
from gdl.cli import exit_codes
from gdl.domain import events as ev
from gdl.domain.events import Recorded
from gdl.domain.health import Check, CheckStatus
from gdl.domain.offers import OfferQuery
from gdl.domain.spec import DeploymentSpec

EXTRA = ("tool_forced", "tool_auto", "reasoning", "memory")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    support.isolate(monkeypatch, tmp_path)


async def deployed(folder: Path, scenario: str, **more: object) -> list[Recorded]:
    """A small model that calls tools and reasons, served and released."""
    spec = DeploymentSpec("qwen3-0.6b", "sandbox", bench=False, after="destroy", **more)  # type: ignore[arg-type]
    async with support.sandbox(support.settings(folder, scenario)) as (orchestrator, _):
        return await told(orchestrator, await orchestrator.deployments.deploy(spec))


def checks(events: list[Recorded]) -> dict[str, Check]:
    return {each.check.name: each.check for each in of_type(events, ev.Checked)}


async def test_what_was_promised_is_proven(tmp_path: Path) -> None:
    events = await deployed(tmp_path, "calm")
    found = checks(events)
    assert tuple(found)[-4:] == EXTRA
    assert {found[name].status for name in EXTRA} == {CheckStatus.PASSED}
    assert last(events).degraded == ()
    (compared,) = of_type(events, ev.MemoryCompared)
    memory = compared.memory
    assert memory.model == "Qwen/Qwen3-0.6B" and memory.gpu and memory.gpu_count >= 1
    assert memory.release and memory.sequences and memory.weights_gib and memory.cache_gib
    assert f"sequences of {memory.context:,} tokens" in found["memory"].detail
    assert found["models"].detail.endswith(f"takes {memory.context:,} tokens")
    # Its figures are made up, so they say nothing of how good a prediction is.
    assert memory.predicted_sequences is None and "simulated" in memory.words


async def test_what_is_not_kept_degrades_and_ends_nothing(tmp_path: Path) -> None:
    events = await deployed(tmp_path, "no-tool-calls")
    end, found = last(events), checks(events)
    assert (end.outcome, end.kind, len(end.attempts)) == ("released", "", 1)
    assert end.degraded == ("tool_forced", "tool_auto", "reasoning")
    assert exit_codes.of_finished(end) == exit_codes.OK
    assert found["inference"].status is CheckStatus.PASSED
    assert "all text is reasoning and content is null" in found["reasoning"].detail
    notes = [each.text for each in of_type(events, ev.Noted) if each.level == "warning"]
    assert any("degraded: tool_forced, tool_auto, reasoning" in note for note in notes)


async def test_without_tools_none_is_called(tmp_path: Path) -> None:
    found = checks(await deployed(tmp_path, "no-tool-calls", tools=False))
    assert "tool_forced" not in found and "tool_auto" not in found
    assert found["reasoning"].status is CheckStatus.DEGRADED


async def test_less_than_what_was_asked_for_is_said(tmp_path: Path) -> None:
    query = OfferQuery(context=32768, concurrency=2)
    events = await deployed(tmp_path, "calm", query=query)
    (compared,) = of_type(events, ev.MemoryCompared)
    assert (compared.memory.asked_context, compared.memory.asked_sequences) == (32768, 2)
    assert compared.memory.context == 32768
    held = compared.memory.sequences or 0.0
    degraded = checks(events)["memory"].status is CheckStatus.DEGRADED
    assert degraded is (held < 2 * 0.995)
