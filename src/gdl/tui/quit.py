"""Quitting while something costs money or is under way: leave it, release it, or stay."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rich.text import Text
from textual.app import App

from gdl.domain.decisions import AfterServing
from gdl.domain.errors import GdlError, UsageError
from gdl.domain.phase import Billing, Phase
from gdl.presentation.hardware import gpus
from gdl.presentation.lines import plain
from gdl.presentation.words import sentence
from gdl.tui.context import AppContext, context_of
from gdl.tui.store import Followed
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
    can_leave = keeps and all(followed.state.can_be_left for followed in active)
    dialog = QuitDialog(
        _fields(context, active), _note(active, can_leave=can_leave),
        can_leave=can_leave, can_release=bool(active) and not context.read_only,
    )  # fmt: skip
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


def _note(active: list[Followed], *, can_leave: bool) -> str:
    if not active:
        return "Rented earlier; it keeps running when you quit. 4 Sessions to destroy it."
    if all(followed.state.phase is Phase.STOPPING for followed in active):
        return "The machine is still being released. Quitting waits until it is gone."
    if can_leave:
        return "If left running, the model keeps serving and the machine keeps billing."
    if all(followed.state.can_be_left for followed in active):
        return "The machines of this backend end when this program ends."
    return "It is not serving yet, and cannot continue without this program."


async def _release_or_cancel(orchestrator: OrchestratorApi, followed: Followed) -> None:
    """Release what is held; cancel what is not, or not yet."""
    ident = followed.state.deployment_id
    if followed.state.phase is Phase.STOPPING:
        return
    if followed.state.can_be_left:
        try:
            await orchestrator.deployments.decide(ident, AfterServing.RELEASE)
        except UsageError:
            pass
        else:
            return
    await orchestrator.deployments.cancel(ident)


async def _end_all_and_exit(app: App[None], active: list[Followed], *, release: bool) -> None:
    """Tell the orchestrator, wait until each deployment has finished, then exit."""
    from gdl.tui.screens.dialogs import QuitProgress

    if not active:
        app.exit()
        return
    screen = QuitProgress()
    await app.push_screen(screen)
    context = context_of(app)
    orchestrator = context.orchestrator
    unsure = False
    for followed in active:
        ident = followed.state.deployment_id
        name = plain(followed.state.served_name or ident, 40)
        screen.say(f"{name}: {'releasing the machine…' if release else 'leaving it serving…'}")
        try:
            if not release:
                await orchestrator.deployments.decide(ident, AfterServing.KEEP)
            else:
                await _release_or_cancel(orchestrator, followed)
            async with asyncio.timeout(_RELEASE_S if release else _KEEP_S):
                finished = await orchestrator.deployments.wait(ident)
            unsure = unsure or (release and finished.billing is Billing.UNKNOWN)
        except TimeoutError:
            unsure = True
        except GdlError as error:
            context.report(error)
            unsure = True
    if unsure:
        screen.dismiss()
        context.say(
            "not confirmed: the machine may still be billing; see 4 Sessions", severity="error"
        )
        return
    app.exit()
