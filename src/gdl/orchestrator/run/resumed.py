"""One attempt, taken up where a process that is gone had come: on the same machine, with the plan
that the journal tells of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gdl.domain import events as ev
from gdl.domain.attempt_state import AttemptState
from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import (
    Cancelled,
    DeployError,
    GdlError,
    GuardEnded,
    ReleaseUnconfirmed,
    of_kind,
)
from gdl.domain.events import Recorded
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.offers import Offer
from gdl.domain.phase import Phase
from gdl.domain.rental import Rental
from gdl.domain.secret import Secret
from gdl.domain.session import Session
from gdl.orchestrator.deployment.context import Deployment
from gdl.orchestrator.machine import earlier_work
from gdl.orchestrator.machine.earlier_work import EarlierServer
from gdl.orchestrator.machine.install import AHEAD_JOB
from gdl.orchestrator.run.attempt_offer import offer_of
from gdl.ssh import jobs

if TYPE_CHECKING:
    from gdl.orchestrator.run.attempt import Attempt

ENDINGS = frozenset({Phase.STOPPING, Phase.STOPPED, Phase.CANCELLED})
"""The user, or the deployment's own plan, had ended it: what is left to do is the release."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """Where the current attempt of an interrupted deployment stands.

    offer: what it is on. phase: of this attempt, not of one before it. earlier: why the attempts
    before it failed. failure: why the attempt has failed already; None while it can
    go on.
    """

    offer: Offer
    phase: Phase
    earlier: tuple[GdlError, ...]
    failure: GdlError | None

    @property
    def serves(self) -> bool:
        """Whether it served, as far as is known."""
        return self.phase is Phase.SERVING and self.failure is None

    async def take_up(self, deployment: Deployment, attempt: Attempt) -> None:
        """To SERVING, benchmark included, as `Attempt.run`. Raises a GdlError that says why not."""
        attempt.offer = self.offer
        if self.failure is not None:
            raise self.failure
        session = None
        if deployment.rental is not None:
            session = await attempt.renter.resumed.take_up(deployment, self.offer)
        if session is None:
            # Nothing is rented, and what was asked for has made nothing.
            await attempt.run(self.offer)
            return
        session = await attempt.renter.monitor.wait_running(deployment, session)
        await attempt.while_it_lives(_to_serving(deployment, attempt, session))
        await attempt.benchmark_if_wanted()


async def _to_serving(deployment: Deployment, attempt: Attempt, session: Session) -> None:
    from gdl.orchestrator.run.spanning import SpanningAttempt

    state = deployment.state
    phase, known = state.phase, state.attempt
    machine = attempt.machine
    if phase is Phase.RENTING:
        await deployment.enter(Phase.CONNECTING, str(session.ssh))
    await deployment.progress(f"connecting to {session.ssh} again")
    await attempt.connect(session)
    await _end_what_was_begun_ahead(deployment, attempt)
    facts = known.facts if known is not None else None
    if facts is None or phase in (Phase.RENTING, Phase.CONNECTING, Phase.PREFLIGHT):
        await attempt.from_preflight()
    elif isinstance(attempt, SpanningAttempt):
        await attempt.go_on(phase, await machine.api_key())
    else:
        machine.recall(facts)
        if known is not None:
            attempt.remediation.recall(known.remedies)
        plan, api_key = attempt.make_plan(await machine.api_key())
        earlier = None
        if phase is not Phase.INSTALLING:
            earlier = await earlier_work.find_server(machine.link, machine.rental.work_dir)
        if phase is Phase.SERVING:
            await _serve_again(deployment, attempt, api_key, earlier)
        else:
            # A server that was never started: perhaps by another way than the plan's first one,
            # so that the installation is looked at once more.
            await attempt.to_proof(plan, api_key, installed=earlier is not None, earlier=earlier)


async def _serve_again(
    deployment: Deployment, attempt: Attempt, api_key: Secret, earlier: EarlierServer | None
) -> None:
    """To a verified endpoint, of a server that served when its process ended."""
    if earlier is None:
        raise DeployError("the server is gone, and its log with it", "deploy again")
    opened = await attempt.open_endpoint(api_key)
    attempt.server.take_up(earlier)
    if not earlier.running:
        await attempt.server.ended.wait()
        await attempt.revive()
        return
    await deployment.emit(opened)
    await attempt.verify()


async def _end_what_was_begun_ahead(deployment: Deployment, attempt: Attempt) -> None:
    """The step that is done while the machine is looked at; the installation does it again."""
    link, work_dir = attempt.machine.link, deployment.rental.work_dir if deployment.rental else ""
    if work_dir:
        await jobs.end(link, work_dir, AHEAD_JOB)


async def reach_for_release(deployment: Deployment, attempt: Attempt) -> None:
    """What a process that is gone had asked for, and got no answer, is looked for. Where nobody
    destroys the machine, what it had begun there has to be ended by ourselves. Raises
    ReleaseUnconfirmed, with the attempt closed, when it cannot be found, or reached for that."""
    if attempt.offer is not None:
        try:
            await attempt.renter.resumed.find_out(deployment, attempt.offer)
        except GdlError:
            await attempt.close()
            raise
    rental, traits = deployment.rental, attempt.backend.traits
    if rental is None or rental.session_id is None or traits.bills or traits.ends_processes:
        return
    if not rental.host or not rental.work_dir:
        return  # it was never entered
    try:
        attempt.machine.leave()
        await attempt.reach(await attempt.backend.session(rental.session_id))
        attempt.machine.leave()
        await attempt.server.end_found()
    except GdlError as error:
        await attempt.close()
        raise ReleaseUnconfirmed(
            f"what runs on {rental.host} could not be ended: {error.message}",
            f"try `gdl-tui destroy {rental.session_id}` when the machine can be reached",
        ) from None


def where_it_stands(
    state: DeploymentState,
    history: tuple[Recorded, ...],
    rental: Rental | None,
    backend: str,
    by_guard: str = "",
) -> Resumed | None:
    """None before the first attempt. rental: what is open of the current attempt. by_guard: how its
    machine's guard has ended it, in words, or ""."""
    current = state.attempt
    if current is None:
        return None
    began = next(
        r.event
        for r in reversed(history)
        if isinstance(r.event, ev.AttemptStarted) and r.event.attempt == current.number
    )
    phase = current.phases[-1][0] if current.phases else Phase.PLANNED
    earlier = [error for a in state.attempts[:-1] if (error := _failed_with(a)) is not None]
    failure = _failed_with(current) or _gone_meanwhile(current, phase, rental, by_guard)
    return Resumed(offer_of(began, backend), phase, tuple(earlier), failure)


def _failed_with(attempt: AttemptState) -> GdlError | None:
    failed = attempt.failure
    return None if failed is None else of_kind(failed.kind, failed.message, failed.hint)


def _gone_meanwhile(
    attempt: AttemptState, phase: Phase, rental: Rental | None, by_guard: str
) -> GdlError | None:
    if phase in ENDINGS or attempt.session_id is None or rental is not None:
        return None
    if by_guard:
        return GuardEnded(by_guard, "deploy again")
    return Cancelled(
        f"session {attempt.session_id} was released since the interruption", "deploy again"
    )
