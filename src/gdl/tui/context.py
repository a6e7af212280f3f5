"""What a screen, a dialog or a widget may ask of the application that shows it.

Screens depend on this and never on the application's class, so that the application alone knows
what screens there are.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast

from textual.dom import DOMNode
from textual.screen import Screen

if TYPE_CHECKING:
    # Not needed for the first frame.
    from datetime import datetime
    from pathlib import Path

    from gdl.domain.errors import GdlError
    from gdl.domain.spec import DeploymentSpec
    from gdl.orchestrator.api.ports import OrchestratorApi
    from gdl.settings import Settings
    from gdl.tui.remembered import Remembered
    from gdl.tui.store import Store

Answer = TypeVar("Answer")
Severity = Literal["information", "warning", "error"]


class AppContext(Protocol):
    """Implemented by `gdl.tui.app.GdlApp`; `context_of` finds it from any node."""

    # What there is

    @property
    def orchestrator(self) -> OrchestratorApi: ...

    @property
    def settings(self) -> Settings: ...

    @property
    def store(self) -> Store:
        """What the screens draw."""

    @property
    def now(self) -> datetime:
        """In UTC, as the events' times are."""

    @property
    def read_only(self) -> bool:
        """Nothing may be rented, changed or destroyed."""

    @property
    def reduced_motion(self) -> bool:
        """No spinner, no blinking cursor."""

    @property
    def remembered(self) -> Remembered:
        """What an earlier run was left with."""

    # Saying things

    def say(self, text: str, *, severity: Severity = "information") -> None:
        """A line of news, in view for some seconds."""

    def report(self, error: GdlError) -> None:
        """What went wrong and what helps."""

    def copy(self, text: str, name: str) -> None:
        """Into the clipboard. name: what it is, for the news line."""

    # Screens

    def action_show(self, name: str) -> None:
        """Go to a main screen. name: as in `gdl.tui.screen_registry`."""

    def open_window(self, name: str, *arguments: object) -> None:
        """Open a window of the registry over the screen, unless it is open already. arguments:
        what its class takes."""

    async def ask(self, dialog: Screen[Answer]) -> Answer | None:
        """Show a dialog and wait for what it is dismissed with. For workers alone."""

    async def hand_over(self, command: Sequence[str]) -> int:
        """Give the terminal to a program until it ends; its exit status. Everything else goes on
        meanwhile. Raises UsageError where a terminal cannot be given away."""

    # Deployments

    def start(self, spec: DeploymentSpec) -> None:
        """Deploy, and show the deployment."""

    def open_deployment(self, deployment_id: str) -> None:
        """Follow a deployment and show it."""

    def follow(self, deployment_id: str) -> None:
        """Fold its events into the store from now to its end, whatever screen is shown."""

    def touch(self) -> None:
        """The store has changed: paint soon, once for all that changes meanwhile."""

    def show_title(self) -> None:
        """Say in the title of the terminal's window what goes on."""

    def do(self, command: Coroutine[Any, Any, None], words: str) -> None:
        """Await a command to the orchestrator in the background; say `words`, or what went
        wrong."""

    # Where machines come from

    @property
    def can_change_backend(self) -> bool:
        """Whether `use` can do anything."""

    @property
    def config_file(self) -> Path:
        """Where the configuration is, or would be."""

    async def use(self, backend: str, host: str | None) -> None:
        """Take machines from this backend from now on; the screens are made anew. Raises GdlError
        when that cannot be."""

    def settle(self) -> None:
        """Much has been read and shown: time to collect garbage."""


def context_of(node: DOMNode) -> AppContext:
    """The application around a mounted screen or widget."""
    return cast(AppContext, node.app)
