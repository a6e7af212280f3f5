"""The command line on a written deployment, in a process that a test reads as it goes."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("cli_support.py")
LIMIT_S = 20.0


class Running:
    """The command line in a process of its own, read as it goes."""

    def __init__(self, folder: Path, *arguments: str, terminal: bool = False, **more: str) -> None:
        self._calls = folder / "calls"
        environment = {
            **os.environ,
            "CLI_CALLS": str(self._calls),
            "GDL_DATA_DIR": str(folder / "data"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "NO_COLOR": "1",
            **more,
        }
        self.terminal, far = pty.openpty() if terminal else (-1, -1)
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *arguments],
            stdin=far if terminal else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=far if terminal else subprocess.PIPE,
            env=environment,
            start_new_session=True,
            # Under nohup it is ignored, which programs keep to.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
        self.far = far
        assert self.process.stdout is not None
        self._err = self.terminal if terminal else self.process.stderr.fileno()  # type: ignore[union-attr]
        self.told = ""

    def until(self, text: str) -> None:
        """Read stderr until it says `text`."""
        end = time.monotonic() + LIMIT_S
        while text not in self.told:
            ready, _, _ = select.select([self._err], [], [], max(end - time.monotonic(), 0))
            assert ready, f"{text!r} never came: {self.told}"
            chunk = os.read(self._err, 65536)
            assert chunk, f"{text!r} never came: {self.told}"
            self.told = (self.told + chunk.decode(errors="replace")).replace("\r\n", "\n")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def end(self) -> int:
        """The exit code; fails when it does not end."""
        try:
            return self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it did not end: {self.told}")

    @property
    def out(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read().decode()

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().split("\n")[:-1] if self._calls.exists() else []

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        if self.terminal >= 0:
            os.close(self.terminal)
            os.close(self.far)


Start = Callable[..., Running]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[Running] = []

    def begin(*arguments: str, terminal: bool = False, **more: str) -> Running:
        running.append(Running(tmp_path, *arguments, terminal=terminal, **more))
        return running[-1]

    yield begin
    for one in running:
        one.close()
