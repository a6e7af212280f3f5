"""An attempt to serve one model over several machines: rank 0 is the machine of the rental and has
the endpoint, the others are joined to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from gdl.backends.base import Backend, JoinsMachines
from gdl.domain.errors import DeployError, GdlError, MachineError
from gdl.domain.phase import Phase
from gdl.domain.rental import Joined
from gdl.domain.secret import Secret
from gdl.domain.session import RentAnswer, Session
from gdl.engines.base import Plan
from gdl.engines.spanning import Rank, SpansMachines
from gdl.journal.store import Journal
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.leasing.rental_key import rank_key_path
from gdl.orchestrator.leasing.renting import Renter
from gdl.orchestrator.machine import install, preflight
from gdl.orchestrator.machine.connection import Machine
from gdl.orchestrator.machine.earlier_work import EarlierServer
from gdl.orchestrator.machine.joined_machine import JoinedMachine
from gdl.orchestrator.machine.rank_processes import HeadProcess, JoinedProcess
from gdl.orchestrator.machine.reach import NoPython, Place, meet
from gdl.orchestrator.run.attempt import Attempt
from gdl.settings import Settings
from gdl.ssh.repeating import Repeating

T = TypeVar("T")

_NO_PYTHON = "no machine of several can be without Python once the engine is installed"


class SpanningAttempt(Attempt):
    """As `Attempt`, with other machines besides its own. Nothing is remedied or started again: when
    one of the servers ends, the attempt has failed, and the others are ended."""

    def __init__(
        self,
        deployment: Deployment,
        backend: Backend,
        renter: Renter,
        journal: Journal,
        settings: Settings,
    ) -> None:
        super().__init__(deployment, backend, renter, journal, settings)
        self._joined: list[JoinedMachine] = []
        self._head = HeadProcess(self.machine)
        self.server = self._head

    @property
    def machines(self) -> list[Machine]:
        """By their ranks."""
        return [self.machine, *self._joined]

    # -- entering --------------------------------------------------------------------------------

    async def connect(self, session: Session) -> None:
        """All of them. Raises SshError, which names the machine."""
        await super().connect(session)
        if not self.machine.rental.joined:
            await self._know_the_others()
        await self._enter_the_others()

    async def reach(self, session: Session) -> None:
        """To end what runs there."""
        await super().reach(session)
        entered = [machine for machine in self._joined if machine.connected]
        if len(entered) < len(self.machine.rental.joined):
            await _all(machine.close() for machine in self._joined)
            await self._enter_the_others()

    async def _know_the_others(self) -> None:
        """Journaled before anything is done there."""
        offer, rental = self.offer, self.machine.rental
        answers: Sequence[RentAnswer] = ()
        if offer is not None and isinstance(self.backend, JoinsMachines):
            answers = await self.backend.joined(offer)
        if len(answers) + 1 != self._deployment.spec.query.nodes:
            raise MachineError("the other machines are not known any more", "deploy again")
        keys = self._settings.keys_dir
        joined = tuple(
            _machine_of(answer, str(rank_key_path(keys, rental, number)))
            for number, answer in enumerate(answers, 1)
        )
        await self.machine.save(replace(rental, joined=joined))

    async def _enter_the_others(self) -> None:
        count = len(self.machine.rental.joined)
        self._joined = [
            JoinedMachine(self._deployment, self._settings, number)
            for number in range(1, count + 1)
        ]
        self._head.joined = [JoinedProcess(machine) for machine in self._joined]
        await _all(self._enter(machine) for machine in self._joined)

    async def _enter(self, machine: JoinedMachine) -> None:
        with _naming(machine):
            await machine.enter()

    # -- from a connection to an endpoint --------------------------------------------------------

    async def from_preflight(self) -> None:
        """From machines that are connected to SERVING."""
        await self._deployment.enter(Phase.PREFLIGHT)
        await self._from_a_look()

    async def go_on(self, phase: Phase, api_key: Secret) -> None:
        """After a process that is gone. What serves is watched again; what did not serve yet is
        ended, and done once more."""
        if phase is Phase.SERVING:
            opened = await self.open_endpoint(api_key)
            await self.server.adopt()
            await self._deployment.emit(opened)
            await self.verify()
            return
        self._deployment.adopted = True
        await self._from_a_look()

    async def _from_a_look(self) -> None:
        await _all(self._look(machine) for machine in self.machines)
        with contextlib.suppress(NoPython):
            # Before gigabytes are fetched in vain.
            await meet(self.machines)
        api_key = await self.machine.make_api_key()
        self.opening.begin(api_key)
        await self.to_proof(self.make_plan(api_key)[0], api_key)

    async def _look(self, machine: Machine) -> None:
        with _naming(machine):
            facts = await machine.inspect()
            await preflight.judge(
                self._deployment,
                Repeating(machine.link),
                facts,
                None,
                rented=False,
                limit_s=self._settings.timeouts.install,
            )

    def make_plan(self, api_key: Secret) -> tuple[Plan, Secret]:
        """As it is to be installed; where the others are met is asked before the start."""
        return self._plans(api_key)[0], api_key

    def _plans(self, api_key: Secret, places: Sequence[Place] = (), port: int = 0) -> list[Plan]:
        engine, hosts = self._engine, tuple(machine.facts for machine in self.machines)
        assert isinstance(engine, SpansMachines)
        plans = []
        for number, machine in enumerate(self.machines):
            rank = Rank(number, hosts)
            if places:
                here = places[number]
                rank = replace(
                    rank,
                    master=places[0].address,
                    port=port,
                    address=here.address,
                    interface=here.interface,
                )
            plan = engine.plan_rank(
                self._deployment.spec,
                rank,
                self._deployment.model,
                self._settings,
                cpu_allowed=self.backend.traits.cpu_allowed,
                api_key=api_key,
                log_path=machine.rental.engine_log,
                port=self.machine.rental.engine_port,
            )
            plans.append(plan)
        return plans

    async def to_proof(
        self,
        plan: Plan,
        api_key: Secret,
        *,
        installed: bool = False,
        earlier: EarlierServer | None = None,
    ) -> None:
        """To SERVING. Raises DeployError for the machine that failed first."""
        dep = self._deployment
        await dep.enter(Phase.INSTALLING, f"{plan.summary}, on {len(self.machines)} machines")
        plans = self._plans(api_key)
        pairs = zip(self.machines, plans, strict=True)
        await _all(install.run_steps(machine, own.steps) for machine, own in pairs)
        try:
            places, port = await meet(self.machines)
        except NoPython as error:
            raise DeployError(f"{error}: {_NO_PYTHON}", "look at its work folder") from None
        told = ", ".join(f"rank {n} {place.address}" for n, place in enumerate(places))
        await dep.note(f"they reach each other: {told}; rank 0 is met at port {port}")
        first, *self._head.plans = self._plans(api_key, places, port)
        await self._start(first, api_key, None)
        await self.verify()
        await dep.enter(Phase.SERVING, dep.state.endpoint or "")

    # -- serving ---------------------------------------------------------------------------------

    async def verify(self) -> None:
        """Raises DeployError at once when one of the servers ends meanwhile: the others would
        not answer, and not say so."""
        await self._while_all_run(super().verify())

    async def first_benchmark(self) -> None:
        """Likewise."""
        await self._while_all_run(super().first_benchmark())

    async def _while_all_run(self, work: Coroutine[Any, Any, None]) -> None:
        doing = asyncio.ensure_future(work)
        watching = asyncio.ensure_future(self.server.over.wait())
        try:
            await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                await self.server.fail("the server ended while it was asked")
            await doing
        finally:
            for task in (doing, watching):
                task.cancel()
            await asyncio.gather(doing, watching, return_exceptions=True)

    async def revive(self) -> None:
        """Raises DeployError: what one machine of several lacks, the others cannot make up for."""
        await self.server.fail("the server ended while serving")

    # -- leaving ---------------------------------------------------------------------------------

    async def release(self) -> None:
        """End all servers. Raises ReleaseUnconfirmed."""
        for machine in self._joined:
            machine.leave()
        await super().release()

    async def close(self) -> None:
        """Close the tunnel and all connections; the machines stay as they are."""
        await super().close()
        for machine in self._joined:
            await machine.close()


def _machine_of(answer: RentAnswer, host_key_file: str) -> Joined:
    address = answer.session.ssh
    assert address is not None
    return Joined(
        *(address.host, address.port, address.user),
        alias=answer.config_alias or "",
        agent_auth=answer.agent_auth,
        key_file=answer.identity_file or "",
        host_key_file=host_key_file,
    )


@contextlib.contextmanager
def _naming(machine: Machine) -> Iterator[None]:
    """Whatever fails in the body says on which machine it did."""
    try:
        yield
    except GdlError as error:
        error.message = machine.named(error.message)
        raise


async def _all(works: Iterator[Awaitable[T]]) -> None:
    """All at once. The first that fails ends the others, and is raised."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
