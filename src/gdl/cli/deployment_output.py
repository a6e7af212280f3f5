"""What a followed deployment writes to the two streams: narration and data, or JSON lines."""

from __future__ import annotations

import shlex
import sys
from datetime import datetime
from typing import Protocol

from gdl.cli.narrator import Narrator
from gdl.cli.output import Output, coloured, columns_of, say
from gdl.domain import clock
from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState
from gdl.domain.events import DeploymentFinished, Recorded
from gdl.domain.phase import Billing
from gdl.domain.serialization import recorded_to_plain
from gdl.presentation.endings import money_words
from gdl.presentation.lines import plain


class DeploymentOutput(Protocol):
    """Raises OutputClosed when stdout takes no more."""

    def event(self, recorded: Recorded, state: DeploymentState) -> None: ...

    def still(self, state: DeploymentState) -> None: ...

    def serving(self, state: DeploymentState) -> None:
        """The endpoint can be used now, and stays until it is released."""
        ...


class JsonDeployment:
    """Every event as one line of JSON on stdout; stderr stays quiet."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def event(self, recorded: Recorded, state: DeploymentState) -> None:
        self._output.json(recorded_to_plain(recorded))

    def still(self, state: DeploymentState) -> None: ...

    def serving(self, state: DeploymentState) -> None: ...


class TextDeployment:
    """Narration on stderr; on stdout what a program needs to use the endpoint.

    since: events before it (of an earlier run, when attaching) are not told again.
    """

    def __init__(self, output: Output, *, since: datetime | None = None) -> None:
        self._output = output
        self._narrator = Narrator(colour=coloured(), columns=columns_of(sys.stderr))
        self._since = since

    def event(self, recorded: Recorded, state: DeploymentState) -> None:
        if self._since is not None and recorded.at < self._since:
            return
        for line in self._narrator.lines(recorded, state):
            say(line)
        if isinstance(recorded.event, DeploymentFinished) and recorded.event.outcome == "serving":
            self._kept(recorded.event, state)

    def still(self, state: DeploymentState) -> None:
        say(self._narrator.still(state, clock.now()))

    def serving(self, state: DeploymentState) -> None:
        for line in endpoint_lines(state):
            self._output.line(line)
        if state.tunnel is not None and state.tunnel.api_key_file:
            say(f"the key: export OPENAI_API_KEY=$(cat {shlex.quote(state.tunnel.api_key_file)})")
        say("press Ctrl-C to end")

    def _kept(self, finished: DeploymentFinished, state: DeploymentState) -> None:
        session = plain(finished.session_id or state.deployment_id, 120)
        self._output.line(f"GDL_SESSION={shlex.quote(session)}")
        self._output.line(f"OPENAI_MODEL={shlex.quote(plain(state.served_name))}")
        if finished.billing is Billing.RELEASED:
            return
        sure = finished.billing in (Billing.NONE, Billing.ACTIVE)
        going = "it keeps serving" if sure else f"left serving; {money_words(finished.billing)}"
        if not finished.reached:
            going = f"it was not reached, and may not serve; {money_words(finished.billing)}"
        elif finished.billing is Billing.ACTIVE:
            going += " and billing"
        say(f"{going}; `gdl-tui attach {session}` opens the tunnel again,")
        say(f"`gdl-tui destroy {session}` releases the machine")


def endpoint_lines(state: DeploymentState) -> list[str]:
    """NAME=value lines, quoted for a shell. The key itself is never among them."""
    attempt = state.attempt
    values = {
        "OPENAI_BASE_URL": state.endpoint or "",
        "OPENAI_MODEL": state.served_name,
        "OPENAI_API_KEY_FILE": state.tunnel.api_key_file if state.tunnel else "",
        "GDL_SESSION": (attempt.session_id if attempt else None) or "",
        "GDL_DEPLOYMENT": state.deployment_id,
    }
    return [f"{name}={shlex.quote(plain(value))}" for name, value in values.items() if value]


def is_holding(event: ev.Event) -> bool:
    """Whether this is the note with which a deployment begins to hold its tunnel open."""
    return isinstance(event, ev.Noted) and event.text.startswith("holding")
