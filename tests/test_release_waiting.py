"""What is told while the end of a machine is asked for: at once what stands in its way and what
helps, and how long it is waited for, which the user may choose."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from itertools import groupby
from types import SimpleNamespace
from typing import cast

import pytest

from cli_support import SCENARIOS, Scripted, opener_of, session_row
from gdl.backends.base import Backend
from gdl.cli.app import run
from gdl.domain import clock
from gdl.domain.errors import BackendRefused
from gdl.orchestrator.api.ports import OrchestratorApi
from gdl.orchestrator.leasing.release_proof import Evidence
from gdl.orchestrator.leasing.release_requests import ReleaseRequests
from gdl.settings import Settings, Timeouts

HINT = "check VAST_API_KEY"


class Refusing:
    """A marketplace that refuses so often, and then knows the machine no more."""

    traits = SimpleNamespace(bills=False)

    def __init__(self, status: int, times: int) -> None:
        self.status, self.times, self.asked = status, times, 0

    async def release(self, session_id: str) -> None:
        self.asked += 1
        if self.asked <= self.times:
            raise BackendRefused(f"no end of {session_id}", HINT, status=self.status)

    async def session(self, session_id: str) -> SimpleNamespace:
        status = SimpleNamespace(terminal=True, status="stopped", error="", has_machine=False)
        status.time_over = lambda _now: False
        return status


@pytest.mark.parametrize(("status", "helps"), [(401, True), (403, True), (500, False)])
async def test_what_stands_in_the_way_is_told_once_and_with_what_helps(
    status: int, helps: bool
) -> None:
    market, told = Refusing(status, 2), list[str]()

    async def tell(text: str) -> None:
        told.append(text)

    settings = Settings(timeouts=Timeouts(release=60))
    requests = ReleaseRequests(cast(Backend, market), settings, clock.now)
    evidence = Evidence()
    await requests.bring_about("s-1", evidence, tell)
    await requests.aclose()
    assert market.asked == 3 and evidence.over
    about = f"no end of s-1 ({HINT})" if helps else "no end of s-1"
    # The same is told again every few seconds.
    assert [line for line, _ in groupby(line.rpartition(", ")[0] for line in told)] == [
        "releasing s-1: waiting for the backend to end it",
        f"releasing s-1: {about}, asking again",
    ]


def played(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[float], str]:
    """The exit code, how long it is waited for at most, and what was said."""
    limits: list[float] = []
    scripted = Scripted(SCENARIOS["destroy"], rows=(session_row(),))
    opener = opener_of(scripted)

    def opened(
        settings: Settings, *, options: Mapping[str, str]
    ) -> AbstractAsyncContextManager[OrchestratorApi]:
        limits.append(settings.timeouts.release)
        return opener(settings, options=options)

    code = run(("destroy", "sess-1", "--yes", *words), opener=opened)
    return code, limits, capsys.readouterr().err


@pytest.mark.usefixtures("own_data")
def test_how_long_it_is_waited_for_is_the_users_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert played(capsys)[:2] == (0, [600.0])
    assert played(capsys, "--wait", "2m")[:2] == (0, [120.0])
    code, limits, err = played(capsys, "--wait", "2m", "--seen-gone")
    assert (code, limits) == (2, []) and "without --seen-gone" in err
    code, limits, err = played(capsys, "--wait", "soon")
    assert (code, limits) == (2, []) and "write 30s, 10m, 2h or 1d" in err
