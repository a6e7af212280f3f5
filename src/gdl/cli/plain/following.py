"""A deployment told line by line, and what may be done as it serves or has failed."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from gdl.cli.consent import costs
from gdl.cli.deployment_output import endpoint_lines, is_holding
from gdl.cli.narrator import Narrator
from gdl.cli.output import Output, say
from gdl.cli.plain.questions import InputEnded, Questions, Quit
from gdl.cli.runtime import complain
from gdl.conversations.answering import answered
from gdl.domain import clock
from gdl.domain import events as ev
from gdl.domain.chat import ChatPiece
from gdl.domain.conversation import ChatTurn, Conversation
from gdl.domain.decisions import AfterFailure, AfterServing, Decision
from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import GdlError
from gdl.domain.money import dollars, hourly
from gdl.presentation.chat import cut
from gdl.presentation.endings import on_own_machine
from gdl.presentation.lines import plain
from gdl.presentation.words import RELEASED_FIRST

if TYPE_CHECKING:
    from gdl.domain.events import Recorded
    from gdl.orchestrator.api.ports import OrchestratorApi

_LOG_LINES = 8
"""Of a log, told when an attempt has failed: as it grows it would drown all else."""
SERVING, FAILED = "serving", "failed"


class PlainDeployment:
    """Narration without the machine's logs; it notes what is to be asked. Satisfies
    DeploymentOutput."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._narrator = Narrator(colour=False, columns=None)
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self.state = DeploymentState("")
        self.asked = ""
        self.turn = asyncio.Event()
        self._holds = False

    def event(self, recorded: Recorded, state: DeploymentState) -> None:
        self.state = state
        if isinstance(recorded.event, ev.LogLines):
            self._log.extend(plain(line, 300) for line in recorded.event.lines)
            return
        if not _says_the_menu(recorded.event):
            for line in self._narrator.lines(recorded, state):
                say(line)
        if isinstance(recorded.event, ev.AttemptStarted):
            self._log.clear()
        if state.waiting and self.asked != FAILED and self._log:
            say("The last lines of the log:")
            for line in self._log:
                say(line)
        if is_holding(recorded.event):
            self._holds = True
        elif isinstance(recorded.event, ev.PhaseChanged):
            self._holds = False
        serves = self._holds and state.finished is None
        self._ask(FAILED if state.waiting else SERVING if serves else "")

    def still(self, state: DeploymentState) -> None:
        if not self.asked:
            say(self._narrator.still(state, clock.now()))

    def serving(self, state: DeploymentState) -> None:
        for line in endpoint_lines(state):
            self._output.line(line)

    def _ask(self, what: str) -> None:
        if what != self.asked:
            self.asked = what
            self.turn.set()


def _says_the_menu(event: ev.Event) -> bool:
    """What the menu that is asked now says by itself."""
    return isinstance(event, ev.Noted) and event.text.startswith(("waiting for a ", "holding"))


