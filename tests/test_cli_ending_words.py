"""What the command line says of an end is so for the machine there is: a rented one, one's own, one
that was attached to, or none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cli_support import TO_SERVING, UP_TO_INSTALL, on_own
from gdl.cli import ending_words
from gdl.domain import events as ev
from gdl.domain.deployment import DeploymentState, replayed
from gdl.domain.events import Recorded
from gdl.domain.phase import Billing
from gdl.domain.spec import DeploymentSpec
from tui_support import START


def after(events: tuple[ev.Event, ...], **changes: object) -> DeploymentState:
    planned = ev.DeploymentPlanned(DeploymentSpec("m", "shopper"), "m", "m", 1.0)
    history = [Recorded("d", n, START, each) for n, each in enumerate((planned, *events), 1)]
    return replace(replayed("d", history), **changes)  # type: ignore[arg-type]  # a test's own


RENTED = after(UP_TO_INSTALL)
OWN = after(on_own(UP_TO_INSTALL))
NOTHING = after(())
RELEASED = replace(RENTED, billing=Billing.RELEASED)
ATTACHED = replace(RENTED, spec=DeploymentSpec("m", "shopper", attached=True))
SERVING = after((*UP_TO_INSTALL, *TO_SERVING))


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([RENTED], ["releasing what is rented (Ctrl-C stops waiting; it may then still be"]),
        ([OWN], ["ending what runs on your machine (Ctrl-C stops waiting)"]),
        ([NOTHING], ["ending what is under way (Ctrl-C stops waiting)"]),
        ([ATTACHED], ["closing the tunnel: what was attached to is left as it is"]),
        ([ATTACHED, RENTED], ["closing the tunnel: what was", "releasing what is rented"]),
    ],
)
def test_what_ends_with_the_terminal_ui(states: list[DeploymentState], said: list[str]) -> None:
    lines = ending_words.closing(states)
    assert len(lines) == len(said)
    assert all(line.startswith(begin) for line, begin in zip(lines, said, strict=True))


def test_only_what_is_rented_is_released() -> None:
    assert "releasing the machine" in ending_words.cancelling(RENTED)
    for state in (NOTHING, RELEASED, OWN):
        assert "releas" not in ending_words.cancelling(state)
        assert "bill" not in ending_words.cancelling(state)
    assert "bill" not in ending_words.releasing(OWN)


def test_only_what_serves_goes_on_serving() -> None:
    assert ending_words.keeping(SERVING).endswith("keeps serving and billing")
    assert ending_words.keeping(replace(SERVING, billing=Billing.NONE)).endswith("keeps serving")
    assert ending_words.keeping(ATTACHED).endswith("stays as it is, and keeps billing")
    assert ending_words.keeping(OWN).endswith("stays as it is")
