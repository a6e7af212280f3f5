"""Quitting while something costs money or is under way: leave it, release it, or stay."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import App

from gdl.domain.decisions import AfterServing
from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import GdlError, UsageError
from gdl.domain.phase import Billing
from gdl.presentation.hardware import gpus
from gdl.presentation.lines import plain
from gdl.presentation.words import sentence
from gdl.tui.consequences import is_ending, of_quitting
from gdl.tui.context import AppContext, context_of
from gdl.tui.store import BILLS, Followed
from gdl.tui.widgets.phase_rail import phase_words

if TYPE_CHECKING:
    from gdl.orchestrator.api.ports import OrchestratorApi

_KEEP_S = 30.0
_RELEASE_S = 900.0


async def quit_or_ask(app: App[None]) -> None:
    """End the app at once when nothing runs or bills; otherwise ask, and do what was chosen."""
    from gdl.tui.screens.dialogs import QuitDialog, QuitProgress

    if any(isinstance(screen, QuitDialog | QuitProgress) for screen in app.screen_stack):
        return
    context = context_of(app)
    active = _active(context)
    bills = context.store.bills(context.now)
    if not active and not bills:
        app.exit()
        return
    keeps = context.orchestrator.keeps
    can_leave = keeps and all(
        followed.state.can_be_left or is_ending(followed.state) for followed in active
    )
    states = [followed.state for followed in active]
    going = any(not is_ending(state) for state in states)
    dialog = QuitDialog(
        lambda: _fields(context, active),
        of_quitting(states, bills, can_leave=can_leave, read_only=context.read_only),
        can_leave=can_leave and (going or not active),
        can_release=bool(active) and not context.read_only,
    )
    choice = await app.push_screen_wait(dialog)
    if choice == "leave":
        await _end_all_and_exit(app, active, release=False)
    elif choice == "release":
        await _end_all_and_exit(app, active, release=True)


def _active(context: AppContext) -> list[Followed]:
    """The deployments whose tasks run in this process."""
    running = set(context.orchestrator.deployments.active)
    return [f for ident, f in context.store.deployments.items() if ident in running]


def _fields(context: AppContext, active: list[Followed]) -> list[tuple[str, Text | str]]:
    from gdl.tui.widgets.cost_bar import cost_line

    now = context.now
    fields: list[tuple[str, Text | str]] = []
    for followed in active:
        state = followed.state
        name = state.served_name or (state.spec.model if state.spec else state.deployment_id)
        machine = "no machine yet"
        if (attempt := state.attempt) is not None:
            machine = f"{gpus(attempt)} from {plain(attempt.provider, 40)}"
        doing = sentence(phase_words(state.phase, state))
        fields.append((doing, Text(plain(name, 60), "bold")))
        fields.append(("", machine))
    if bills := context.store.bills(now):
        fields.append(("Money", Text(cost_line(bills, now).plain[2:], "bold")))
    return fields


async def _release_or_cancel(orchestrator: OrchestratorApi, state: DeploymentState) -> None:
    """Release what is held; cancel what is not, or not yet."""
    ident = state.deployment_id
    if state.can_be_left:
        try:
            await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        except UsageError:
            pass
        else:
            return
    await orchestrator.deployments.cancel(ident)


async def _end_all_and_exit(app: App[None], active: list[Followed], *, release: bool) -> None:
    """Tell the orchestrator of all of them, wait until each has finished, then exit."""
    from gdl.tui.screens.dialogs import QuitProgress

    if not active:
        app.exit()
        return
    screen = QuitProgress()
    await app.push_screen(screen)
    context = context_of(app)
    unsure = [f for f in active if not await _told(context, f.state, release=release)]
    for followed in active:
        name = plain(followed.state.served_name or followed.state.deployment_id, 40)
        ends = release or is_ending(followed.state)
        screen.say(f"{name}: {'releasing the machine…' if ends else 'leaving it serving…'}")
        if followed not in unsure and not await _over(context, followed.state, release=ends):
            unsure.append(followed)
    if unsure:
        screen.dismiss()
        bills = any(followed.state.billing in BILLS for followed in unsure)
        what = "the machine may still be billing; see 4 Sessions" if bills else "see 4 Sessions"
        context.say(f"not confirmed: {what}", severity="error")
        return
    app.exit()


async def _told(context: AppContext, state: DeploymentState, *, release: bool) -> bool:
    """Whether what was chosen of it could be said; what could not is reported."""
    if is_ending(state):
        return True
    try:
        if release:
            await _release_or_cancel(context.orchestrator, state)
        else:
            decide = context.orchestrator.deployments.decide
            await decide(state.deployment_id, AfterServing.KEEP)
    except GdlError as error:
        context.report(error)
        return False
    return True


async def _over(context: AppContext, state: DeploymentState, *, release: bool) -> bool:
    """Whether it has finished in time, with no machine in doubt, nor one that was to be released
    and was not."""
    try:
        async with asyncio.timeout(_RELEASE_S if release else _KEEP_S):
            finished = await context.orchestrator.deployments.wait(state.deployment_id)
    except TimeoutError:
        return False
    except GdlError as error:
        context.report(error)
        return False
    return finished.billing not in (BILLS if release else (Billing.UNKNOWN,))
