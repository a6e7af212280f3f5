"""The end of the terminal UI: what is rented is released; the exit code says whether it was."""

from __future__ import annotations

from signal import SIGINT, Signals
from typing import TYPE_CHECKING

from gdl.cli import exit_codes
from gdl.cli.output import say
from gdl.cli.runtime import complain
from gdl.cli.signals import leave_now

if TYPE_CHECKING:
    from gdl.orchestrator.api.ports import OrchestratorApi


class ReleaseOnExit:
    """Made when the screen is gone and before the orchestrator is closed."""

    def __init__(self, orchestrator: OrchestratorApi | None) -> None:
        self._orchestrator = orchestrator
        self._going = tuple(orchestrator.deployments.active()) if orchestrator is not None else ()
        if self._going:
            say("releasing what is rented (Ctrl-C stops waiting; it may then still be billing)")

    def signalled(self, number: Signals) -> None:
        """Only a Ctrl-C ends the wait: whoever sends another asks for what is being done."""
        if number is SIGINT and self._going:
            self._complain("stopped waiting before the machine was released")
            leave_now(exit_codes.STILL_BILLING)

    def exit_code(self, otherwise: int) -> int:
        """Asked for once all is closed."""
        for ident in self._going:
            assert self._orchestrator is not None
            finished = self._orchestrator.deployments.state(ident).finished
            if finished is None or exit_codes.of_finished(finished) == exit_codes.STILL_BILLING:
                self._complain(finished.error if finished and finished.error else "not confirmed")
                return exit_codes.STILL_BILLING
        return otherwise

    def _complain(self, what: str) -> None:
        complain(
            f"{what}: a machine may still be billing",
            "`gdl-tui sessions` shows what is rented, `gdl-tui destroy ID` ends it",
        )
