"""What goes to stdout while its reader takes a break."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest

from gdl.cli.output import Output


async def test_parts_of_lines_wait_for_a_reader_as_whole_ones_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    long = "x" * 200_000  # more than the pipe holds
    came: list[str] = []

    def read_all() -> None:
        with open(reading, encoding="utf-8") as stream:
            came.append(stream.read())

    with open(writing, "w", encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        # What is left at the end gives signals their usual effect back.
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        output = Output(as_json=False)
        with output.patient():
            output.line("first")
            output.text(long)
            output.text(" and\n")
            output.line("last")
            reader = threading.Thread(target=read_all, daemon=True)
            reader.start()
        monkeypatch.undo()
    reader.join(20)
    assert came == [f"first\n{long} and\nlast\n"]
