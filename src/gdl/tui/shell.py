"""A shell on a machine, in the terminal that the screens have."""

from __future__ import annotations

from gdl.domain.errors import GdlError
from gdl.tui.context import AppContext

_SSH_FAILED = 255
"""The exit status of ssh when it is ssh itself that failed."""


async def open_shell(context: AppContext, ident: str) -> None:
    """Give the terminal to a shell until it ends. ident: of a deployment or a session."""
    try:
        command = await context.orchestrator.sessions.shell(ident)
        status = await context.hand_over(command.words)
    except GdlError as error:
        context.report(error)
        return
    if status == _SSH_FAILED:
        context.say("ssh could not connect", severity="warning")
