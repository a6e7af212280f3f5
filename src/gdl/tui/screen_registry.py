"""The main screens, and the windows that open over any of them.

The application, its key bindings and style sheets, the bar on top, the help and the palette all
read this: a new screen is a file of its own and one line here.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from textual.binding import Binding
from textual.screen import Screen

from gdl.domain.lazy_dataclass import dataclass

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class ScreenEntry:
    """name: what code calls it; key: opens it from everywhere; title: in the bar on top, and in
    help and palette where there is no `long_title`; tooltip: what it is for; screen: "module:class"
    under `gdl.tui.screens`, imported when it is first shown, as the first frame waits for none.

    A main screen's class has `name` as its `MODE`. Its style sheet, if it has one, is
    `screens/NAME.tcss`.
    """

    name: str
    key: str
    title: str
    tooltip: str
    screen: str
    long_title: str = ""

    def load(self) -> type[Screen[Any]]:
        """The class of the screen."""
        module, _, name = self.screen.partition(":")
        found: type[Screen[Any]] = getattr(import_module(f"gdl.tui.screens.{module}"), name)
        return found

    def make(self, *arguments: Any) -> Screen[Any]:
        """A new screen. arguments: what its class takes; nothing for a main screen."""
        return self.load()(*arguments)

    def binding(self, action: str, *, show: bool = False, owner: str = "app") -> Binding:
        """Runs this action of the application with the name of the screen. show: in the line of
        keys. owner: whose binding it is, the first part of its id; no two share one."""
        # With Alt, a digit works where it would be typed, too.
        key = f"{self.key},alt+{self.key}" if self.key.isdigit() else self.key
        return Binding(
            key, f"{action}({self.name!r})", self.long_title or self.title,
            show=show, id=f"{owner}.{self.name}", tooltip=self.tooltip,
        )  # fmt: skip


MAIN_SCREENS = (
    ScreenEntry("offers", "1", "Offers", "Choose the model and the machine", "offers:OffersScreen"),
    ScreenEntry("deployment", "2", "Deployment", "Progress and logs of a deployment",
                "deployment:DeploymentScreen"),
    ScreenEntry("health", "3", "Health", "Checks, load and speed of the served model",
                "health:HealthScreen", "Health and benchmark"),
    ScreenEntry("sessions", "4", "Sessions",
                "What is rented, what it costs, and earlier deployments",
                "sessions:SessionsScreen"),
    ScreenEntry("chat", "5", "Chat", "Talk to the served model", "chat:ChatScreen"),
)  # fmt: skip
WINDOWS = (
    ScreenEntry("welcome", "f6", "Machines from", "Choose where machines come from",
                "welcome:WelcomeScreen"),
    ScreenEntry("doctor", "f7", "Doctor",
                "Check for anything that would prevent a deployment", "doctor:DoctorScreen"),
    ScreenEntry("spending", "f8", "Spending", "What was spent by day or month, and the limits",
                "spending:SpendingScreen"),
    ScreenEntry("fleet", "f9", "Fleet", "Several machines behind one address: state, load, cost",
                "fleet:FleetScreen"),
)  # fmt: skip


def window(name: str) -> ScreenEntry:
    return next(entry for entry in WINDOWS if entry.name == name)


def style_sheets() -> list[Path]:
    """Those of all screens: what is shared, then each screen's own."""
    screens = _FOLDER / "screens"
    own = [screens / f"{entry.name}.tcss" for entry in MAIN_SCREENS]
    found = [sheet for sheet in own if sheet.is_file()]
    return [_FOLDER / "styles/app.tcss", screens / "dialogs.tcss", *found, screens / "help.tcss"]
