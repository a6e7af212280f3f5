"""The port for somebody who begins, or whose deployment went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from gdl.domain.backend import BackendSource
from gdl.domain.findings import Finding
from gdl.orchestrator.api.views import PastDeployment


class Support(Protocol):
    """For somebody who begins, or whose deployment went wrong."""

    async def doctor(self) -> Sequence[Finding]: ...

    async def sources(self) -> Sequence[BackendSource]:
        """Where machines could come from, as found at this moment."""
        ...

    async def past_deployments(self) -> Sequence[PastDeployment]:
        """Deployments in the journal, newest first."""
        ...

    async def export(self, ident: str, target: str) -> str:
        """A deployment as a file for another tool: its text. target: one of
        `gdl.handover.targets.TARGETS`. Raises UsageError when there is none, or when it never came
        to starting a server."""
        ...

    async def bundle(self, ident: str, path: Path | None = None) -> Path:
        """Pack facts, plan, events, logs and settings of a deployment, every secret removed, into
        a new .tar.gz; its path. Raises UsageError when there is none, or when the file exists or
        cannot be written."""
        ...
