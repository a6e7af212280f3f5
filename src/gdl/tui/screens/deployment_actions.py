"""What can be done with a deployment: every choice, asked for where it costs or destroys."""

from __future__ import annotations

from rich.text import Text
from textual import work

from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import GdlError
from gdl.domain.money import dollars
from gdl.presentation.hardware import gpus
from gdl.presentation.lines import plain
from gdl.presentation.money import hourly
from gdl.presentation.words import plural
from gdl.tui.screens.base import GdlScreen
from gdl.tui.store import BILLS, Followed
from gdl.tui.widgets.failure import providers_out, raw
from gdl.tui.widgets.log_pane import LogPane
from gdl.tui.widgets.status_panel import call


class DeploymentActions(GdlScreen):
    """The actions of the deployment screen, all through the orchestrator."""

    def action_step(self, by: int) -> None:
        self.context.store.step(by)
        self.poke()

    @work(exclusive=True, group="save")
    async def on_log_pane_save_wanted(self, event: LogPane.SaveWanted) -> None:
        from gdl.tui.save_file import save_text

        pane = event.pane
        shown = self._followed.shown
        attempt = f"-attempt-{shown.number}" if shown is not None and shown.number > 1 else ""
        name, text = f"{self._deployment_id}{attempt}-{pane.name}", pane.view.lines.text()
        kept, seen = len(pane.view.lines), pane.lines_seen
        try:
            path = await save_text(name, text, self.now, self.context.settings.logs_dir)
        except GdlError as error:
            self.context.report(error)
            return
        count = plural(kept, "line") if kept == seen else f"the last {kept:,} of {seen:,} lines"
        self.context.say(f"saved {count} to {path}")

    @work(exclusive=True, group="shell")
    async def action_shell(self) -> None:
        try:
            command = await self.context.orchestrator.shell(self._deployment_id)
            status = await self.context.hand_over(command)
        except GdlError as error:
            self.context.report(error)
            return
        if status == 255:  # what ssh says when it is ssh that failed
            self.context.say("ssh could not connect", severity="warning")

    def action_talk(self) -> None:
        self.context.action_show("chat")

    def action_health(self) -> None:
        self.context.action_show("health")

    def action_retry(self) -> None:
        followed = self._followed
        if followed.trouble:
            self.context.follow(followed.state.deployment_id)
        elif followed.state.waiting:
            self.context.do(
                self.context.orchestrator.retry(self._deployment_id),
                "trying the same machine again",
            )
        elif followed.state.spec is not None:
            self._again(followed.state)

    @work(exclusive=True, group="dialog")
    async def _again(self, state: DeploymentState) -> None:
        from gdl.tui.screens.dialogs import Confirm

        spec = state.spec
        assert spec is not None
        attempt = state.attempt
        machine = "the cheapest suitable machine" if spec.query.offer_id is None else "this offer"
        last = f"{gpus(attempt)}, {hourly(attempt.price_per_hour)}" if attempt else "none"
        fields = (
            ("Model", Text(plain(spec.model, 120), "bold")),
            ("On", f"{machine}, for {plural(spec.hours, 'hour')}"),
            ("Last time", last),
        )
        dialog = Confirm("Deploy it again?", fields, "", "Deploy")
        if await self.context.ask(dialog):
            self.context.start(spec)

    def action_next_offer(self) -> None:
        self.context.do(
            self.context.orchestrator.next_offer(self._deployment_id), "taking the next offer"
        )

    def action_fix(self) -> None:
        remedy = self._followed.state.offered
        words = remedy.words if remedy is not None else "applying the remedy"
        self.context.do(self.context.orchestrator.apply_remedy(self._deployment_id), words)

    def action_exclude(self) -> None:
        attempt = self._followed.state.attempt
        name = attempt.provider if attempt else "the provider"
        going = self.context.orchestrator.next_offer(self._deployment_id, exclude_provider=True)
        self.context.do(going, f"taking the next offer, not from {name}")

    @work(exclusive=True, group="dialog")
    async def action_bring_back(self) -> None:
        from gdl.tui.screens.dialogs import Choose

        providers = providers_out(self._followed.state)
        deployment_id = self._deployment_id
        chosen: str | None = providers[0]
        if len(providers) > 1:
            chosen = await self.app.push_screen_wait(Choose("Bring back whom?", providers))
        if chosen is not None:
            going = self.context.orchestrator.include_provider(deployment_id, chosen)
            self.context.do(going, f"{chosen} may be taken again")

    def action_automatic(self) -> None:
        wanted = not self._followed.state.auto_failover
        going = self.context.orchestrator.set_auto_failover(self._deployment_id, wanted)
        self.context.do(going, f"automatic failover is {'on' if wanted else 'off'}")

    def action_copy(self) -> None:
        """How the endpoint is used; of a failed attempt, all that is known of it."""
        followed = self._followed
        way = call(followed.state)
        if followed.failed:
            self.context.copy(
                raw(followed), "the failure, with its evidence and the ends of its logs"
            )
        elif way is not None:
            self.context.copy(line := way.lines("sh"), line)

    def action_copy_curl(self) -> None:
        if (way := call(self._followed.state)) is not None:
            self.context.copy(way.lines("curl"), "a curl line")

    @work(exclusive=True, group="dialog")
    async def action_cancel(self) -> None:
        note = "The deployment stops, and its machine is given back."
        if await self._ask("Cancel this deployment?", note, "Stop it"):
            self.context.do(self.context.orchestrator.cancel(self._deployment_id), "cancelling")

    @work(exclusive=True, group="dialog")
    async def action_release(self) -> None:
        note = "The model stops serving, and the machine is given back."
        if await self._ask("Give the machine back?", note, "Give back"):
            self.context.do(
                self.context.orchestrator.release(self._deployment_id), "giving the machine back"
            )

    @work(exclusive=True, group="dialog")
    async def action_keep(self) -> None:
        note = (
            "The tunnel closes, the model goes on serving on the machine, and the machine goes on\n"
            "billing until it is destroyed or its time is over. 4 Sessions attaches to it again."
        )
        if await self._ask("Leave it serving?", note, "Leave it", destroys=False):
            self.context.do(self.context.orchestrator.keep(self._deployment_id), "left serving")

    async def _ask(self, title: str, note: str, yes: str, *, destroys: bool = True) -> bool:
        from gdl.tui.screens.dialogs import Confirm

        fields = machine_fields(self._followed, self.context.store.followed_cost(self.now))
        dialog = Confirm(title, fields, note, yes, destroys=destroys)
        return await self.context.ask(dialog)

    @property
    def _followed(self) -> Followed:
        followed = self.context.store.followed
        assert followed is not None
        return followed

    @property
    def _deployment_id(self) -> str:
        return self._followed.state.deployment_id


def machine_fields(followed: Followed, cost: float) -> list[tuple[str, Text | str]]:
    """Model, machine and price of a deployment, for a dialog."""
    state, attempt = followed.state, followed.state.attempt
    name = state.served_name or (state.spec.model if state.spec else state.deployment_id)
    fields: list[tuple[str, Text | str]] = [("Model", Text(plain(name, 120), "bold"))]
    if attempt is None:
        return [*fields, ("Machine", "none rented yet")]
    fields.append(("Machine", f"{gpus(attempt)} from {plain(attempt.provider, 40)}"))
    if attempt.price_per_hour <= 0:
        return [*fields, ("Price", "free")]
    so_far = f"{hourly(attempt.price_per_hour)}, {dollars(cost)} so far"
    rented = so_far if state.billing in BILLS else f"{so_far}, billing has ended"
    return [*fields, ("Price", Text(rented, "bold"))]
