"""What a deployment waits for, and who may answer it when."""

from __future__ import annotations

import asyncio

import pytest

from gdl.domain.decisions import AfterFailure, AfterServing
from gdl.domain.errors import UsageError
from gdl.orchestrator.deployment.decisions import Decisions


async def nothing() -> None:
    return None


async def test_an_answer_is_heard_from_the_announcement_on() -> None:
    decisions = Decisions("d-1")

    async def announce() -> None:
        assert decisions.asks and not decisions.holds
        decisions.answer(AfterFailure.NEXT, "FAILED")

    assert await decisions.after_failure(announce) is AfterFailure.NEXT
    assert not decisions.asks


async def test_each_decision_answers_its_own_question_once() -> None:
    decisions = Decisions("d-1")
    waiting = asyncio.create_task(decisions.after_serving(nothing))
    await asyncio.sleep(0)
    assert decisions.holds
    with pytest.raises(UsageError, match="not waiting for a choice"):
        decisions.answer(AfterFailure.RETRY, "SERVING")
    decisions.answer(AfterServing.KEEP, "SERVING")
    with pytest.raises(UsageError, match="d-1 is SERVING, not held open"):
        decisions.answer(AfterServing.RELEASE, "SERVING")
    assert await waiting is AfterServing.KEEP


async def test_what_serves_already_is_decided_on_before_it_is_reached() -> None:
    decisions = Decisions("d-1", serves_already=True)
    reaching = asyncio.create_task(decisions.unless_ended(asyncio.Event().wait()))
    await asyncio.sleep(0)
    decisions.answer(AfterServing.RELEASE, "CONNECTING")
    await reaching
    assert decisions.end is AfterServing.RELEASE


async def test_what_becomes_of_a_machine_after_its_end_was_decided_is_no_failure() -> None:
    async def lost() -> None:
        decisions.answer(AfterServing.RELEASE, "SERVING")
        raise UsageError("its machine is gone")

    decisions = Decisions("d-1")
    await decisions.unless_ended(lost())
    assert await decisions.after_serving(nothing) is AfterServing.RELEASE


async def test_nobody_waits_after_an_end() -> None:
    decisions = Decisions("d-1")
    waiting = asyncio.create_task(decisions.after_serving(nothing))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not decisions.holds


def test_an_early_decision_is_taken_once() -> None:
    decisions = Decisions("d-1")
    decisions.early = AfterFailure.EXCLUDE
    assert decisions.take_early() is AfterFailure.EXCLUDE
    assert decisions.take_early() is None


async def test_what_is_measured_before_it_is_held_open_ends_with_the_decision() -> None:
    decisions = Decisions("d-1")
    with pytest.raises(UsageError, match="d-1 is VERIFYING, not held open"):
        decisions.answer(AfterServing.RELEASE, "VERIFYING")
    measuring = asyncio.create_task(decisions.unless_ended(asyncio.Event().wait()))
    await asyncio.sleep(0)
    decisions.answer(AfterServing.RELEASE, "SERVING")
    await measuring
    with pytest.raises(UsageError, match="not held open"):
        decisions.answer(AfterServing.KEEP, "SERVING")
    assert await decisions.after_serving(nothing) is AfterServing.RELEASE


async def test_nothing_is_decided_on_a_server_that_has_ended_while_held_open() -> None:
    decisions = Decisions("d-1")
    waiting = asyncio.create_task(decisions.after_serving(nothing))
    await asyncio.sleep(0)
    waiting.cancel()  # its machine was lost, and the next one is taken
    await asyncio.gather(waiting, return_exceptions=True)
    with pytest.raises(UsageError, match="not held open"):
        decisions.answer(AfterServing.RELEASE, "SERVING")
    decisions.begin_attempt()
    decisions.answer(AfterServing.RELEASE, "SERVING")
    assert await decisions.after_serving(nothing) is AfterServing.RELEASE


async def test_a_measurement_that_fails_undecided_says_so() -> None:
    async def fails() -> None:
        raise UsageError("no tokens")

    decisions = Decisions("d-1")
    with pytest.raises(UsageError, match="no tokens"):
        await decisions.unless_ended(fails())


async def test_once_what_comes_of_it_is_being_done_nothing_is_decided_any_more() -> None:
    """It would be accepted, and forgotten."""
    decisions = Decisions("d-1", serves_already=True)
    assert decisions.settle() is None
    for late in AfterServing:
        with pytest.raises(UsageError, match="not held open"):
            decisions.answer(late, "SERVING")
    decisions.begin_attempt()
    decisions.answer(AfterServing.KEEP, "SERVING")
    assert decisions.settle() is AfterServing.KEEP


async def test_what_was_attached_to_is_released_at_any_time() -> None:
    """While it is looked at why its server has ended, too: a cancellation would not release it."""
    decisions = Decisions("d-1", serves_already=True)
    waiting = asyncio.create_task(decisions.after_serving(nothing))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    with pytest.raises(UsageError, match="not held open"):
        decisions.answer(AfterServing.KEEP, "SERVING")
    decisions.answer(AfterServing.RELEASE, "SERVING")
    assert decisions.end is AfterServing.RELEASE
