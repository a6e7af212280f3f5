"""Remedies on the machine of a failed attempt: which may be applied, by whom, and how."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

from gdl.domain import events as ev
from gdl.domain.decisions import AfterFailure
from gdl.domain.errors import DeployError
from gdl.domain.phase import Phase
from gdl.domain.remedies import Remedy, RemedyKind
from gdl.engines.base import Plan, Step
from gdl.orchestrator.machine import install
from gdl.orchestrator.machine.connection import Machine

_MOST_BY_ITSELF = 2
_LONGEST_WAIT_S = 120.0
_OF_THE_SYSTEM = frozenset({"python-headers"})
"""Repairs that change what is not ours. On a machine of one's own they are asked for."""

_HELD_S = 900.0
"""How long a machine is kept rented for what its user may change, where nothing else would help on
it."""


class Blame(Protocol):
    """What a failure speaks against. ends: it fails on every machine as it is. spares_machine:
    nothing speaks against this one."""

    @property
    def ends(self) -> bool: ...

    @property
    def spares_machine(self) -> bool: ...


BlameOf = Callable[[DeployError, str], Blame]
"""For a failure, with the rule of its diagnosis or ""."""


class Remediation:
    """Knows what was applied during one attempt: nothing is applied twice."""

    def __init__(self, machine: Machine, *, blame: BlameOf) -> None:
        self._machine = machine
        self._blame_of = blame
        self._applied: list[Remedy] = []
        self._by_itself = 0

    def recall(self, applied: Iterable[ev.RemedyApplied]) -> None:
        """What a process that is gone has applied in this attempt."""
        for each in applied:
            self._applied.append(each.remedy)
            self._by_itself += each.by == "auto" and each.remedy.kind is not RemedyKind.RESTART

    async def fix(self, plan: Plan, error: DeployError) -> Remedy | None:
        """Apply what helps against `error` on this machine, by itself or by the user's choice;
        what was applied, None where the user has changed the deployment instead. Raises `error`
        when that is nothing.

        While the user is asked the machine stays rented: the attempt has not failed yet, and
        whatever ends it releases the machine as ever.
        """
        remedy = error.remedy
        if remedy is not None and not self._possible(plan, remedy):
            remedy = None
        if remedy is not None and self._wanted(plan, remedy):
            by = "auto"
            self._by_itself += 1
        elif self._asks(error) and (remedy is not None or self._is_held_for(error)):
            choice = await self._choice(remedy)
            if choice is None:
                raise error
            if choice is AfterFailure.CHANGE:
                return None
            if choice is not AfterFailure.FIX or remedy is None:
                raise error
            by = "user"
        else:
            raise error
        await self.tell(remedy, by)
        await self._apply(plan, remedy)
        return remedy

    async def tell(self, remedy: Remedy, by: str) -> None:
        """Tell of a remedy, and never apply it again."""
        dep = self._machine.deployment
        self._applied.append(remedy)
        attempt = dep.state.attempt
        diagnosis = attempt.diagnosis if attempt is not None else None
        rule = diagnosis.rule if diagnosis is not None else ""
        await dep.emit(ev.RemedyApplied(dep.attempt, rule, remedy, remedy.words, by))

    def _possible(self, plan: Plan, remedy: Remedy) -> bool:
        if not remedy.same_machine or remedy in self._applied:
            return False
        return remedy.kind is not RemedyKind.REPAIR or remedy.name in dict(plan.server.repairs)

    def _wanted(self, plan: Plan, remedy: Remedy) -> bool:
        """Whether it is applied without a question. Unless that is asked for, nothing that the
        user decided is overruled."""
        auto_fix = self._machine.deployment.spec.auto_fix
        if auto_fix is False or self._by_itself >= _MOST_BY_ITSELF:
            return False
        # A flag that is set to nothing ends in "=".
        given = remedy.name.removesuffix("=") in plan.server.given
        if auto_fix is None and remedy.kind is RemedyKind.FLAG and given:
            return False
        if auto_fix is None and remedy.name in _OF_THE_SYSTEM and not self._machine.rents:
            return False
        return auto_fix is True or remedy.automatic

    def _asks(self, error: DeployError) -> bool:
        """Whether a person is asked before this attempt fails: one waits for such questions, and
        no other offer is tried by itself or could help."""
        dep = self._machine.deployment
        return dep.spec.ask_on_failure and (not dep.goes_on or self._blame(error).ends)

    def _blame(self, error: DeployError) -> Blame:
        attempt = self._machine.deployment.state.attempt
        rule = attempt.diagnosis.rule if attempt is not None and attempt.diagnosis else ""
        return self._blame_of(error, rule)

    def _is_held_for(self, error: DeployError) -> bool:
        """Whether the machine is kept for what the user may change: where it costs nothing, and
        where nothing speaks against it."""
        return not self._machine.rents or self._blame(error).spares_machine

    async def _choice(self, remedy: Remedy | None) -> AfterFailure | None:
        """None: nobody has chosen in time, and there is nothing to apply."""
        dep, rents = self._machine.deployment, self._machine.rents
        fix = "" if remedy is None else f"apply the fix ({remedy.words}), "
        limited = rents and remedy is None
        longest = f", for {_HELD_S / 60:.0f} min at most" if limited else ""
        stays = f"; the machine stays rented meanwhile{longest}" if rents else ""
        note = (
            f"waiting for a choice: {fix}change its settings, retry, next offer, or exclude the"
            f" provider{stays}"
        )
        try:
            async with asyncio.timeout(_HELD_S if limited else None):
                choice = await dep.ask(note, remedy)
        except TimeoutError:
            await dep.emit(ev.ChoiceMade(dep.attempt, ""))
            await dep.note("no choice was made: the machine is being released", "warning")
            return None
        if choice not in (AfterFailure.FIX, AfterFailure.CHANGE):
            dep.decisions.early = choice
        return choice

    async def _apply(self, plan: Plan, remedy: Remedy) -> None:
        dep, machine = self._machine.deployment, self._machine
        match remedy.kind:
            case RemedyKind.REPAIR:
                await dep.enter(Phase.INSTALLING, "repair")
                script = dict(plan.server.repairs)[remedy.name]
                limit = machine.settings.timeouts.install
                step = Step("repair", f"Repair: {remedy.name}", script, limit)
                await install.run_steps(machine, [step])
            case RemedyKind.FLAG | RemedyKind.ENV:
                if not await machine.holds(plan.server.remembering(remedy)):
                    raise DeployError(
                        f"the remedy could not be written down on the machine: {remedy.words}",
                        "look at the work folder's permissions and space",
                    )
            case RemedyKind.WAIT:
                await asyncio.sleep(min(float(remedy.value or 0), _LONGEST_WAIT_S))
