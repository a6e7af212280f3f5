"""One deployment, live: phases, progress, logs, failures with their remedies, the endpoint."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import TabbedContent, TabPane

from gdl.domain.deployment import DeploymentState
from gdl.domain.errors import GdlError
from gdl.tui import format as fmt
from gdl.tui.screens.base import GdlScreen, Scroll
from gdl.tui.store import BILLS, Followed
from gdl.tui.widgets.log_pane import LogPane
from gdl.tui.widgets.phase_rail import rail
from gdl.tui.widgets.status_panel import (
    base_url,
    call,
    headline,
    providers_out,
    status,
)
from gdl.tui.widgets.story import story
from gdl.tui.widgets.words import Words

PANES = ("install", "engine", "story")
_WIDE, _TALL = 110, 34


class DeploymentScreen(GdlScreen):
    MODE = "deployment"
    AUTO_FOCUS = "#install-log LogView"
    SPENDS = frozenset(
        {"shell", "retry", "next_offer", "exclude", "fix", "automatic", "cancel", "release", "keep"}
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "r", "retry", "Retry", id="deployment.retry",
            tooltip="Try again: the same machine while it waits, or a new deployment",
        ),
        Binding(
            "n", "next_offer", "Next", id="deployment.next", tooltip="Take the next offer"
        ),
        Binding(
            "x", "exclude", "Exclude", id="deployment.exclude",
            tooltip="Take the next offer, and none of this provider",
        ),
        Binding(
            "f", "fix", "Fix", id="deployment.fix",
            tooltip="Apply the remedy on this machine, and go on there",
        ),
        Binding(
            "u", "bring_back", "Undo", id="deployment.bring_back",
            tooltip="Bring back a provider that is left out of this deployment",
        ),
        Binding(
            "a", "automatic", "Auto", id="deployment.automatic",
            tooltip="Automatic failover, on or off: whether the next offer is taken by itself",
        ),
        Binding(
            "y", "copy_export", "Copy", id="deployment.copy",
            tooltip="Copy export OPENAI_BASE_URL=... with the way to its key",
        ),
        Binding(
            "c", "copy_curl", "Copy curl", show=False, id="deployment.curl",
            tooltip="Copy a curl line that asks the model something",
        ),
        Binding(
            "R", "release", "Give back", id="deployment.release",
            tooltip="End the serving and give the machine back",
        ),
        Binding(
            "K", "keep", "Keep", id="deployment.keep",
            tooltip="End our part; the machine goes on serving and billing",
        ),
        Binding("t", "talk", "Talk", id="deployment.talk", tooltip="Ask the model something"),
        Binding("b", "health", "Health", id="deployment.health", tooltip="Health and benchmark"),
        Binding("s", "shell", "Shell", id="deployment.shell",
                tooltip="A shell on the machine; exit comes back"),
        Binding(
            "l", "next_pane", "Logs", id="deployment.pane",
            tooltip="The next pane: installation, vllm.log, story",
        ),
        Binding(
            "ctrl+x", "cancel", "Cancel", id="deployment.cancel",
            tooltip="Stop this deployment and give its machine back",
        ),
        Binding("left_square_bracket", "step(-1)", "Previous deployment", show=False,
                id="deployment.previous", tooltip="The deployment before, of this run"),
        Binding("right_square_bracket", "step(1)", "Next deployment", show=False,
                id="deployment.following", tooltip="The next deployment of this run"),
        Binding("escape", "app.show('offers')", "Back", show=False, id="deployment.back",
                tooltip="To the offers"),
    ]  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._keys: tuple[object, ...] = ()
        self._auto_pane = "install"

    def body(self) -> ComposeResult:
        yield Words(id="nothing")
        with Vertical(id="deployment"):
            yield Words(id="headline")
            with Scroll(id="status", can_focus=False):
                yield Words(id="status-text")
            with Horizontal(id="middle"):
                with Scroll(id="rail", can_focus=False):
                    yield Words(id="rail-text")
                with TabbedContent(initial="install"):
                    with TabPane("Install", id="install"):
                        yield self._log("The installation has not started.", "install")
                    with TabPane("vllm.log", id="engine"):
                        yield self._log("vLLM has not started.", "engine")
                    with TabPane("Story", id="story"), Scroll():
                        yield Words(id="story-text")

    def _log(self, empty: str, name: str) -> LogPane:
        return LogPane(empty, name=name, id=f"{name}-log", blink=not self.gdl.reduced_motion)

    # Drawing

    def refresh_view(self) -> None:
        followed = self.gdl.store.followed
        self.query_one("#deployment").display = followed is not None
        nothing = self.query_one("#nothing", Words)
        nothing.display = followed is None
        if followed is None:
            nothing.say("No deployment yet.\n\n1 shows the offers: choose one and press Enter.")
        else:
            self._draw(followed)
        keys = self._key_state(followed)
        if keys != self._keys:
            self._keys = keys
            self.refresh_bindings()

    def _draw(self, followed: Followed) -> None:
        now, state = self.now, followed.state
        self.query_one("#headline", Words).say(headline(state, followed.clock(now)))
        text, kind = status(followed, now, moving=not self.gdl.reduced_motion)
        panel = self.query_one("#status", Scroll)
        if not panel.has_class(f"-{kind}"):
            panel.set_classes(f"-{kind}")
        self.query_one("#status-text", Words).say(text)
        size = self.app.size
        width = 34 if size.width >= _WIDE else 24
        self.query_one("#rail", Scroll).styles.width = width + 4
        self.query_one("#rail-text", Words).say(rail(state, now, width, brief=size.height < _TALL))
        self.query_one("#install-log", LogPane).show(followed.install)
        self.query_one("#engine-log", LogPane).show(followed.engine)
        if self.query_one(TabbedContent).active == "story":
            self.query_one("#story-text", Words).say(story(followed))
        self._follow_the_work(followed)

    def _follow_the_work(self, followed: Followed) -> None:
        """Show vllm.log when it begins, unless another pane was chosen meanwhile."""
        tabs = self.query_one(TabbedContent)
        if followed.engine.total and self._auto_pane == "install" and tabs.active == "install":
            self._auto_pane = "engine"
            self.call_after_refresh(self._show_pane, "engine")
        elif not followed.engine.total:
            self._auto_pane = "install"

    def on_tabbed_content_tab_activated(self, event: TabbedContent.TabActivated) -> None:
        if event.pane.id == "story" and (followed := self.gdl.store.followed) is not None:
            self.query_one("#story-text", Words).say(story(followed))

    def _focus_pane(self) -> None:
        pane = self.query_one(TabbedContent).active_pane
        target = pane.query("LogView, Scroll").first() if pane is not None else None
        if target is not None and self.app.screen is self:
            target.focus()

    def _show_pane(self, pane: str) -> None:
        self.query_one(TabbedContent).active = pane
        self.call_after_refresh(self._focus_pane)

    def action_next_pane(self) -> None:
        active = self.query_one(TabbedContent).active
        self._show_pane(PANES[(PANES.index(active) + 1) % len(PANES)])

    # What can be done now

    def _key_state(self, followed: Followed | None) -> tuple[object, ...]:
        if followed is None:
            return ()
        return (
            followed.state.waiting,
            followed.state.offered,
            followed.holds,
            followed.state.finished is None,
            providers_out(followed.state),
            bool(followed.checks),
            bool(followed.trouble),
            self._allowed("shell", followed),
            base_url(followed.state),
        )

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        followed = self.gdl.store.followed
        if not self._allowed(action, followed):
            return False
        return super().check_action(action, parameters)

    def _allowed(self, action: str, followed: Followed | None) -> bool:
        if followed is None:
            others = ("copy_export", "copy_curl", "health", "talk", "next_pane", "shell")
            return action not in (*self.SPENDS, *others)
        state = followed.state
        if action == "retry":
            return followed.state.waiting or state.finished is not None or bool(followed.trouble)
        if action in ("next_offer", "exclude"):
            return followed.state.waiting
        if action == "fix":
            return followed.state.waiting and followed.state.offered is not None
        if action in ("copy_export", "copy_curl"):
            return followed.holds and base_url(state) is not None
        if action == "shell":
            attempt = state.attempt
            return state.finished is None and attempt is not None and attempt.facts is not None
        if action in ("release", "talk"):
            return followed.holds
        if action == "keep":
            return followed.holds and self.gdl.orchestrator.keeps
        if action in ("cancel", "automatic"):
            return state.finished is None and not followed.holds
        if action == "bring_back":
            going = state.finished is None and not followed.holds
            return going and bool(providers_out(state))
        if action == "health":
            return bool(followed.checks) or followed.holds
        return True

    # Actions

    def action_step(self, by: int) -> None:
        self.gdl.store.step(by)
        self.poke()

    @work(exclusive=True, group="save")
    async def on_log_pane_save_wanted(self, event: LogPane.SaveWanted) -> None:
        from gdl.tui.saving import save_text

        pane = event.pane
        name, text = f"{self._deployment_id}-{pane.name}", pane.view.lines.text()
        kept, seen = len(pane.view.lines), pane.lines_seen
        try:
            path = await save_text(name, text, self.now, self.gdl.settings.logs_dir)
        except GdlError as error:
            self.gdl.report(error)
            return
        count = fmt.plural(kept, "line") if kept == seen else f"the last {kept:,} of {seen:,} lines"
        self.gdl.say(f"saved {count} to {path}")

    @work(exclusive=True, group="shell")
    async def action_shell(self) -> None:
        try:
            command = await self.gdl.orchestrator.shell(self._deployment_id)
            status = await self.gdl.hand_over(command)
        except GdlError as error:
            self.gdl.report(error)
            return
        if status == 255:  # what ssh says when it is ssh that failed
            self.gdl.say("ssh could not connect", severity="warning")

    def action_talk(self) -> None:
        self.gdl.action_show("chat")

    def action_health(self) -> None:
        self.gdl.action_show("health")

    def action_retry(self) -> None:
        followed = self._followed
        if followed.trouble:
            self.gdl.follow(followed.state.deployment_id)
        elif followed.state.waiting:
            self.gdl.do(
                self.gdl.orchestrator.retry(self._deployment_id), "trying the same machine again"
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
        last = f"{fmt.gpu(attempt)}, {fmt.price(attempt.price_per_hour)}/h" if attempt else "none"
        fields = (
            ("Model", Text(fmt.plain(spec.model, 120), "bold")),
            ("On", f"{machine}, for {fmt.plural(spec.hours, 'hour')}"),
            ("Last time", last),
        )
        dialog = Confirm("Deploy it again?", fields, "", "Deploy")
        if await self.gdl.ask(dialog):
            self.gdl.start(spec)

    def action_next_offer(self) -> None:
        self.gdl.do(self.gdl.orchestrator.next_offer(self._deployment_id), "taking the next offer")

    def action_fix(self) -> None:
        remedy = self._followed.state.offered
        words = remedy.words if remedy is not None else "applying the remedy"
        self.gdl.do(self.gdl.orchestrator.apply_remedy(self._deployment_id), words)

    def action_exclude(self) -> None:
        attempt = self._followed.state.attempt
        name = attempt.provider if attempt else "the provider"
        going = self.gdl.orchestrator.next_offer(self._deployment_id, exclude_provider=True)
        self.gdl.do(going, f"taking the next offer, not from {name}")

    @work(exclusive=True, group="dialog")
    async def action_bring_back(self) -> None:
        from gdl.tui.screens.dialogs import Choose

        providers = providers_out(self._followed.state)
        deployment_id = self._deployment_id
        chosen: str | None = providers[0]
        if len(providers) > 1:
            chosen = await self.app.push_screen_wait(Choose("Bring back whom?", providers))
        if chosen is not None:
            going = self.gdl.orchestrator.include_provider(deployment_id, chosen)
            self.gdl.do(going, f"{chosen} may be taken again")

    def action_automatic(self) -> None:
        wanted = not self._followed.state.auto_failover
        going = self.gdl.orchestrator.set_auto_failover(self._deployment_id, wanted)
        self.gdl.do(going, f"automatic failover is {'on' if wanted else 'off'}")

    def action_copy_export(self) -> None:
        if (way := call(self._followed.state)) is not None:
            self.gdl.copy(line := way.lines("sh"), line)

    def action_copy_curl(self) -> None:
        if (way := call(self._followed.state)) is not None:
            self.gdl.copy(way.lines("curl"), "a curl line")

    @work(exclusive=True, group="dialog")
    async def action_cancel(self) -> None:
        note = "The deployment stops, and its machine is given back."
        if await self._ask("Cancel this deployment?", note, "Stop it"):
            self.gdl.do(self.gdl.orchestrator.cancel(self._deployment_id), "cancelling")

    @work(exclusive=True, group="dialog")
    async def action_release(self) -> None:
        note = "The model stops serving, and the machine is given back."
        if await self._ask("Give the machine back?", note, "Give back"):
            self.gdl.do(
                self.gdl.orchestrator.release(self._deployment_id), "giving the machine back"
            )

    @work(exclusive=True, group="dialog")
    async def action_keep(self) -> None:
        note = (
            "The tunnel closes, the model goes on serving on the machine, and the machine goes on\n"
            "billing until it is destroyed or its time is over. 4 Sessions attaches to it again."
        )
        if await self._ask("Leave it serving?", note, "Leave it", destroys=False):
            self.gdl.do(self.gdl.orchestrator.keep(self._deployment_id), "left serving")

    async def _ask(self, title: str, note: str, yes: str, *, destroys: bool = True) -> bool:
        from gdl.tui.screens.dialogs import Confirm

        fields = machine_fields(self._followed, self.gdl.store.followed_cost(self.now))
        dialog = Confirm(title, fields, note, yes, destroys=destroys)
        return await self.gdl.ask(dialog)

    @property
    def _followed(self) -> Followed:
        followed = self.gdl.store.followed
        assert followed is not None
        return followed

    @property
    def _deployment_id(self) -> str:
        return self._followed.state.deployment_id


def machine_fields(followed: Followed, cost: float) -> list[tuple[str, Text | str]]:
    """Model, machine and price of a deployment, for a dialog."""
    state, attempt = followed.state, followed.state.attempt
    name = state.served_name or (state.spec.model if state.spec else state.deployment_id)
    fields: list[tuple[str, Text | str]] = [("Model", Text(fmt.plain(name, 120), "bold"))]
    if attempt is None:
        return [*fields, ("Machine", "none rented yet")]
    fields.append(("Machine", f"{fmt.gpu(attempt)} from {fmt.plain(attempt.provider, 40)}"))
    if attempt.price_per_hour <= 0:
        return [*fields, ("Price", "free")]
    so_far = f"{fmt.price(attempt.price_per_hour)}/h, {fmt.money(cost)} so far"
    rented = so_far if state.billing in BILLS else f"{so_far}, billing has ended"
    return [*fields, ("Price", Text(rented, "bold"))]
