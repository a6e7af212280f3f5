"""Pauses between tries."""

from __future__ import annotations

from itertools import islice

import pytest

from gdl.domain.backoff import RETRYING, Backoff


def test_pauses_grow_up_to_the_longest() -> None:
    pauses = Backoff(0.4, 3.0, growth=RETRYING)
    assert list(islice(pauses, 5)) == pytest.approx([0.4, 0.8, 1.6, 3.0, 3.0])


def test_after_a_reset_they_begin_anew() -> None:
    pauses = Backoff(1.0, 9.0)
    assert [next(pauses), next(pauses)] == pytest.approx([1.0, 1.5])
    pauses.reset()
    assert next(pauses) == pytest.approx(1.0)


@pytest.mark.parametrize(("chance", "pause"), [(0.0, 0.5), (1.0, 1.0)])
def test_jitter_stays_between_its_factors(chance: float, pause: float) -> None:
    pauses = Backoff(
        1.0, 9.0, jitter=(0.5, 1.0), uniform=lambda low, high: low + (high - low) * chance
    )
    assert next(pauses) == pytest.approx(pause)


def test_a_longer_wish_is_granted_and_does_not_stop_the_growth() -> None:
    pauses = Backoff(1.0, 9.0)
    assert pauses.at_least(5.0) == pytest.approx(5.0)
    assert pauses.at_least(0.0) == pytest.approx(1.5)
