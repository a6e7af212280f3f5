"""The README alone, at 80x24, by keyboard: bench/newcomer.py walks through it in tmux."""

from __future__ import annotations

import shutil

import pytest
from newcomer import WALKS, walked


@pytest.mark.real
@pytest.mark.long
@pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux here")
@pytest.mark.parametrize("walk", WALKS)
def test_a_newcomer_gets_there_without_help(walk: str) -> None:
    lasted, screens = walked(walk, [])
    assert screens and lasted < 240
