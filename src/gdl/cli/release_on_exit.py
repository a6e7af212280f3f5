"""The end of the terminal UI: what is rented is released; the exit code says whether it was."""

from __future__ import annotations

import asyncio
from signal import SIGINT, Signals
from typing import TYPE_CHECKING

from gdl.cli import ending_words, exit_codes
from gdl.cli.output import say
from gdl.cli.runtime import complain
from gdl.cli.signals import leave_now
from gdl.presentation.endings import ENDED
from gdl.presentation.lines import plain

if TYPE_CHECKING:
    from gdl.domain.deployment import DeploymentState
    from gdl.orchestrator.api.ports import OrchestratorApi

_TELL_EVERY_S = 4.0


class ReleaseOnExit:
    """Made when the screen is gone and before the orchestrator is closed."""

    def __init__(self, orchestrator: OrchestratorApi | None) -> None:
        self._orchestrator = orchestrator
        self._going = tuple(orchestrator.deployments.active) if orchestrator is not None else ()
        self._telling: asyncio.Task[None] | None = None
        if self._going:
            for line in ending_words.closing(self._states):
                say(line)
            self._telling = asyncio.create_task(self._tell())

    @property
    def _states(self) -> list[DeploymentState]:
        """Of all that were under way when the screen went."""
        assert self._orchestrator is not None
        return [self._orchestrator.deployments.state(ident) for ident in self._going]

    async def _tell(self) -> None:
        """What is waited for, again and again."""
        assert self._orchestrator is not None
        while True:
            await asyncio.sleep(_TELL_EVERY_S)
            for ident in self._going:
                state = self._orchestrator.deployments.state(ident)
                if state.finished is None and state.progress is not None:
                    say(plain(state.progress.text, 200))

    def signalled(self, number: Signals) -> None:
        """Only a Ctrl-C ends the wait: whoever sends another asks for what is being done."""
        if number is SIGINT and self._going:
            if all(state.billing in ENDED for state in self._states):
                complain("stopped waiting for the end", "`gdl-tui sessions` shows what is there")
                leave_now(exit_codes.CANCELLED)
            self._complain("stopped waiting before the machine was released")
            leave_now(exit_codes.STILL_BILLING)

    def exit_code(self, otherwise: int) -> int:
        """Asked for once all is closed."""
        if self._telling is not None:
            self._telling.cancel()
        for ident in self._going:
            assert self._orchestrator is not None
            finished = self._orchestrator.deployments.state(ident).finished
            if finished is None or exit_codes.of_finished(finished) == exit_codes.STILL_BILLING:
                if finished is not None and finished.error and finished.hint:
                    complain(finished.error, finished.hint)
                else:
                    self._complain("not confirmed")
                return exit_codes.STILL_BILLING
        return otherwise

    def _complain(self, what: str) -> None:
        complain(
            f"{what}: a machine may still be billing",
            "`gdl-tui sessions` shows what is rented, `gdl-tui destroy ID` ends it",
        )
