"""Follows a fleet to its end: narration or JSON lines, and what Ctrl-C means for it."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable
from datetime import datetime
from signal import SIGINT, Signals
from typing import TYPE_CHECKING

from gdl.cli import exit_codes
from gdl.cli.output import OutputClosed, say
from gdl.cli.runtime import at_terminal, complain
from gdl.cli.signals import handled, leave_now
from gdl.domain import events as ev
from gdl.domain import fleet_events as fe
from gdl.domain.errors import GdlError
from gdl.domain.events import Recorded
from gdl.domain.fleet import FleetState, apply_fleet
from gdl.domain.fleet_orders import End
from gdl.domain.money import hourly
from gdl.domain.serialization import recorded_to_plain
from gdl.presentation.durations import clock_time
from gdl.presentation.fleets import name_of, words_of
from gdl.presentation.lines import plain

if TYPE_CHECKING:
    from gdl.cli.runtime import Session

Ask = Callable[[str], Awaitable[str]]
_CHOICE = "release all replicas? [Y/n/c] (y release, n keep serving, c continue) "
_AGAIN = "press Ctrl-C again to stop waiting"


class FleetFollower:
    """ask: how to ask the user; None when nobody can be asked. since: what was before is not told
    again."""

    def __init__(self, session: Session, *, ask: Ask | None, since: datetime | None = None) -> None:
        self._since = since
        self._fleets = session.orchestrator.fleets
        self._deployments = session.orchestrator.deployments
        self._output = session.output
        self._bills = session.orchestrator.bills
        self._ask = ask
        self._state = FleetState("")
        self._announced = False
        self._served = False
        self._ended_by_us = False
        self._closed: OutputClosed | None = None
        self._signals: asyncio.Queue[Signals] = asyncio.Queue()
        self._readers: dict[str, asyncio.Task[None]] = {}

    async def to_the_end(self, fleet_id: str) -> int:
        """The exit code; does not return when the user would not wait for the end."""
        self._state = FleetState(fleet_id)
        with handled(self._signals.put_nowait):
            reading = asyncio.create_task(self._read(fleet_id))
            obeying = asyncio.create_task(self._obey(fleet_id))
            try:
                await asyncio.wait({reading, obeying}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    complain(
                        "stopped waiting before the fleet had ended",
                        "`gdl-tui sessions` shows what is rented, `destroy ID` ends it",
                    )
                    leave_now(exit_codes.STILL_BILLING if self._bills else exit_codes.CANCELLED)
                reading.result()
            finally:
                tasks = [reading, obeying, *self._readers.values()]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        return self._code()

    # -- reading ---------------------------------------------------------------------------------

    async def _read(self, fleet_id: str) -> None:
        async for recorded in self._fleets.events(fleet_id):
            self._state = apply_fleet(self._state, recorded)
            self._served |= isinstance(recorded.event, fe.ReplicaTakenIn)
            if isinstance(recorded.event, fe.ReplicaStarted):
                replica = recorded.event.replica
                if replica not in self._readers:
                    reader = asyncio.create_task(self._read_replica(replica))
                    self._readers[replica] = reader
            await self._shown(self._show, recorded)

    async def _read_replica(self, replica: str) -> None:
        async for recorded in self._deployments.events(replica):
            await self._shown(self._show_replica, recorded)

    async def _shown(self, show: Callable[[Recorded], None], recorded: Recorded) -> None:
        """Nobody reads any more: everything is released, as nobody would know of it."""
        if self._closed is not None:
            return
        try:
            show(recorded)
        except OutputClosed as closed:
            self._closed = closed
            await self._end(self._state.fleet_id, keep=False)

    def _show(self, recorded: Recorded) -> None:
        if self._output.as_json:
            self._output.json(recorded_to_plain(recorded))
            return
        event = recorded.event
        if isinstance(event, ev.Noted):
            self._say(recorded, plain(event.text, 300))
        elif text := words_of(event, self._state):
            self._say(recorded, text)
        if isinstance(event, fe.FleetResumed):
            self._announced = False
        new = self._since is None or recorded.at >= self._since
        if isinstance(event, fe.FleetServing) and new and not self._announced:
            self._announced = True
            self._serving()

    def _show_replica(self, recorded: Recorded) -> None:
        event = recorded.event
        if self._output.as_json:
            self._output.json(recorded_to_plain(recorded))
            return
        text = _told(event)
        if text:
            self._say(recorded, f"  {name_of(self._state, recorded.deployment_id)}: {text}")

    def _say(self, recorded: Recorded, text: str) -> None:
        if self._since is not None and recorded.at < self._since:
            return
        since = self._state.started_at or recorded.at
        say(f"[{clock_time((recorded.at - since).total_seconds()):>7}] {text}")

    def _serving(self) -> None:
        state = self._state
        for name, value in {
            "OPENAI_BASE_URL": state.endpoint,
            "OPENAI_MODEL": state.served_name,
            "OPENAI_API_KEY_FILE": state.api_key_file,
            "GDL_FLEET": state.fleet_id,
        }.items():
            self._output.line(f"{name}={shlex.quote(plain(value))}")
        say(f"the key: export OPENAI_API_KEY=$(cat {shlex.quote(state.api_key_file)})")
        if state.spec is not None and state.spec.replica.after == "hold":
            say(f"`gdl-tui scale {state.fleet_id} N` changes its size; press Ctrl-C to end")

    # -- ending ----------------------------------------------------------------------------------

    async def _obey(self, fleet_id: str) -> None:
        """Returns when the user stops waiting."""
        while True:
            signal = await self._signals.get()
            if self._state.ending is not None or self._ended_by_us:
                if signal is SIGINT:
                    return
                continue
            answer = "y"
            if signal is SIGINT and self._ask is not None and self._state.serving:
                say("")
                answer = (await self._answer(self._ask))[:1]
            if answer == "c":
                say("the fleet keeps running; press Ctrl-C to end")
                continue
            await self._end(fleet_id, keep=answer == "n")

    async def _answer(self, ask: Ask) -> str:
        """A second Ctrl-C is the usual answer."""
        question = asyncio.ensure_future(ask(_CHOICE))
        again = asyncio.ensure_future(self._signals.get())
        try:
            await asyncio.wait({question, again}, return_when=asyncio.FIRST_COMPLETED)
            return question.result() if question.done() else "y"
        finally:
            for task in (question, again):
                task.cancel()
            await asyncio.gather(question, again, return_exceptions=True)

    async def _end(self, fleet_id: str, *, keep: bool) -> None:
        self._ended_by_us = True
        what = "releasing all replicas"
        if keep:
            goes_on = "serving and billing" if self._bills else "serving"
            what = f"what serves keeps {goes_on}, other replicas are released"
        after = "; machines may then still be billing" if self._bills else ""
        say(f"{what} ({_AGAIN}{after})")
        try:
            await self._fleets.order(fleet_id, End(keep))
        except GdlError as error:
            complain(error.message, error.hint)

    def _code(self) -> int:
        finished = self._state.finished
        assert finished is not None
        if finished.error:
            complain(finished.error, finished.hint or "")
        if finished.outcome == "serving" and not finished.error:
            say(f"`gdl-tui resume {self._state.fleet_id}` opens its address again")
        code = _code_of(finished, cancelled=self._ended_by_us and not self._served)
        if self._closed is not None and code != exit_codes.STILL_BILLING:
            return self._output.abandon(self._closed)
        return code


def _told(event: ev.Event) -> str:
    """What is told of a replica beside its fleet's own events: where it is, and what goes wrong."""
    match event:
        case ev.AttemptStarted():
            where = f"{event.gpu_name or 'a machine'} from {event.provider}"
            return plain(f"attempt {event.attempt}: {where}, {hourly(event.price_per_hour)}", 200)
        case ev.PhaseChanged():
            return plain(f"{event.phase.value}  {event.detail}".rstrip(), 200)
        case ev.AttemptFailed():
            return plain(f"attempt {event.attempt} failed: {event.message}; {event.hint}", 400)
        case ev.Noted(level=level) if level != "info":
            return plain(f"{level}: {event.text}", 300)
        case _:
            return ""


def _code_of(finished: fe.FleetFinished, *, cancelled: bool) -> int:
    if finished.kind == "release_unconfirmed":
        return exit_codes.STILL_BILLING
    if finished.error:
        return exit_codes.BY_KIND.get(finished.kind, exit_codes.INTERNAL)
    if finished.outcome == "serving":
        return exit_codes.OK
    if exit_codes.may_bill(finished.billing):
        return exit_codes.STILL_BILLING
    return exit_codes.CANCELLED if cancelled else exit_codes.OK


async def follow_fleet(
    session: Session, start: Awaitable[str], *, asks: bool, since: datetime | None = None
) -> int:
    """Start a fleet, or go on with one (`start` gives its id), and follow it to its end."""
    from gdl.cli.prompt import ask

    follower = FleetFollower(session, ask=ask if asks and at_terminal() else None, since=since)
    return await follower.to_the_end(await start)
