"""A program of the tests: one deployment, or its resumption, in a process that ends right after a
given event of the journal, as if it had been killed. Nothing of this is in the product."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gdl.bootstrap import open_orchestrator
from gdl.domain.errors import GdlError
from gdl.domain.events import DeploymentFinished, Noted, PhaseChanged, Progressed, Recorded
from gdl.domain.offers import OfferQuery
from gdl.domain.secret import Secret
from gdl.domain.serialization import to_plain
from gdl.domain.spec import DeploymentSpec
from gdl.journal.store import Journal
from gdl.keyring.key_files import write_key
from gdl.orchestrator.leasing import renting
from gdl.settings import load

LIMIT_S = 60.0
CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["resume_child", "asyncssh"])
EVERY_EVENT = "KILL_AT_EVERY_EVENT" in os.environ
"""Whether events that tell of progress are all counted: takes three times as long."""


@dataclass(frozen=True)
class Case:
    """environment: all of it. kill_after: the number of journaled events, 0 for none; of
    those that tell of progress the first of each phase counts. kill_in: a phase, as soon as it is
    entered. kill_at_key: "before" or "after" a rented machine's key is written. resume: the
    deployment to go on with; None deploys anew. answer: a file for what came of it."""

    environment: Mapping[str, str]
    settings: Mapping[str, Any]
    answer: Path
    options: Mapping[str, str] = field(default_factory=dict)
    kill_after: int = 0
    kill_in: str = ""
    kill_at_key: str = ""
    resume: str | None = None
    after: str = "destroy"
    model: str = "smollm2-135m"
    nodes: int = 1


def play(case: Case) -> None:
    os.environ.clear()
    os.environ.update(case.environment)
    os.chdir(case.environment["HOME"])
    if case.kill_after or case.kill_in:
        _die(case.kill_after, case.kill_in)
    if case.kill_at_key:
        _die_at_key(case.kill_at_key)
    asyncio.run(_play(case))


def _die_at_key(when: str) -> None:
    def written(path: Path, secret: Secret) -> Path:
        if when == "after":
            write_key(path, secret)
        os.kill(os.getpid(), signal.SIGKILL)
        return path

    renting.write_key = written  # type: ignore[attr-defined]


async def run(case: Case) -> tuple[int, dict[str, Any]]:
    """Play it in a child; exit status, and what came of it."""
    case.answer.unlink(missing_ok=True)
    child = CHILDREN.Process(target=play, args=(case,))
    child.start()
    try:
        await asyncio.to_thread(child.join, 90)
        said = json.loads(case.answer.read_text()) if case.answer.exists() else {}
        return child.exitcode if child.exitcode is not None else 1, said
    finally:
        if child.exitcode is None:
            child.kill()


def _die(count: int, last_phase: str) -> None:
    append = Journal.append
    left, phase, told = count, "", set[str]()

    async def counted(journal: Journal, recorded: Recorded) -> None:
        nonlocal left, phase
        await append(journal, recorded)
        event = recorded.event
        if isinstance(event, PhaseChanged):
            phase = str(event.phase)
            if phase == last_phase:
                os.kill(os.getpid(), signal.SIGKILL)
        if isinstance(event, Progressed) and not EVERY_EVENT:
            # Many alike, of which it depends on the time how many there are.
            if phase in told:
                return
            told.add(phase)
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    Journal.append = counted  # type: ignore[method-assign, assignment]


async def _play(case: Case) -> None:
    answer: dict[str, Any] = {"phases": [], "notes": []}
    async with open_orchestrator(load(None, **case.settings), options=case.options) as orchestrator:
        deployments = orchestrator.deployments
        try:
            if case.resume is None:
                spec = DeploymentSpec(
                    case.model,
                    str(case.settings["backend"]),
                    query=OfferQuery(nodes=case.nodes),
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
