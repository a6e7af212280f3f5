"""A sweep of a session, asked for in the terminal UI: what was measured is kept in any case."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gdl.domain.benchmark import BenchReport
from gdl.domain.errors import SshError
from gdl.domain.secret import Secret
from gdl.orchestrator.api.views import ReachedEndpoint
from gdl.orchestrator.sessions.benchmarks import SessionBenchmarks
from vllm_support import FakeVllm


def benchmarks_of(server: FakeVllm, kept: list[BenchReport], ends: bool) -> SessionBenchmarks:
    """Of one session that leads to this server. ends: the way there breaks off at last."""

    @asynccontextmanager
    async def reach(ident: str) -> AsyncIterator[ReachedEndpoint]:
        yield ReachedEndpoint(server.url, Secret(""), "tiny", 0.1, "vastai", "RTX 3090")
        if ends:
            raise SshError("the connection is lost")

    async def find(ident: str) -> str:
        return ident

    async def keep(
        rental: str, reports: Sequence[BenchReport], *, workload: str, best: BenchReport | None
    ) -> str:
        kept.extend(reports)
        return "as usual"

    nothing = cast(Any, None)
    return SessionBenchmarks(
        nothing,
        nothing,
        cast(Any, SimpleNamespace(find=find)),
        nothing,
        cast(Any, SimpleNamespace(reach=reach)),
        cast(Any, SimpleNamespace(keep=keep)),
        nothing,
        read_only=False,
    )


@pytest.mark.parametrize("ends", [False, True])
async def test_points_of_a_busy_computer_are_kept_and_marked(
    monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    monkeypatch.setattr("gdl.loadgen.strain.BUSY_SHARE", math.inf)
    monkeypatch.setattr("gdl.loadgen.strain.LAG_LIMIT_MS", -1.0)
    kept: list[BenchReport] = []
    shown: list[BenchReport] = []
    async with FakeVllm() as server:
        sweeping = benchmarks_of(server, kept, ends).sweep("s-1", 1, shown.append)
        if ends:
            with pytest.raises(SshError, match="lost"):
                await sweeping
        else:
            said = await sweeping
            assert said.startswith("at least ") and "no point is reliable" in said
    assert [report.concurrency for report in kept] == [1] == [r.concurrency for r in shown]
    assert "late" in kept[0].note
