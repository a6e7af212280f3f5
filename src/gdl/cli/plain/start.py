"""The way from nothing to a served model and back, as questions and answers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from gdl.cli import exit_codes
from gdl.cli.options import MarketTarget
from gdl.cli.output import say
from gdl.cli.runtime import Cli, Session, execute

if TYPE_CHECKING:
    from gdl.cli.options import Target
    from gdl.cli.plain.questions import Questions
    from gdl.domain.spec import DeploymentSpec


def run_plain(
    cli: Cli, target: Target | None = None, flags: Mapping[str, Any] | None = None
) -> NoReturn:
    """Ask for model, machine and consent, follow the deployment, and release; leave with the exit
    code of `deploy`."""
    execute(cli, _work, target=target or MarketTarget(), flags=flags)


async def _work(session: Session) -> int:
    from gdl import __version__
    from gdl.cli.plain.choosing import choose
    from gdl.cli.plain.questions import InputEnded, Lines, Questions, Quit

    questions = Questions(Lines(sys.stdin.fileno()))
    say(
        f"gdl-tui {__version__}, as lines of text. Each question shows the possible answers; "
        "q quits."
    )
    try:
        await _say_rented(session)
        spec = await choose(session, questions)
        return await _follow(session, questions, spec)
    except (Quit, InputEnded) as end:
        if isinstance(end, InputEnded):
            say(end.message)
        say("nothing was rented")
        return exit_codes.OK


async def _say_rented(session: Session) -> None:
    """What costs already, before something else is begun."""
    from gdl.cli.consent import session_words
    from gdl.domain.errors import GdlError

    try:
        rows = await session.orchestrator.sessions.rows()
    except GdlError:
        return  # asking for offers tells what is wrong
    for row in rows:
        if not row.ended or row.doubt:
            say(f"rented already: {session_words(row)}; use its id with gdl-tui attach or destroy")


async def _follow(session: Session, questions: Questions, spec: DeploymentSpec) -> int:
    from gdl.cli.follower import Follower, to_the_end
    from gdl.cli.following import begin
    from gdl.cli.plain.following import Menus, PlainDeployment
    from gdl.presentation.words import sentence

    there = session.orchestrator
    show = PlainDeployment(session.output)
    follower = Follower(there.deployments, show, may_keep=there.keeps)
    menus = asyncio.create_task(Menus(there, show, questions).attend())
    start = begin(there.deployments, spec, lambda text: questions.yes(sentence(text)))
    try:
        return await to_the_end(follower, start, session.output)
    finally:
        menus.cancel()
        await asyncio.gather(menus, return_exceptions=True)
