"""How a degraded check and a server's memory are told: narration, JSON, tables, terminal UI."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from rich.console import Console

from gdl.cli.narrator import Narrator
from gdl.domain import events as ev
from gdl.domain.conversation import ChatTurn
from gdl.domain.deployment import DeploymentState, apply
from gdl.domain.engine import NOTHING_MORE
from gdl.domain.events import Recorded
from gdl.domain.health import Check, CheckStatus
from gdl.domain.serialization import recorded_to_plain
from gdl.domain.server_memory import MemoryComparison, memory_check
from gdl.tui.store import Followed
from gdl.tui.widgets.chat_turn import thoughts_text
from gdl.tui.widgets.failure import PanelSize
from gdl.tui.widgets.measurements import checks
from gdl.tui.widgets.status_panel import status
from tui_support import SPEC, START, ScriptedOrchestrator, to_serving

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
HELD = MemoryComparison(
    "a/b", "vLLM", "0.32.0", "RTX 3090", 1, 4096, sequences=208.0, predicted_sequences=212.0
)
WORDS = "predicted 212 sequences of 4,096 tokens, vLLM says 208"
CALLED = Check(
    "tool_auto", CheckStatus.DEGRADED, "answered in words, \x1b[31mwithout a call", 812.0
)


def serving() -> Followed:
    orchestrator = ScriptedOrchestrator()
    ident = orchestrator.begin(SPEC)
    to_serving(orchestrator, ident)
    orchestrator.push(ident, 181, ev.MemoryCompared(1, HELD))
    orchestrator.push(ident, 181, ev.Checked(1, memory_check(HELD)), ev.Checked(1, CALLED))
    followed = Followed(DeploymentState(ident))
    for recorded in orchestrator.recorded(ident):
        followed.fold(recorded)
    return followed


def drawn(part: object) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(part)
    text = console.file
    assert isinstance(text, io.StringIO)
    return text.getvalue()


def test_the_terminal_ui_shows_both() -> None:
    followed = serving()
    assert followed.state.attempt is not None and followed.state.attempt.memory == HELD
    text, kind = status(followed, START, PanelSize(80, 6), moving=False)
    assert kind == "serving"
    assert "! Degraded: tool_auto; 3 shows what came back" in text.plain
    assert WORDS[1:] in text.plain
    table = drawn(checks(followed, START))
    assert "! degraded tool_auto" in table and "812 ms" in table
    assert WORDS in table and "\x1b[31m" not in table
    assert table.index("inference") < table.index("tool_auto") < table.index("memory")


def test_they_are_narrated_and_plain_in_json() -> None:
    narrator, state = Narrator(colour=False), DeploymentState("d")
    lines: list[str] = []
    happened = (
        ev.MemoryCompared(1, HELD),
        ev.Checked(1, memory_check(HELD)),
        ev.Checked(1, CALLED),
    )
    for seq, event in enumerate(happened, 1):
        recorded = Recorded("d", seq, NOW, event)
        state = apply(state, recorded)
        lines += narrator.lines(recorded, state)
    told = "\n".join(lines)
    assert told.count(WORDS) == 1 and "check memory: ok" in told
    assert "check tool_auto: degraded in 812 ms" in told and "\x1b" not in told
    plain = recorded_to_plain(Recorded("d", 1, NOW, happened[0]))
    assert plain["type"] == "memory_compared"
    assert (plain["memory"]["predicted_sequences"], plain["memory"]["sequences"]) == (212.0, 208.0)
    assert recorded_to_plain(Recorded("d", 3, NOW, happened[2]))["check"]["status"] == "degraded"


def test_the_next_server_has_not_told_yet() -> None:
    followed = serving()
    again = Recorded("d", 999, NOW, ev.ServerPlanned(1, NOTHING_MORE))
    state = apply(followed.state, again)
    assert state.attempt is not None and state.attempt.memory is None


def test_thoughts_stand_before_the_answer() -> None:
    turn = ChatTurn("Where?", NOW, reasoning="It is\x1b[2J France.")
    assert thoughts_text(turn, open_=False).plain == "It is France.", "nothing else to be seen yet"
    turn.answer = "Paris."
    assert thoughts_text(turn, open_=True).plain == "It is France."
    assert "3 words" in thoughts_text(turn, open_=False).plain
