"""What is refused before anything is rented, journaled or run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deployment_support import Simulation, spec
from gdl.domain.errors import UsageError
from gdl.domain.offers import OfferQuery


@pytest.mark.parametrize(
    ("model", "arguments", "words"),
    [
        ("smollm2-135m", ("--api-key", "sk-mine"), "--api-key"),
        ("smollm2-135m", ("--port=9",), "--port"),
        # As the server would understand it.
        ("smollm2-135m", ("--api-k", "sk-mine"), "--api-key"),
        ("smollm2-135m", ("--served_model", "mine"), "--served-model-name"),
        ("moonshotai/Kimi-K2.6", (), "running Python code from its own repository"),
        ("gemma-2b", (), "gated"),
    ],
)
async def test_what_cannot_work_anywhere_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    model: str,
    arguments: tuple[str, ...],
    words: str,
) -> None:
    async with Simulation(monkeypatch, tmp_path).orchestrator() as orchestrator:
        wanted = replace(spec(), model=model, engine_args=arguments)
        with pytest.raises(UsageError, match=words) as refusal:
            await orchestrator.deployments.deploy(wanted)
        assert "sk-mine" not in str(refusal.value)
        assert await orchestrator.support.past_deployments() == []


async def test_machines_that_do_not_reach_each_other_are_refused_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with Simulation(monkeypatch, tmp_path).orchestrator() as orchestrator:
        with pytest.raises(UsageError, match="cannot reach each other: --nodes"):
            await orchestrator.deployments.deploy(spec(query=OfferQuery(nodes=2)))
        assert await orchestrator.support.past_deployments() == []
