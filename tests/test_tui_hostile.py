"""Hostile text on every way to the screen: it changes neither the terminal nor the layout."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from textual.pilot import Pilot

from gdl.domain import events as ev
from gdl.domain.benchmark import QualityAnswer
from gdl.domain.chat import ChatDone, ChatPiece
from gdl.domain.errors import GdlError
from gdl.domain.health import Check, CheckStatus
from gdl.domain.offers import OfferQuery
from gdl.domain.phase import Phase
from gdl.domain.spec import DeploymentSpec
from gdl.ssh.reconnecting import Link
from gdl.ssh.tail import Stop, follow
from gdl.tui.app import GdlApp
from gdl.tui.screens.dialogs import Confirm
from gdl.tui.widgets.log_pane import LogPane
from ssh_server import serving
from tui_pilot import SIZE, app_of, screen_text, show, until
from tui_support import (
    ENDPOINT,
    FACTS,
    KEY_FILE,
    REPORT,
    ScriptedOrchestrator,
    make_app,
    measured,
    offer,
    rented,
    renting,
    session_row,
    to_installing,
)

pytestmark = pytest.mark.long

HOSTILE = {
    "markup": "[red]m[/red] [link=http://x]l[/link] [@click=app.exit]q[/] [/nothing]",
    "ansi": "\x1b[31mred\x1b[2J\x1b[H\x1b[?1049l\x1b7\x1bc\x9b31mend",
    "osc": "\x1b]0;title\x07\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\ \x1b]52;c;aGk=\x07 \x1b]open",
    "direction": "\u202egnp.exe\u2066a\u2069\u200f\u200b\ufeff\u061c",
    "controls": "nul\x00bel\x07bs\x08del\x7f\u0085\u2028\u2029end",
    "returns": "10%\r50%\r100%\nsecond\r\nthird\tline",
    "surrogates": "cut \ud800 half \udfff \U000e0041 \ue000",
    "wide": "漢字漢字🙂👩‍👩‍👧e\u0301\u0301\u0301" * 9,
    "endless": "x" * 200_000,
}
HOSTILE["mixed"] = " ".join(text[:300] for text in HOSTILE.values())
texts = [
    # "mixed" has some of each.
    pytest.param(text, id=name, marks=[] if name in ("mixed", "endless") else pytest.mark.soak)
    for name, text in HOSTILE.items()
]
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def intact(app: GdlApp) -> str:
    """The screen's text, once it is sure that each row is as wide as the screen, that no cell holds
    what a terminal obeys, and that nothing but colours would be sent along."""
    console = Console(color_system="truecolor", force_terminal=True, legacy_windows=False)
    for strip in app.screen._compositor.render_strips(app.size):
        assert strip.cell_length == cell_len(strip.text) == app.size.width, repr(strip.text)
        strange = [c for c in strip.text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co")]
        assert not strange, repr(strip.text)
        assert all(not (s.style and s.style.link) for s in strip), repr(strip.text)
        assert "\x1b" not in _COLOURS.sub("", strip.render(console)), repr(strip.text)
    return screen_text(app)


# Logs: what a process on the machine writes, through SSH, to the screen

WRITES = r"""
printf '%s\n' '[red]markup[/red] [@click=app.exit]q[/]'
printf '\033[31mred\033[2J\033[H\033]0;title\007\033]8;;http://x\033\\link\033]8;;\033\\ plain\n'
printf 'bidi \342\200\256gnp.exe\342\201\246 end\n'
printf 'nul\000bel\007bs\010del\177 end\n'
printf 'bad \377\376 bytes\n'
for n in 1 25 50 75 100; do printf '\rprogress %s%%' $n; done; printf '\n'
head -c 10000000 /dev/zero | tr '\0' y; printf ' the end\n'
printf 'half a character: \342\202'
"""
AFTER = r"""printf '\254 and the rest\nlast line\n'"""


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[Link]:
    async with serving(tmp_path / "machine") as server:
        made = Link(server.target(), give_up_s=5)
        await made.connect()
        yield made
        await made.aclose()


async def test_what_a_process_writes_is_only_text(link: Link, tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    app, orchestrator = make_app()
    async with app.run_test(size=SIZE) as pilot:
        ident = await show(pilot, orchestrator, to_installing)
        stop = Stop()

        async def pump() -> None:
            async for chunk in follow(link, str(log), stop=stop):
                lines = ev.LogLines(1, "engine", chunk.lines, chunk.first_offset, chunk.dropped)
                orchestrator.push(ident, 80, lines)

        pumping = asyncio.create_task(pump())
        try:
            assert (await link.run(f"({WRITES}) > {log}", timeout=60)).ok
            pane = app.screen.query_one("#engine-log", LogPane)
            await until(pilot, lambda: pane.lines_seen >= 7)
            assert (await link.run(f"({AFTER}) >> {log}", timeout=60)).ok
            await until(pilot, lambda: "last line" in screen_text(app))
        finally:
            stop.set()
            await asyncio.wait_for(pumping, 20)
        longest = max(map(len, pane.view.lines.text().splitlines()))
        shown = [*await rows(pilot, pane, wrapped=False), *await rows(pilot, pane, wrapped=True)]
    text = "\n".join(shown)
    for words in (
        "[red]markup[/red] [@click=app.exit]q[/]", "redlink plain", "bidi gnp.exe end",
        "nulbelbsdel end", "bad \ufffd\ufffd bytes", "progress 100%",
        "half a character: € and the rest",
    ):  # fmt: skip
        assert words in text, words
    assert "progress 75%" not in text, "a bar is only its last state"
    assert longest <= 4000


async def rows(pilot: Pilot[Any], pane: LogPane, *, wrapped: bool) -> list[str]:
    """All that the pane shows, from the top to the end, screen by screen."""
    pane.view.focus()
    await pilot.press("g", *(() if pane.view._wrap is wrapped else ("w",)))
    await pilot.press("g")
    seen = [intact(app_of(pilot))]
    for _ in range(12):
        await pilot.press("pagedown")
        await pilot.pause()
        seen.append(intact(app_of(pilot)))
    await pilot.press("end")
    return [*seen, intact(app_of(pilot))]


# Names, answers and errors


def to_hostile(o: ScriptedOrchestrator, ident: str, text: str) -> None:
    """A deployment that failed and one that serves, all words of which are hostile."""
    evil = offer(text, text, 24, 0.1, text, location=text, machine_id=text)
    o.push(ident, 1, ev.OffersRanked(6, 3, (text,)))
    for number in (1, 2):
        o.push(ident, 2, *renting(number, evil), *rented(number, evil))
        facts = replace(FACTS, os=text, driver=text, cuda=text, user=text)
        facts = replace(facts, gpus=(replace(FACTS.gpus[0], name=text),))
        o.push(ident, 3, ev.PhaseChanged(number, Phase.PREFLIGHT, text))
        o.push(ident, 3, ev.HostInspected(number, facts))
        o.push(ident, 4, ev.PhaseChanged(number, Phase.INSTALLING, text))
        o.push(ident, 4, ev.StepStarted(number, text, text, 1, 1))
        o.push(ident, 5, ev.LogLines(number, "install", tuple(text.split("\n")), 0))
        o.push(ident, 5, ev.Progressed(number, text, 0.5, text, 0.5))
        o.push(ident, 6, ev.StepFinished(number, text, "done", 1.0, text))
        o.push(ident, 6, ev.Noted("warning", text))
        o.push(ident, 7, ev.ExclusionSet(number, "provider", text, text))
        if number == 1:
            o.push(ident, 8, ev.Diagnosed(1, text, text, (text, text), text))
            o.push(ident, 8, ev.AttemptFailed(1, Phase.INSTALLING, text, text, text))
            o.push(ident, 8, ev.PhaseChanged(1, Phase.FAILED, text))


def to_hostile_serving(o: ScriptedOrchestrator, ident: str, text: str) -> None:
    report = replace(REPORT, model=text, errors=(text,), note=text, standing=text)
    answer = QualityAnswer(text, text, text, (text,), False, 1.0, 1.0, 1)
    o.push(ident, 9, ev.PhaseChanged(2, Phase.STARTING), ev.PhaseChanged(2, Phase.VERIFYING))
    o.push(ident, 9, ev.TunnelOpened(2, ENDPOINT, "ssh-curl", KEY_FILE + text))
    o.push(ident, 9, *(ev.Checked(2, Check(n, CheckStatus.FAILED, text)) for n in ("gpu", text)))
    o.push(ident, 9, ev.QualityAnswered(2, answer), ev.BenchFinished(2, report))
    o.push(ident, 9, ev.QualityAnswered(2, replace(answer, error=text)))
    o.push(ident, 9, ev.PhaseChanged(2, Phase.SERVING, text))


@pytest.mark.parametrize("text", texts)
async def test_names_answers_and_errors_are_only_text(text: str) -> None:
    evil = offer(text, text, 24, 0.1, text, location=text)
    app, orchestrator = make_app(ScriptedOrchestrator(offers=[evil]))
    orchestrator.rows = [replace(session_row("s-9", ours=True), model=text, endpoint=text)]
    orchestrator.measured = [
        replace(one, provider=text, workload=text) for one in measured(text, 0.1, {1: 9.0}, text)
    ]
    orchestrator.said = [ChatPiece(text), ChatDone(1.0, 1.0, 1, text)]
    spec = DeploymentSpec(text, "shopper", OfferQuery(model=text))
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await until(pilot, lambda: "1/1" in intact(app))
        ident = await show(pilot, orchestrator, lambda o, i: to_hostile(o, i, text), spec)
        intact(app)
        await pilot.press("comma", "l")
        await pilot.pause()
        assert "Failed while installing" in intact(app)
        await pilot.press("y", "full_stop", "ctrl+x")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        intact(app)
        await pilot.press("escape")
        to_hostile_serving(orchestrator, ident, text)
        await until(pilot, lambda: "Serving" in screen_text(app))
        for key in ("l", "l", "u", "escape", "2", "3", "pagedown", "pagedown", "c", "escape", "4"):
            await pilot.press(key)
            await pilot.pause()
            intact(app)
        await pilot.press("5")
        await pilot.press(*"hi", "enter")
        await until(pilot, lambda: bool(app.store.conversation.turns))
        await until(pilot, lambda: not app.store.conversation.running)
        intact(app)
        orchestrator.said = [ChatPiece(text), ChatDone(1.0, 1.0, 1, "stop")]
        await pilot.press(*"hi", "enter")
        await until(pilot, lambda: "TTFT" in intact(app))
        app.report(GdlError(text, text))
        app.say(text)
        await pilot.pause()
        intact(app)
        orchestrator.error = GdlError(text, text)
        await pilot.press("1", "r")
        await pilot.pause()
        intact(app)
        assert app._exception is None and app.is_running
