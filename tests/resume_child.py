"""A program of the tests: one deployment, or its resumption, in a process that ends right after a
given event of the journal, as if it had been killed. Nothing of this is in the product."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gdl.bootstrap import open_orchestrator
from gdl.domain.errors import GdlError
from gdl.domain.events import DeploymentFinished, Noted, Recorded
from gdl.domain.serialization import to_plain
from gdl.domain.spec import DeploymentSpec
from gdl.journal.store import Journal
from gdl.settings import load

LIMIT_S = 60.0


@dataclass(frozen=True)
class Case:
    """environment: all of it. kill_after: the number of journaled events, 0 for none. resume: the
    deployment to go on with; None deploys anew. answer: a file for what came of it."""

    environment: Mapping[str, str]
    settings: Mapping[str, Any]
    answer: Path
    options: Mapping[str, str] = field(default_factory=dict)
    kill_after: int = 0
    resume: str | None = None
    after: str = "destroy"
    model: str = "smollm2-135m"


def play(case: Case) -> None:
    os.environ.clear()
    os.environ.update(case.environment)
    os.chdir(case.environment["HOME"])
    if case.kill_after:
        _die_after(case.kill_after)
    asyncio.run(_play(case))


def _die_after(count: int) -> None:
    append = Journal.append
    left = count

    async def counted(journal: Journal, recorded: Recorded) -> None:
        nonlocal left
        await append(journal, recorded)
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    Journal.append = counted  # type: ignore[method-assign, assignment]


async def _play(case: Case) -> None:
    answer: dict[str, Any] = {"phases": [], "notes": []}
    async with open_orchestrator(load(None, **case.settings), options=case.options) as house:
        deployments = house.deployments
        try:
            if case.resume is None:
                spec = DeploymentSpec(
                    case.model,
                    str(case.settings["backend"]),
                    bench=False,
                    after=case.after,
                )
                ident = await deployments.deploy(spec)
            else:
                ident = await deployments.resume(case.resume)
            async with asyncio.timeout(LIMIT_S):
                async for recorded in deployments.events(ident):
                    event = recorded.event
                    if isinstance(event, Noted):
                        answer["notes"].append(event.text)
                    if isinstance(event, DeploymentFinished):
                        answer["finished"] = to_plain(event)
        except GdlError as error:
            answer["refused"] = error.message
        except TimeoutError:
            answer["refused"] = "it never ended"
            answer["phase"] = str(deployments.state(ident).phase)
    case.answer.write_text(json.dumps(answer))
