"""A machine that serves a model together with the one of the rental."""

from __future__ import annotations

from gdl.domain.host import HostFacts
from gdl.domain.rental import Rental
from gdl.domain.session import Session, SessionStatus, SshAddress
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.machine.connection import Machine
from gdl.settings import Settings


def session_at(rental: Rental) -> Session:
    """As a backend would tell of a machine that runs where the rental says."""
    return Session(
        rental.session_id or "",
        *(rental.backend, rental.provider, SessionStatus.RUNNING),
        ssh=SshAddress(rental.host, rental.port, rental.user),
    )


class JoinedMachine(Machine):
    """number: of its rank, from 1. What is known of it is a part of the deployment's rental."""

    def __init__(self, deployment: Deployment, settings: Settings, number: int) -> None:
        super().__init__(deployment, settings, rents=False)
        self.number = number
        self.name = f"rank {number}"

    @property
    def rental(self) -> Rental:
        return super().rental.rank(self.number)

    async def save(self, rental: Rental) -> None:
        await super().save(super().rental.with_rank(self.number, rental))

    async def enter(self) -> None:
        """Raises SshError."""
        await self.connect(session_at(self.rental))

    async def _inspected(self, facts: HostFacts) -> None:
        """The deployment's facts are those of the machine that has the endpoint."""
        gpus = ", ".join(gpu.name for gpu in facts.gpus) or "no GPU"
        await self.note(
            f"{self.rental.host}: {gpus}, {facts.cpu_count} CPUs, {facts.ram_gib:.0f} GiB"
        )

    async def _settle_port(self, taken: bool | None) -> None:
        """It serves nobody by itself."""
