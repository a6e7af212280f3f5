"""How the machines of a simulated marketplace live and end. What is asked of a marketplace, and in
which words it answers, is in `vastai` and `runpod`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import asyncssh

from gdl.simulator import fault_models
from gdl.simulator.contracts import Account, Contract, Rise, State
from gdl.simulator.fault_draws import Draws
from gdl.simulator.machines import RentedMachine
from gdl.simulator.scenario import Scenario
from gdl.simulator.ssh_proxy import SshProxy

NOWHERE = ("127.0.0.1", 1)
"""Nothing listens there."""

MakeMachine = Callable[[Contract, Mapping[str, str]], RentedMachine]
"""From what was rented, and the variables that the marketplace sets on it."""

Variables = Callable[[Contract], Mapping[str, str]]


class DestroyRefused(Exception):
    """The marketplace does not destroy the machine now."""


class Hosting:
    """The machines. variables: what the marketplace sets in the environment of each."""

    def __init__(
        self,
        scenario: Scenario,
        draws: Draws,
        make_machine: MakeMachine,
        variables: Variables,
        *,
        speed: float,
    ) -> None:
        self.timing = scenario.timing
        self._draws = draws
        self._make_machine = make_machine
        self._variables = variables
        self.speed = speed
        self.contracts: dict[str, Contract] = {}
        """By id, newest last; those that are gone, too."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._machine_endings: set[asyncio.Future[None]] = set()
        self._rises = 0

    # -- for those who watch ---------------------------------------------------------------------

    def rented(self) -> list[str]:
        """Ids of the machines that exist and bill, if only their disk, whatever is said of them."""
        return [c.id for c in self.contracts.values() if not c.gone]

    def of(self, account: Account) -> list[Contract]:
        return [c for c in self.contracts.values() if c.account is account and not c.gone]

    def find(self, account: Account, ident: str) -> Contract | None:
        contract = self.contracts.get(ident)
        if contract is None or contract.gone or contract.account is not account:
            return None
        return contract

    def taken(self, offer_id: str) -> bool:
        return any(c.offer.id == offer_id and not c.gone for c in self.contracts.values())

    def taken_ids(self) -> frozenset[str]:
        return frozenset(c.offer.id for c in self.contracts.values() if not c.gone)

    def spent(self, account: Account) -> float:
        now = datetime.now(UTC)
        return sum(c.dollars(now) for c in self.contracts.values() if c.account is account)

    # -- a machine's life ------------------------------------------------------------------------

    async def pause(self, seconds: float) -> None:
        """Simulated seconds."""
        await asyncio.sleep(seconds / self.speed)

    def add(self, contract: Contract) -> None:
        """The marketplace has made the machine: its disk bills from now on."""
        self.contracts[contract.id] = contract
        contract.disk.run(contract.disk_price)
        if contract.wanted == "running":
            self.begin(contract)

    def begin(self, contract: Contract) -> None:
        """Let it run, for the first time or again."""
        contract.wanted, contract.outbid, contract.message = "running", False, ""
        contract.life = self._spawn(self._live(contract))

    async def _live(self, contract: Contract) -> None:
        faults, timing = contract.faults, self.timing
        await self.pause(timing.address)
        broken = faults.first(fault_models.ContainerFails)
        if broken is not None:
            contract.message = f"Error response from daemon: {broken.error}: unknown"
            return
        contract.state = State.LOADING
        await self._machine_starts(contract)
        if await self._falls(contract, {"provisioning"}):
            return
        slow = faults.first(fault_models.SlowBoot)
        jitter = 0.8 + 0.4 * self._draws.random("jitter", contract.offer.id).random()
        await self.pause(slow.after if slow else timing.boot * jitter)
        contract.state, contract.message = State.RUNNING, "success, running"
        contract.started = contract.started or datetime.now(UTC)
        contract.gpu.run(contract.gpu_price)
        never = faults.first(fault_models.NeverReady)
        if never is not None:
            # Nothing leads into it meanwhile.
            await self.pause(timing.verification if never.after is None else never.after)
            await self.fall(contract, "exited", never.error)
            return
        rise = faults.first(fault_models.PriceRise)
        if rise is not None:
            await self.pause(rise.after)
            self.raise_price(contract, rise.factor)
        await self._falls(contract, {"installing", "loading", "serving"})

    async def _machine_starts(self, contract: Contract) -> None:
        faults = contract.faults
        machine = self._make_machine(contract, self._variables(contract))
        contract.machine = machine
        await machine.start(asyncssh.generate_private_key("ssh-ed25519"))
        for key in contract.keys:
            machine.let_in(key)
        proxy = contract.forwarder = SshProxy(machine.address, machine.port)
        await proxy.start()
        if faults.first(fault_models.NoAddress) is not None:
            return
        dead = faults.first(fault_models.SshDead)
        ways = dead.way if dead else ""
        if faults.first(fault_models.NeverReady) is not None:
            ways = "both"
        direct, by_proxy = (machine.address, machine.port), ("127.0.0.1", proxy.port)
        contract.direct = NOWHERE if ways in ("direct", "both") else direct
        contract.proxy = NOWHERE if ways in ("proxy", "both") else by_proxy
        contract.user = machine.user

    async def _falls(self, contract: Contract, marks: set[str]) -> bool:
        """Wait for what the machine's faults make of it at one of these points; False: nothing."""
        dies = contract.faults.first(fault_models.Dies)
        falls = contract.faults.first(fault_models.Falls)
        fault = next((f for f in (falls, dies) if f is not None and f.at in marks), None)
        if fault is None:
            return False
        assert contract.machine is not None
        if fault.at != "provisioning":
            await contract.machine.reached(fault.at)
        await self.pause(fault.after)
        if isinstance(fault, fault_models.Falls):
            await self.fall(contract, fault.to)
        elif fault.stays:
            # The marketplace is wrong: the machine runs on, and so does its bill.
            contract.state, contract.message = State.EXITED, fault.error
        else:
            await self.fall(contract, "exited", fault.error)
        return True

    async def fall(self, contract: Contract, to: str, message: str = "") -> None:
        """The machine stops, and only its disk bills; a frozen one bills its GPUs as before."""
        if contract.life is not asyncio.current_task():
            # One that is just starting would go on doing so.
            await self._ends_its_life(contract)
        contract.outbid = to == "outbid"
        contract.state = State.STOPPED if contract.outbid else State(to)
        contract.message = message
        if to in ("stopped", "outbid"):
            contract.wanted = "stopped"
        if to != "frozen":
            contract.gpu.stop()
        await self._machine_ends(contract)

    def raise_price(self, contract: Contract, factor: float) -> None:
        self._rises += 1
        contract.rise = Rise(self._rises, factor, datetime.now(UTC))

    def answer_rise(self, contract: Contract, accepted: bool) -> None:
        assert contract.rise is not None
        contract.rise.answered = "accepted" if accepted else "rejected"
        if accepted:
            contract.gpu_price *= contract.rise.factor
            if contract.gpu.on:
                contract.gpu.run(contract.gpu_price)

    def let_in(self, contract: Contract, key: asyncssh.SSHKey) -> None:
        contract.keys.append(key)
        if contract.machine is not None:
            contract.machine.let_in(key)

    async def reboot(self, contract: Contract) -> None:
        """The machine starts again, with what is on its disk; it bills meanwhile."""
        if contract.machine is not None:
            await contract.machine.reboot()

    async def stop(self, contract: Contract) -> None:
        await self.fall(contract, "stopped")

    # -- its end ---------------------------------------------------------------------------------

    def destroy(self, contract: Contract) -> None:
        """It goes within a moment. Raises DestroyRefused."""
        if contract.destroying:
            return
        fault = contract.faults.first(fault_models.DestroyFails)
        if fault is not None and self._refuses(contract, fault):
            contract.refused += 1
            raise DestroyRefused
        contract.destroying = True
        self._spawn(self._goes(contract))

    def _refuses(self, contract: Contract, fault: fault_models.DestroyFails) -> bool:
        now = time.monotonic()
        first = contract.first_refused = contract.first_refused or now
        if fault.times and contract.refused >= fault.times:
            return False
        return not fault.seconds or (now - first) * self.speed < fault.seconds

    async def _goes(self, contract: Contract) -> None:
        await self._ends_its_life(contract)
        await self.pause(self.timing.destroy)
        await self._gone(contract)

    async def _gone(self, contract: Contract) -> None:
        await self._machine_ends(contract)
        contract.gpu.stop()
        contract.disk.stop()
        contract.gone = True

    async def _ends_its_life(self, contract: Contract) -> None:
        life, contract.life = contract.life, None
        if life is not None and life is not asyncio.current_task():
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)

    async def _machine_ends(self, contract: Contract) -> None:
        forwarder, contract.forwarder = contract.forwarder, None
        if forwarder is not None:
            await forwarder.aclose()
        machine, contract.machine = contract.machine, None
        if machine is not None:
            # Whoever waits for it may be cancelled: its processes must end all the same.
            ending: asyncio.Future[None] = asyncio.ensure_future(machine.aclose())
            self._machine_endings.add(ending)
            ending.add_done_callback(self._machine_endings.discard)
            await asyncio.shield(ending)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """A simulated marketplace ends with all its machines."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        left = [c for c in self.contracts.values() if not c.gone]
        await asyncio.gather(*(self._gone(c) for c in left), return_exceptions=True)
        await asyncio.gather(*self._machine_endings, return_exceptions=True)
