"""Answers of a marketplace that go wrong while something is deployed: each costs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployment_support import last
from gdl.simulator.fault_models import Http, Operation
from marketplace_support import deployed, market, words
from sandbox_support import isolate

BOTH: list[tuple[Operation, str]] = [
    ("create", "429"),
    ("sessions", "garbage"),
    ("sessions", "truncated"),
    ("session", "503"),
    ("session", "cut"),
    ("delete", "cut"),
    ("delete", "500"),
    ("delete", "lies"),
    ("inventory", "503"),
]
VASTAI: list[tuple[Operation, str]] = [
    ("sessions", "429"),
    ("delete", "429"),
    ("inventory", "429"),
    ("account", "500"),
    ("ssh-key", "429"),
]
RUNPOD: list[tuple[Operation, str]] = [("create", "500")]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("name", "on", "answer"),
    [("vastai", *each) for each in BOTH + VASTAI] + [("runpod", *each) for each in BOTH + RUNPOD],
)
async def test_requests_that_go_wrong_cost_nothing(
    tmp_path: Path, name: str, on: Operation, answer: str
) -> None:
    async with market(name, tmp_path) as (orchestrator, stand_in):
        stand_in.draws.inject(Http.model_validate({"on": on, "answer": answer}), 1)
        events = await deployed(orchestrator, name)
        assert last(events).outcome == "released", words(events)
        assert len(stand_in.contracts) == 1
