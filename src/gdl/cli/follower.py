"""Follows one deployment to its end, and turns Ctrl-C and other signals into what they mean."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import Enum
from signal import SIGINT, Signals
from typing import Any, Protocol

from gdl.cli import ending_words, exit_codes
from gdl.cli.deployment_output import DeploymentOutput, is_holding
from gdl.cli.output import Output, OutputClosed, say, watched
from gdl.cli.runtime import complain
from gdl.cli.signals import handled, leave_now
from gdl.domain import clock
from gdl.domain import events as ev
from gdl.domain.decisions import AfterServing, Decision
from gdl.domain.deployment import DeploymentState, apply
from gdl.domain.errors import GdlError
from gdl.domain.events import DeploymentFinished, Recorded
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.phase import Billing, Phase

Ask = Callable[[str], Awaitable[str]]

QUIET_S = 20.0
"""After so long without an event the narration says that work goes on."""
QUIET_HOLDING_S = 600.0


class _Command(Enum):
    """What the user, or what became of the terminal, asks for."""

    CANCEL = "cancel"
    RELEASE = "release"
    KEEP = "keep"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True)
class Ending:
    """finished: the last event. gave_up: the user stopped waiting for it, and it was made here.
    closed: stdout went away on the way. ordered: its end was, by the user or by what became of the
    terminal, whatever its last event says."""

    finished: DeploymentFinished
    gave_up: bool = False
    ordered: bool = False
    closed: OutputClosed | None = None


class Follows(Protocol):
    """As much of the Deployments port as following one deployment takes."""

    def events(self, deployment_id: str) -> AsyncIterator[Recorded]: ...

    async def cancel(self, deployment_id: str) -> None: ...

    async def decide(self, deployment_id: str, decision: Decision) -> None: ...


class Follower:
    """One deployment, from its start to its last event.

    attached: the machine served before, so ending means keeping it, unless the user says
    otherwise. may_keep: it can go on without this program. ask: how to ask the user; None when
    nobody can be asked. watch: a reader of stdout that leaves ends the deployment at once, and not
    at the next line. quiet_s: the longest silence.
    """

    def __init__(
        self,
        deployments: Follows,
        show: DeploymentOutput,
        *,
        attached: bool = False,
        may_release: bool = True,
        may_keep: bool = True,
        ask: Ask | None = None,
        watch: bool = False,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._deployments = deployments
        self._show = show
        self._attached = attached
        self._may_release = may_release
        self._may_keep = may_keep
        self._ask = ask
        self._watch = watch
        self._quiet_s = quiet_s
        self._id: str | None = None
        self._state = DeploymentState("")
        self._signals: asyncio.Queue[Signals] = asyncio.Queue()
        self._wanted: _Command | None = None
        self._command: asyncio.Task[None] | None = None
        self._began = clock.now()
        self._told_at = time.monotonic()
        self._announced = False
        self._holds = False
        self._reached = False
        """Whether it has been seen here that it serves."""
        self._closed: OutputClosed | None = None

    async def follow(self, start: Awaitable[str]) -> Ending:
        """Start it (`start` gives the id), show its events, obey signals; how it ended.

        Raises what `start` raises.
        """
        watching = watched(self._reader_left) if self._watch else contextlib.nullcontext()
        with handled(self._signals.put_nowait), watching:
            reading = asyncio.ensure_future(self._read(start))
            control = asyncio.create_task(self._obey())
            silence = asyncio.create_task(self._break_silence())
            helpers = [control, silence]
            try:
                await asyncio.wait({reading, *helpers}, return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    ordered = self._wanted is not None
                    return Ending(reading.result(), closed=self._closed, ordered=ordered)
                for task in helpers:
                    if task.done():
                        task.result()
            finally:
                if self._command is not None:
                    helpers.append(self._command)
                await _end(reading, *helpers)
        return self._unfinished()

    async def _read(self, start: Awaitable[str]) -> DeploymentFinished:
        self._id = await start
        self._state = DeploymentState(self._id)
        if self._wanted is not None:
            self._issue(self._id, self._wanted)
        finished = None
        async for recorded in self._deployments.events(self._id):
            self._state = apply(self._state, recorded)
            self._told_at = time.monotonic()
            self._note(recorded)
            if isinstance(recorded.event, DeploymentFinished):
                finished = recorded.event
        if finished is None:
            raise RuntimeError("the events ended without a deployment_finished")
        return finished

    def _note(self, recorded: Recorded) -> None:
        """Show one event; when stdout is gone, end the work instead."""
        new = recorded.at >= self._began
        if is_holding(recorded.event) and new:
            self._holds = True
            if self._wanted is _Command.KEEP:
                self._issue(recorded.deployment_id, _Command.KEEP)
        elif isinstance(recorded.event, ev.PhaseChanged):
            self._holds = False
        elif isinstance(recorded.event, ev.AttemptStarted):
            # Another machine, and so another endpoint.
            self._announced = self._reached = False
        elif isinstance(recorded.event, ev.TunnelOpened) and new:
            self._reached = True
        if self._closed is not None:
            return
        try:
            self._show.event(recorded, self._state)
            if new and not self._announced and self._can_be_used():
                self._announced = True
                self._show.serving(self._state)
        except OutputClosed as closed:
            self._reader_left(closed)

    def _reader_left(self, closed: OutputClosed) -> None:
        if self._closed is None:
            self._closed = closed
            self._stop(
                _Command.KEEP
                if self._attached
                else _Command.RELEASE
                if self._holding
                else _Command.CANCEL
            )

    def _can_be_used(self) -> bool:
        spec = self._state.spec
        if self._holds:
            return True
        if spec is None or not self._holding or self._attached:
            return False
        return not spec.bench or self._state.benchmark is not None

    @property
    def _holding(self) -> bool:
        spec = self._state.spec
        meant_to = self._attached or (spec is not None and spec.after == "hold")
        return self._state.phase is Phase.SERVING and meant_to

    async def _obey(self) -> None:
        """Signals, one after the other; returns when the user stops waiting."""
        while True:
            signal = await self._signals.get()
            if self._wanted is not None:
                # What is being released is waited for, whatever became of the terminal; for what
                # is kept there is nothing to wait.
                if signal is SIGINT or self._wanted is _Command.KEEP:
                    return
                continue
            self._stop(await self._meaning(signal))

    async def _meaning(self, signal: Signals) -> _Command:
        if self._holding and signal is SIGINT and self._ask is not None and self._may_release:
            return await self._choice(self._ask)
        if self._attached:
            return _Command.KEEP
        return _Command.RELEASE if self._holding else _Command.CANCEL

    async def _choice(self, ask: Ask) -> _Command:
        usual = _Command.KEEP if self._attached else _Command.RELEASE
        words = "[y/N/c] (y release, n keep serving, c continue)"
        if not self._attached:
            words = words.replace("y/N", "Y/n")
        if not self._may_keep:
            words = "[Y/n] (y release, n continue: it cannot continue without this program)"
        say("")
        question = asyncio.ensure_future(ask(f"release the machine? {words} "))
        again = asyncio.ensure_future(self._signals.get())
        try:
            await asyncio.wait({question, again}, return_when=asyncio.FIRST_COMPLETED)
            if again.done():
                say("")
                return usual
            answer = question.result()
        finally:
            await _end(question, again)
        no = _Command.KEEP if self._may_keep else _Command.CONTINUE
        meant = {"y": _Command.RELEASE, "n": no, "c": _Command.CONTINUE}
        return meant.get(answer[:1], usual)

    def _stop(self, wanted: _Command) -> None:
        if self._wanted is not None:
            return
        if wanted is _Command.CONTINUE:
            say("holding the tunnel open; press Ctrl-C to end")
            return
        self._wanted = wanted
        match wanted:
            case _Command.CANCEL:
                say(ending_words.cancelling(self._state))
            case _Command.RELEASE:
                say(ending_words.releasing(self._state))
            case _:
                say(ending_words.keeping(self._state, reached=self._reached))
        if self._id is not None:
            self._issue(self._id, wanted)

    def _issue(self, ident: str, wanted: _Command) -> None:
        self._command = asyncio.create_task(self._command_to(ident, wanted))

    async def _command_to(self, ident: str, wanted: _Command) -> None:
        try:
            match wanted:
                case _Command.RELEASE:
                    await self._deployments.decide(ident, AfterServing.RELEASE)
                case _Command.KEEP:
                    await self._deployments.decide(ident, AfterServing.KEEP)
                case _:
                    await self._deployments.cancel(ident)
        except GdlError as error:
            # It does not hold yet, or it has ended by itself, which its last event tells.
            # A keep is tried again when it does hold.
            if wanted is _Command.RELEASE:
                await self._command_to(ident, _Command.CANCEL)
            elif wanted is _Command.KEEP and self._holds:
                complain(error.message, error.hint)
                self._wanted = None

    async def _break_silence(self) -> None:
        while True:
            limit = QUIET_HOLDING_S if self._holding and self._announced else self._quiet_s
            left = limit - (time.monotonic() - self._told_at)
            if left > 0:
                await asyncio.sleep(min(left, self._quiet_s))
                continue
            self._told_at = time.monotonic()
            self._show.still(self._state)

    def _unfinished(self) -> Ending:
        """The end as far as it is known here, shown like a real one."""
        state = self._state
        sure = state.billing in (Billing.NONE, Billing.RELEASED) and self._id is not None
        attempt = state.attempt
        kept = self._wanted is _Command.KEEP
        finished = DeploymentFinished(
            outcome="serving" if kept else "cancelled",
            endpoint=None,
            model=state.served_name,
            session_id=attempt.session_id if attempt else None,
            billing=state.billing if sure or kept else Billing.UNKNOWN,
            attempts=(),
            benchmark=state.benchmark,
            error=None if kept else ending_words.gave_up(state),
            hint=None if kept else "`gdl-tui sessions` shows what is rented, `destroy ID` ends it",
            kind="" if kept else "cancelled" if sure else "release_unconfirmed",
            reached=self._reached or not kept,
        )
        recorded = Recorded(self._id or "", state.last_seq + 1, clock.now(), finished)
        if self._closed is None:
            try:
                self._show.event(recorded, apply(state, recorded))
            except OutputClosed as closed:
                self._closed = closed
        return Ending(finished, gave_up=True, closed=self._closed, ordered=True)


async def _end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel what still runs and wait for it; their failures were looked at before."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _exit_code(ending: Ending) -> int:
    """Possible billing first, then a closed stdout, then how the deployment ended."""
    code = exit_codes.of_finished(ending.finished)
    if code == exit_codes.STILL_BILLING or ending.closed is None:
        return code
    return exit_codes.OUTPUT_CLOSED if ending.closed.quiet else exit_codes.INTERNAL


async def to_the_end(follower: Follower, start: Awaitable[str], output: Output) -> int:
    """Follow what `start` starts, say how it ended, and give the exit code; does not return when
    the user would not wait for the end."""
    return concluded(await follower.follow(start), output)


def concluded(ending: Ending, output: Output) -> int:
    """The same for one that was followed."""
    finished = ending.finished
    if finished.error:
        complain(finished.error, finished.hint or "")
    if ending.closed is not None:
        output.abandon(ending.closed)
    code = _exit_code(ending)
    if ending.gave_up:
        leave_now(code)
    return code
