"""What can be done with a deployment, each asked for first where it costs or destroys."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from rich.text import Text
from textual.app import SystemCommand

from gdl.domain.agent_settings import CLIENTS
from gdl.domain.change import Change
from gdl.domain.decisions import AfterFailure, AfterServing
from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import GdlError
from gdl.domain.money import dollars, hourly
from gdl.domain.phase import Billing, Phase
from gdl.domain.spec import DeploymentSpec
from gdl.presentation.endings import on_own_machine
from gdl.presentation.hardware import gpus
from gdl.presentation.lines import plain
from gdl.presentation.words import plural
from gdl.tui.consequences import of_cancelling, of_keeping, of_releasing
from gdl.tui.context import AppContext
from gdl.tui.save_file import save_text
from gdl.tui.screens.dialogs import Choose, Confirm
from gdl.tui.screens.next_attempt import agreed_to_next, agreed_to_retry
from gdl.tui.shell import open_shell
from gdl.tui.store import BILLS, Followed
from gdl.tui.widgets.failure import excluded_providers, failure_report
from gdl.tui.widgets.fields import Fields
from gdl.tui.widgets.log_pane import LogPane
from gdl.tui.widgets.status_panel import base_url, client_call, served_of

# Whether they can be done


def available(action: str, followed: Followed, *, keeps: bool) -> bool:
    """Whether this action of the screen makes sense now. keeps: what serves can go on without
    this program."""
    if action == "keep":
        return keeps and followed.state.can_be_left
    holds = _AVAILABLE.get(action)
    return holds is None or holds(followed)


def _under_way(followed: Followed) -> bool:
    """Neither serving, nor over, nor about to be: its machine is released by now."""
    state = followed.state
    ends = state.phase is Phase.STOPPING or followed.state.can_be_left
    return state.finished is None and not ends


def _can_retry(followed: Followed) -> bool:
    state = followed.state
    return state.waiting or state.finished is not None or bool(followed.trouble)


def _answers(followed: Followed) -> bool:
    return followed.holds and base_url(followed.state) is not None


def _can_enter(followed: Followed) -> bool:
    """Its machine is known, and has not been released after a failure."""
    state, attempt = followed.state, followed.state.attempt
    if attempt is None or attempt.facts is None or state.finished is not None:
        return False
    if state.phase is Phase.STOPPING:
        return False
    return attempt.failure is None or state.offered is not None


_AVAILABLE: dict[str, Callable[[Followed], bool]] = {
    "retry": _can_retry,
    "change": lambda followed: followed.state.spec is not None and _can_retry(followed),
    "next_offer": lambda followed: followed.state.waiting,
    "exclude": lambda followed: followed.state.waiting,
    "fix": lambda followed: followed.state.waiting and followed.state.offered is not None,
    "include": lambda followed: _under_way(followed) and bool(excluded_providers(followed.state)),
    "automatic": _under_way,
    "cancel": _under_way,
    "release": lambda followed: followed.state.can_be_left,
    "talk": lambda followed: followed.holds,
    "health": lambda followed: bool(followed.checks) or followed.holds,
    "copy": lambda followed: _answers(followed) or followed.failed,
    "copy_curl": _answers,
    "shell": _can_enter,
}

# What is chosen after a failure


async def retry(context: AppContext, followed: Followed) -> None:
    """The same offer while it waits; a new deployment after the end."""
    state = followed.state
    if followed.trouble:
        context.follow(state.deployment_id)
    elif state.waiting:
        if await agreed_to_retry(context, followed):
            going = context.orchestrator.deployments.decide(state.deployment_id, AfterFailure.RETRY)
            context.do(going, "the same offer is tried again")
    elif state.spec is not None:
        await _deploy_again(context, followed, state.spec)


async def _deploy_again(context: AppContext, followed: Followed, spec: DeploymentSpec) -> None:
    """spec: of the one that is over, or that as changed."""
    before, attempt = followed.state.spec, followed.state.attempt
    machine = "the cheapest suitable machine" if spec.query.offer_id is None else "this offer"
    if spec.confirmed:
        first = spec.confirmed[0]
        machine = f"offer {plain(first.offer_id, 60)} at {hourly(first.price_per_hour)} or less"
    last = f"{gpus(attempt)}, {hourly(attempt.price_per_hour)}" if attempt else "none"
    fields: list[tuple[str, Text | str]] = [
        ("Model", Text(plain(spec.model, 120), "bold")),
        ("On", f"{machine}, for {plural(spec.hours, 'hour')}"),
        ("Last time", last),
    ]
    if before is not None and spec != before:
        fields.append(("Changed", plain(Change.none_of(spec).words(before), 120)))
    doubt = followed.state.billing is Billing.UNKNOWN
    note = "The machine before may still be billing as well: see 4 Sessions." if doubt else ""
    if await context.ask(Confirm("Deploy it again?", fields, note, "Deploy")):
        context.start(spec)


async def next_offer(context: AppContext, followed: Followed) -> None:
    agreed = await agreed_to_next(context, followed, "Take the next offer?")
    if agreed is not None:
        going = context.orchestrator.deployments.decide(
            followed.state.deployment_id, AfterFailure.NEXT, max_price=agreed.max_price
        )
        context.do(going, "looking for the next offer")


async def exclude(context: AppContext, followed: Followed) -> None:
    """Take the next offer, and none of this provider, or of its host on a marketplace of many."""
    attempt = followed.state.attempt
    name = attempt.provider if attempt else "the provider"
    # A marketplace asked directly is named as its backend.
    if attempt is not None and attempt.host and attempt.backend.endswith(attempt.provider):
        name = f"host {attempt.host} of {name}"
    title = f"Exclude {plain(name, 60)} and take another offer?"
    agreed = await agreed_to_next(context, followed, title, other_source=True)
    if agreed is not None:
        ident = followed.state.deployment_id
        going = context.orchestrator.deployments.decide(
            ident, AfterFailure.EXCLUDE, max_price=agreed.max_price
        )
        context.do(going, f"{name} is excluded here: looking for another offer")


async def include(context: AppContext, followed: Followed) -> None:
    """Let an excluded provider be taken again."""
    providers = excluded_providers(followed.state)
    chosen: str | None = providers[0]
    if len(providers) > 1:
        chosen = await context.ask(Choose("Include which provider?", providers))
    if chosen is not None:
        ident = followed.state.deployment_id
        going = context.orchestrator.deployments.include_provider(ident, chosen)
        context.do(going, f"{chosen} is included again")


async def change(context: AppContext, followed: Followed) -> None:
    """Edit what failed, and try it again: on its machine where that is still there."""
    from gdl.tui.screens.change_dialog import ChangeDialog

    if (spec := followed.state.spec) is None:
        return
    wanted = Change.none_of(spec)
    while True:
        # What was typed is not lost where it cannot be.
        state = followed.state
        dialog = ChangeDialog(wanted, where=_where(state), token=state.waiting)
        edited = await context.ask(dialog)
        if edited is None:
            return
        wanted, state = edited, followed.state  # which went on meanwhile
        if state.finished is not None:
            await _deploy_again(context, followed, wanted.of(spec))
            return
        if not state.held and not await agreed_to_retry(context, followed):
            return
        price = state.attempt.price_per_hour if state.attempt is not None else None
        try:
            await context.orchestrator.deployments.decide(
                state.deployment_id,
                AfterFailure.CHANGE,
                max_price=None if state.held else price,
                change=wanted,
            )
        except GdlError as error:
            context.report(error)
            continue
        context.say(f"once more: {plain(wanted.words(spec), 120)}")
        return


def _where(state: DeploymentState) -> str:
    """On which machine what was changed is tried."""
    if state.held:
        return "On this machine, reusing what is there"
    return "On the same offer" if state.waiting else "As a new deployment"


async def fix(context: AppContext, followed: Followed) -> None:
    remedy = followed.state.offered
    words = remedy.words if remedy is not None else "applying the fix"
    context.do(
        context.orchestrator.deployments.decide(followed.state.deployment_id, AfterFailure.FIX),
        words,
    )


async def toggle_failover(context: AppContext, followed: Followed) -> None:
    wanted = not followed.state.auto_failover
    if wanted and followed.state.waiting:
        # Turned on now, it takes the next one at once.
        title = "Take the next offer now, and further ones without asking?"
        if await agreed_to_next(context, followed, title) is None:
            return
    going = context.orchestrator.deployments.set_auto_failover(followed.state.deployment_id, wanted)
    context.do(going, f"automatic failover is {'on' if wanted else 'off'}")


# Ending it


async def cancel(context: AppContext, followed: Followed) -> None:
    note = of_cancelling(followed.state)
    if await _confirmed(context, followed, "Cancel this deployment?", note, "Stop it"):
        context.do(
            context.orchestrator.deployments.cancel(followed.state.deployment_id), "cancelling"
        )


async def release(context: AppContext, followed: Followed) -> None:
    note = of_releasing(followed.state)
    if await _confirmed(context, followed, "Release the machine?", note, "Release"):
        going = context.orchestrator.deployments.decide(
            followed.state.deployment_id, AfterServing.RELEASE
        )
        context.do(going, "releasing the machine")


async def keep(context: AppContext, followed: Followed) -> None:
    title, note, yes = "Leave it serving?", of_keeping(followed.state), "Leave it"
    if await _confirmed(context, followed, title, note, yes, destroys=False):
        context.do(
            context.orchestrator.deployments.decide(
                followed.state.deployment_id, AfterServing.KEEP
            ),
            "left serving",
        )


async def _confirmed(
    context: AppContext, followed: Followed, title: str, note: str, yes: str,
    *, destroys: bool = True,
) -> bool:  # fmt: skip
    def fields() -> Fields:
        return machine_fields(followed, followed.state.cost(context.now))

    answer = await context.ask(Confirm(title, fields, note, yes, destroys=destroys))
    return bool(answer)


def machine_fields(followed: Followed, cost: float) -> list[tuple[str, Text | str]]:
    """Model, machine and price of a deployment, for a dialog. cost: dollars so far."""
    state, attempt = followed.state, followed.state.attempt
    name = state.served_name or (state.spec.model if state.spec else state.deployment_id)
    fields: list[tuple[str, Text | str]] = [("Model", Text(plain(name, 120), "bold"))]
    if attempt is None:
        return [*fields, ("Machine", "none rented yet")]
    fields.append(("Machine", f"{gpus(attempt)} from {plain(attempt.provider, 40)}"))
    if attempt.price_per_hour <= 0:
        return [*fields, ("Price", "free")]
    so_far = f"{hourly(attempt.price_per_hour)}, {dollars(cost)} so far"
    going = state.billing in BILLS or on_own_machine(state)
    rented = so_far if going else f"{so_far}, billing has ended"
    return [*fields, ("Price", Text(rented, "bold"))]


# Taking something away from it


async def shell(context: AppContext, followed: Followed) -> None:
    await open_shell(context, followed.state.deployment_id)


def copy(context: AppContext, followed: Followed) -> None:
    """How the endpoint is used; of a failed attempt, all that is known of it."""
    way = client_call(followed.state)
    if followed.failed:
        context.copy(
            failure_report(followed), "the failure, with its evidence and the end of its logs"
        )
    elif way is not None:
        context.copy(line := way.lines("sh"), line)


def copy_curl(context: AppContext, followed: Followed) -> None:
    if (way := client_call(followed.state)) is not None:
        context.copy(way.lines("curl"), "a curl command")


def palette(context: AppContext, followed: Followed) -> Iterator[SystemCommand]:
    """What has no key of its own: settings for clients, while there is something to use."""
    if not followed.failed and client_call(followed.state) is not None:
        for form, client in CLIENTS.items():
            yield SystemCommand(
                f"Settings for {client.title}",
                "Copy what it needs to use this model",
                partial(copy_settings, context, followed, form),
            )


def copy_settings(context: AppContext, followed: Followed, form: str) -> None:
    """What a coding agent or proxy needs (one of `CLIENTS`), and what the server cannot do."""
    way, client = client_call(followed.state), CLIENTS[form]
    if way is None:
        return
    served = served_of(followed.state)
    context.copy(client.settings(way, served), f"settings for {client.title}")
    for warning in client.warnings(served):
        context.say(warning)


async def save_log(context: AppContext, followed: Followed, pane: LogPane) -> None:
    """The lines of a pane, as far as they are kept, into a file."""
    shown = followed.shown
    attempt = f"-attempt-{shown.number}" if shown is not None and shown.number > 1 else ""
    name = f"{followed.state.deployment_id}{attempt}-{pane.name}"
    text, kept, seen = pane.view.lines.text(), len(pane.view.lines), pane.lines_seen
    try:
        path = await save_text(name, text, context.now, context.settings.logs_dir)
    except GdlError as error:
        context.report(error)
        return
    count = plural(kept, "line") if kept == seen else f"the last {kept:,} of {seen:,} lines"
    context.say(f"saved {count} to {path}")
