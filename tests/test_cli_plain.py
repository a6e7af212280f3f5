"""`gdl-tui --plain`: everything in lines, by numbers, without a terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gdl.cli.output import Output
from gdl.cli.plain.choosing import choose
from gdl.cli.plain.following import Menus, PlainDeployment
from gdl.cli.plain.questions import InputEnded, Lines, Questions, Quit
from gdl.cli.runtime import Session
from gdl.domain.chat import ChatDone, ChatPiece
from gdl.domain.deployment import DeploymentState, apply
from gdl.domain.events import BillingChanged, Noted, Recorded
from gdl.domain.phase import Billing
from gdl.domain.spec import DeploymentSpec
from gdl.settings import Settings
from test_sandbox_cli import ENTRY, environment
from tui_support import (
    SPEC,
    START,
    ScriptedOrchestrator,
    new_folder,
    to_remedy,
    to_serving,
    to_waiting,
)
from waiting import wait_until

CALM = ("--plain", "demo", "--scenario", "calm", "--speed", "50")
DEPLOYED = ("smollm2-135m", "", "", "1", "y", "y")


def typed(folder: Path, *lines: str) -> subprocess.CompletedProcess[str]:
    """The program with these lines on its stdin, which then ends."""
    return subprocess.run(
        [*ENTRY, *CALM], input="".join(f"{line}\n" for line in lines), text=True,
        capture_output=True, env=environment(folder, HF_HUB_OFFLINE="1"), timeout=100, check=False,
    )  # fmt: skip


def test_from_nothing_to_an_answer_and_a_proven_release(tmp_path: Path) -> None:
    done = typed(tmp_path, *DEPLOYED, "9", "1", "What is the capital of France?", "", "2", "4", "y")
    told = done.stderr
    assert done.returncode == 0, told
    said = (
        "Models: ", "1. smollm2-135m", "machines can serve it", "The plan:",
        "Deploy it? y for yes, n for no", "SERVING", "there is no 9 in the list", "You:",
        "Model:\nThe capital of France is Paris", "Release the machine?", "billing: released",
        "released: smollm2-135m",
    )  # fmt: skip
    places = [told.find(words) for words in said]
    assert places == sorted(places) and places[0] >= 0, dict(zip(said, places, strict=True))
    assert done.stdout.startswith("OPENAI_BASE_URL=http://127.0.0.1:")
    assert "\x1b" not in told + done.stdout and "\r" not in told


def test_without_an_answer_nothing_is_rented(tmp_path: Path) -> None:
    done = typed(tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.endswith("the input has ended\nnothing was rented\n")


@pytest.mark.long
def test_what_serves_when_the_input_ends_is_released(tmp_path: Path) -> None:
    done = typed(tmp_path, *DEPLOYED)
    assert done.returncode == 0
    assert "the input has ended" in done.stderr and "billing: released" in done.stderr


@asynccontextmanager
async def asked(*lines: str) -> AsyncIterator[Questions]:
    near, far = os.pipe()
    os.write(far, "".join(f"{line}\n" for line in lines).encode())
    os.close(far)
    try:
        questions = Questions(Lines(near))
        yield questions
    finally:
        # The thread has read to the end of what was written before.
        await asyncio.sleep(0)
        os.close(near)


async def test_a_wrong_answer_is_asked_again_with_what_is_possible(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [f"row {number}" for number in range(1, 13)]
    async with asked("0", "11", "words", "more", "12") as questions:
        assert await questions.pick("Row", rows) == 11
    told = capsys.readouterr().err.splitlines()
    first = "Row: a number from 1 to 10, more, or q to quit"
    assert told[:11] == [*(f"{n}. row {n}" for n in range(1, 11)), "2 more"]
    assert told[11:] == [
        first, "there is no 0 in the list", first, "there is no 11 in the list", first,
        "words is not one of these", first, "11. row 11", "12. row 12",
        "Row: a number from 1 to 12, or q to quit",
    ]  # fmt: skip


async def test_only_y_and_n_answer_a_question_about_money() -> None:
    async with asked("", "1", "yep", "Y") as questions:
        assert await questions.yes("Rent it?")
    async with asked("no", "q") as questions:
        assert not await questions.yes("Rent it?")
        with pytest.raises(Quit):
            await questions.yes("Rent it?")
    async with asked() as questions:
        with pytest.raises(InputEnded):
            await questions.yes("Rent it?")


async def chosen(made: ScriptedOrchestrator, *lines: str) -> DeploymentSpec:
    settings = Settings(backend="shopper", data_dir=new_folder())
    async with asked(*lines) as questions:
        return await choose(Session(made, settings, Output(False)), questions)


async def test_the_price_is_named_and_is_the_most_that_may_be_paid(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = ScriptedOrchestrator()
    spec = await chosen(made, "tinyllama", "2048", "3", "gpu:3090", "1", "y")
    assert (spec.model, spec.query.context, spec.hours) == ("tinyllama", 2048, 3)
    assert spec.query.offer_id == "vast-102"
    assert [(one.offer_id, one.price_per_hour) for one in spec.confirmed] == [("vast-102", 0.131)]
    assert spec.ask_on_failure and not spec.auto_failover and spec.after == "hold"
    assert "Rent it at $0.131/h? y for yes, n for no" in capsys.readouterr().err


async def test_the_next_machines_are_taken_without_asking_only_within_what_was_agreed_to() -> None:
    spec = await chosen(ScriptedOrchestrator(), "tinyllama", "", "", "1", "y", "y")
    assert spec.auto_failover and spec.query.max_price is not None and not spec.query.offer_id
    spec = await chosen(ScriptedOrchestrator(), "tinyllama", "", "", "1", "y", "n")
    assert not spec.auto_failover


async def test_no_goes_back_to_the_models_and_a_wrong_filter_says_what_is_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(Quit):
        await chosen(
            ScriptedOrchestrator(), "tinyllama", "x", "", "", "prise<1", "1", "n", "b-word", "q"
        )
    told = capsys.readouterr().err
    assert "a whole number from 1 to" in told
    assert "there is no field prise\nhint: did you mean price?" in told
    assert "no model matches b-word" in told and "nothing was rented" in told


async def menu_of(
    script: Callable[[ScriptedOrchestrator, str], None], *lines: str, bills: bool = True
) -> ScriptedOrchestrator:
    """What the answers to the menu of such a deployment came to."""
    made = ScriptedOrchestrator()
    made.bills = bills
    made.said = [ChatPiece("Two\nlin"), ChatPiece("es"), ChatDone(10.0, 5.0, 3, "stop")]
    ident = made.begin(SPEC)
    script(made, ident)
    show = PlainDeployment(Output(False))
    state = DeploymentState(ident)
    for recorded in made.history[ident]:
        state = apply(state, recorded)
        show.event(recorded, state)
    if not state.waiting:
        holding = Recorded(
            ident, state.last_seq + 1, START, Noted("info", "holding the tunnel open")
        )
        show.event(holding, apply(state, holding))
        show.serving(state)
    before = len(made.calls)
    async with asked(*lines) as questions:
        menus = asyncio.create_task(Menus(made, show, questions).attend())
        decided = ("retry", "next", "fix", "release", "keep", "cancel")
        await wait_until(
            lambda: any(str(part) in decided for call in made.calls[before:] for part in call)
        )
        menus.cancel()
        await asyncio.gather(menus, return_exceptions=True)
    made.calls = made.calls[before:]
    return made


async def test_a_failure_is_answered_by_number_and_its_price_by_y(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = await menu_of(to_waiting, "7", "2", "n", "1", "n", "2", "y")
    assert ("decide", "next") in [(call[0], str(call[2])) for call in made.calls]
    told = capsys.readouterr().err
    assert "1. try the same offer again\n2. try the next offer\n3. stop" in told
    assert "Rent the same offer again at $0.131/h or less?" in told
    assert "Rent it at $0.062/h or less? y for yes, n for no" in told


async def test_what_can_be_fixed_is_the_first_choice_and_costs_no_question() -> None:
    made = await menu_of(to_remedy, "1")
    assert [(call[0], str(call[2])) for call in made.calls] == [("decide", "fix")]


async def test_nobody_answers_a_failure_any_more() -> None:
    made = await menu_of(to_waiting)
    assert [call[0] for call in made.calls] == ["cancel"]


async def test_an_answer_of_the_model_is_told_line_by_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = await menu_of(to_serving, "1", "hello", "", "4", "n", "?", "5")
    assert str(made.calls[-1][2]) == "keep"
    told = capsys.readouterr().err
    assert "Model:\nTwo\nlines\nYou:" in told
    assert told.count("1. chat with it") == 2, "told again where that is asked for alone"


def _serving_on_own(made: ScriptedOrchestrator, ident: str) -> None:
    to_serving(made, ident)
    made.push(ident, 400, BillingChanged(1, Billing.NONE, "s-1", "nothing is billed"))


async def test_ones_own_machine_is_neither_released_nor_billed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await menu_of(_serving_on_own, "4", "y", bills=False)
    told = capsys.readouterr().err
    assert "4. end it: the machine is your own, and stays" in told
    assert "5. leave it serving, and quit" in told and "is lost" not in told


async def test_who_stops_at_a_machine_that_is_kept_is_told_that_it_is_released(
    capsys: pytest.CaptureFixture[str],
) -> None:
    await menu_of(to_remedy, "4")
    assert "4. stop, and release the machine" in capsys.readouterr().err


async def test_what_was_typed_before_a_question_about_money_is_no_answer() -> None:
    near, far = pty.openpty()
    try:
        lines = Lines(far)
        os.write(near, b"y\ny\n")
        await wait_until(lambda: lines.waiting == 2)
        answer = asyncio.create_task(Questions(lines).yes("Deploy it?"))
        await wait_until(lambda: lines.waiting == 0)
        os.write(near, b"n\n")
        assert not await answer
    finally:
        os.close(near)  # ends the reader
        os.close(far)


async def test_the_lines_of_a_script_are_all_taken() -> None:
    read, write = os.pipe()
    try:
        lines = Lines(read)
        os.write(write, b"y\nn\n")
        await wait_until(lambda: lines.waiting == 2)
        assert await Questions(lines).yes("Deploy it?")
    finally:
        os.close(write)
        os.close(read)
