"""What is told of one machine: its notes, the lines of its logs, and why something failed there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from gdl.diagnosis.rule_engine import Diagnosis, RuleSet, diagnose
from gdl.domain import events as ev
from gdl.domain.errors import DeployError
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.deployment.engine_habits import rules_of


class FailuresTold:
    """name: of the machine, where there are several for one model; else ""."""

    name = ""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment

    @property
    def rules(self) -> RuleSet:
        """What failures on it are explained by."""
        return rules_of(self.deployment.engine)

    def named(self, words: str) -> str:
        """The words, and before them which machine they are about."""
        return f"{self.name}: {words}" if self.name else words

    def log_name(self, source: str) -> str:
        """Of a log's file on this computer."""
        return f"{source}-{self.name.replace(' ', '-')}" if self.name else source

    async def note(self, text: str, level: str = "info") -> None:
        await self.deployment.note(self.named(text), level)

    async def said(
        self, source: str, lines: Sequence[str], first_offset: int, dropped: int
    ) -> None:
        """Lines of one of its logs as an event."""
        named = tuple(self.named(line) for line in lines)
        await self.deployment.emit(
            ev.LogLines(self.deployment.attempt, source, named, first_offset, dropped)
        )

    async def fail(self, what: str, output: list[str], status: int | None) -> NoReturn:
        """Say why as an event, then raise DeployError."""
        phase = str(self.deployment.state.phase)
        await self.failed(
            what, diagnose(self.rules, output, exit_status=status, phase=phase), status
        )

    async def failed(self, what: str, found: Diagnosis, status: int | None) -> NoReturn:
        """As `fail`, with a cause that is known."""
        await self.tell(found)
        ended = "" if status is None else f" (exit {status})"
        if status is not None and status <= 0:
            ended = f" (signal {-status})" if status else ", by itself, with status 0"
        raise DeployError(f"{what}{ended}: {found.cause}", found.remedy, remedy=found.action)

    async def give_up(self, found: Diagnosis) -> NoReturn:
        """Tell of a failure that no exit status tells, then raise DeployError."""
        await self.tell(found)
        raise DeployError(found.cause, found.remedy, remedy=found.action)

    async def tell(self, found: Diagnosis) -> None:
        """A diagnosis as an event."""
        number = self.deployment.attempt
        await self.deployment.emit(
            ev.Diagnosed(
                number, found.cause, found.remedy, found.evidence, found.rule, found.action
            )
        )
