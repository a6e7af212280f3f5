"""The port to what servers have written."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from gdl.orchestrator.api.views import LogPart


class Logs(Protocol):
    """Logs of servers, on their machines or kept here."""

    def read(
        self,
        ident: str,
        *,
        last: int | None,
        follow: bool,
        tell: Callable[[str], None],
        rank: int = 0,
    ) -> AsyncGenerator[LogPart]:
        """The log of the server of a session or deployment, from the machine, or what was kept of
        it where that is gone: first where it is, then its lines. last: so many lines alone.
        follow: and those that come, until the session is over. tell: is given a sentence where the
        machine cannot be asked. rank: of which of several machines that serve the model. Raises
        UsageError for what nobody knows, MachineError without a server."""
        ...