class Menus:
    """What is asked while a deployment goes on."""

    def __init__(
        self, orchestrator: OrchestratorApi, show: PlainDeployment, questions: Questions
    ) -> None:
        self._orchestrator, self._show, self._questions = orchestrator, show, questions
        self._conversation = Conversation()

    async def attend(self) -> None:
        """Ask whenever something is to be asked; what was asked before is dropped then."""
        menu: asyncio.Task[None] | None = None
        try:
            while True:
                self._show.turn.clear()
                asked = self._show.asked
                if asked:
                    menu = asyncio.create_task(self._ask(asked))
                await self._show.turn.wait()
                await _over(menu)
        finally:
            await _over(menu)

    async def _ask(self, what: str) -> None:
        """Until something else is decided. Where nobody answers any more, what is rented is
        released: nobody would look after it."""
        menu = self._serving if what == SERVING else self._failed
        again = False
        try:
            while not await menu(again):
                again = True
        except (Quit, InputEnded) as end:
            say("the input has ended" if isinstance(end, InputEnded) else "quitting")
            await self._end()

    @property
    def _ident(self) -> str:
        return self._show.state.deployment_id

    async def _end(self) -> None:
        if self._show.asked == SERVING and await self._decide(AfterServing.RELEASE):
            return
        with contextlib.suppress(GdlError):
            await self._orchestrator.deployments.cancel(self._ident)

    async def _decide(self, decision: Decision, max_price: float | None = None) -> bool:
        try:
            await self._orchestrator.deployments.decide(self._ident, decision, max_price=max_price)
        except GdlError as error:
            complain(error.message, error.hint)
            return False
        return True

    async def _serving(self, again: bool) -> bool:
        """Whether its end was decided."""
        model = plain(self._show.state.served_name, 80)
        own = on_own_machine(self._show.state)
        ends = "end it: the machine is your own, and stays" if own else "release the machine"
        choices = ["chat with it", "show the endpoint", "show the cost", ends]
        if self._orchestrator.keeps:
            choices.append(f"leave it serving{'' if own else ' and billing'}, and quit")
        chosen = await self._questions.choose(f"{model} serves", choices, again=again)
        if chosen == 0:
            await self._chat()
        elif chosen == 1:
            for line in endpoint_lines(self._show.state):
                say(line)
        elif chosen == 2:
            self._tell_cost()
        elif chosen == 3:
            question = "Release the machine? Everything on it is lost."
            if await self._questions.yes("End it?" if own else question):
                return await self._decide(AfterServing.RELEASE)
        else:
            return await self._decide(AfterServing.KEEP)
        return False

    def _tell_cost(self) -> None:
        state = self._show.state
        attempt = state.attempt
        rate = hourly(attempt.price_per_hour) if attempt is not None else "free"
        say(f"{dollars(state.cost(clock.now()))} so far, {rate}")

    async def _chat(self) -> None:
        say("Type a question and Enter; an empty line ends the chat.")
        while question := await self._questions.line("You:"):
            await self._answer(self._conversation.ask(question, clock.now()))

    async def _answer(self, turn: ChatTurn) -> None:
        """Told a line at a time, as a screen reader reads it."""
        told = 0

        def came(_piece: ChatPiece) -> None:
            nonlocal told
            *whole, _rest = turn.answer[told:].split("\n")
            for line in whole:
                say(plain(line, 4000))
                told += len(line) + 1

        say("Model:")
        try:
            async with self._orchestrator.endpoints.chat(self._ident) as partner:
                await answered(partner.ask, self._conversation, turn, came)
        except GdlError as error:
            turn.fail(error.message)
        finally:
            turn.running = False
        if turn.answer[told:]:
            say(plain(turn.answer[told:], 4000))
        if turn.done is not None and turn.done.error:
            complain(turn.done.error, "ask again, or see the health: gdl-tui health")
        elif turn.done is not None and turn.done.finish_reason == "length":
            say(cut(turn.done, self._conversation.options))

    async def _failed(self, again: bool) -> bool:
        """Whether it was decided how to go on."""
        state = self._show.state
        remedy = state.offered
        stop = "stop, and rent nothing"
        if state.held:
            own = on_own_machine(state)
            stop = "stop, and end what runs there" if own else "stop, and release the machine"
        choices = ["try the same offer again", "try the next offer", stop]
        if remedy is not None:
            choices.insert(0, f"apply the fix on the same machine: {plain(remedy.words, 160)}")
        chosen = await self._questions.choose("It failed", choices, again=again)
        if remedy is not None:
            if chosen == 0:
                return await self._decide(AfterFailure.FIX)
            chosen -= 1
        if chosen == 0:
            return await self._again()
        if chosen == 1:
            return await self._next()
        await self._end()
        return True

    async def _again(self) -> bool:
        attempt = self._show.state.attempt
        price = attempt.price_per_hour if attempt is not None else 0.0
        if self._show.state.held:
            say(RELEASED_FIRST)
        question = f"Rent the same offer again at {hourly(price)} or less?"
        if costs(self._orchestrator) and price > 0 and not await self._questions.yes(question):
            return False
        return await self._decide(AfterFailure.RETRY)

    async def _next(self) -> bool:
        try:
            found = await self._orchestrator.deployments.next_offer(self._ident)
        except GdlError as error:
            complain(error.message, error.hint)
            return False
        from gdl.presentation.offer_line import offer_line

        price = found.offer.price_per_hour
        say(f"the next one: {offer_line(found)}")
        if not costs(self._orchestrator) or price <= 0:
            return await self._decide(AfterFailure.NEXT)
        if not await self._questions.yes(f"Rent it at {hourly(price)} or less?"):
            return False
        return await self._decide(AfterFailure.NEXT, price)


async def _over(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
