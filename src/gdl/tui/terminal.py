"""The terminal that the screens are drawn on, which may go away or stop taking anything.

Textual's own writer hands each text to a thread over a short queue. Where the terminal is gone,
that thread ends, and where nobody reads the terminal, it waits: either way the queue is full soon,
and whoever draws next waits for ever, with the event loop and all that is to be released. Here
nobody waits: what a terminal does not take is dropped, and once it has gone the program is told to
end.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol, cast

from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver

MOST_PENDING = 1_000_000
"""Characters kept for a terminal that takes none; then they are dropped, and all is drawn again."""
_KEEP_TITLE, _TITLE, _TITLE_BACK = "\x1b[22;2t", "\x1b]2;{}\x1b\\", "\x1b[23;2t"
"""xterm's control sequences: put the window's title on a stack, set it (OSC 2), take it back. A
terminal without a stack is left without a title, and shows its usual one."""
_STOP_S = 1.0
_LOOK_MS = 500


class AltDigit(Enum):
    """Keys as Textual's table has them."""

    ALT_0 = "alt+0"
    ALT_1 = "alt+1"
    ALT_2 = "alt+2"
    ALT_3 = "alt+3"
    ALT_4 = "alt+4"
    ALT_5 = "alt+5"
    ALT_6 = "alt+6"
    ALT_7 = "alt+7"
    ALT_8 = "alt+8"
    ALT_9 = "alt+9"


def tell_alt_digits() -> None:
    """Have Alt and a digit told as that: Textual (8.2) takes what most terminals send for it, an
    escape and the digit, for the character that Option and this digit make on a Mac."""
    known = cast(dict[str, object], ANSI_SEQUENCES_KEYS)
    known.update({f"\x1b{key.value[-1]}": (key,) for key in AltDigit})


class TerminalOutput:
    """Writes to a terminal from a thread. `write` never waits and never fails.

    on_gone: called once, from the thread, when the terminal does not exist any more. again: called
    from the thread when something was dropped and the terminal takes text again.
    """

    def __init__(
        self, descriptor: int, encoding: str, on_gone: Callable[[], None], again: Callable[[], None]
    ) -> None:
        self._descriptor, self._encoding = descriptor, encoding
        self._on_gone, self._again = on_gone, again
        self._changed = threading.Condition()
        self._pending: list[str] = []
        self._size = 0
        self._dropped = self._stopping = self._sending = False
        self._thread: threading.Thread | None = None
        self.gone = False

    def start(self) -> None:
        """Never makes a second thread: two would write at the same time. One may be there where
        the terminal took nothing until `stop` returned, or where nobody called it, as when a
        program in the background is told to go on."""
        with self._changed:
            self._stopping = False
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="terminal-output", daemon=True
                )
                self._thread.start()

    def write(self, text: str) -> None:
        with self._changed:
            if self.gone:
                return
            self._pending.append(text)
            self._size += len(text)
            if self._size > MOST_PENDING:
                self._pending.clear()
                self._size, self._dropped = 0, True
            self._changed.notify_all()

    def taken(self, limit_s: float) -> None:
        """Wait until the terminal has what was written so far, for so many seconds at most."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.gone or not (self._pending or self._sending), limit_s
            )

    def stop(self) -> bool:
        """Write what there is, and end; False when the terminal does not take it in time."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._thread is None, _STOP_S) and not self.gone

    def give_up(self) -> None:
        """The terminal is gone."""
        with self._changed:
            if self.gone:
                return
            self.gone = True
            self._pending.clear()
            self._changed.notify_all()
        self._on_gone()

    def _run(self) -> None:
        while (taken := self._take()) is not None:
            text, dropped = taken
            try:
                self._send(text.encode(self._encoding, "backslashreplace"))
            except OSError:
                self.give_up()
            with self._changed:
                self._sending = False
                self._changed.notify_all()
            if dropped and not self.gone:
                self._again()

    def _take(self) -> tuple[str, bool] | None:
        """What is to be sent next, and whether something before it was dropped; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._stopping or self.gone)
            if self.gone or not self._pending:
                self._thread = None
                self._changed.notify_all()
                return None
            taken = "".join(self._pending), self._dropped
            self._pending.clear()
            self._size, self._dropped = 0, False
            self._sending = True
            return taken

    def _send(self, data: bytes) -> None:
        # Not through a buffered file: the end of the program would wait for the lock of one.
        left = memoryview(data)
        while left:
            left = left[os.write(self._descriptor, left) :]


class EndsWithItsTerminal(Protocol):
    """What an app on such a driver has. terminal: that driver."""

    terminal: TerminalDriver | None

    def terminal_gone(self) -> None: ...


class TerminalDriver(LinuxDriver):
    """Textual's driver, with that output. Once the terminal has gone, whether or not a signal tells
    that, it calls the app's `terminal_gone`, from a thread."""

    def __init__(self, app: App[Any], **more: Any) -> None:
        super().__init__(app, **more)
        ours = cast(EndsWithItsTerminal, app)
        ours.terminal = self
        self._when_gone = ours.terminal_gone
        assert self._file is not None  # else there is no terminal, and no driver for one
        self._output = TerminalOutput(
            self._file.fileno(), self._file.encoding, self._terminal_gone, self._draw_again
        )
        self._watching = False
        self._title, self._titled = "gdl-tui", False

    def entitle(self, title: str) -> None:
        """Give the terminal's window a title; without control characters."""
        if title != self._title:
            self._title = title
            if self._titled:
                self.write(_TITLE.format(title))

    def write(self, data: str) -> None:
        self._output.write(data)

    def taken(self, limit_s: float) -> None:
        """As that of the output."""
        self._output.taken(limit_s)

    def start_application_mode(self) -> None:
        self._output.start()
        super().start_application_mode()  # type: ignore[no-untyped-call] # has no annotations
        if not self._titled:
            self._titled = True
            self.write(_KEEP_TITLE + _TITLE.format(self._title))
        if not self._watching:
            self._watching = True
            threading.Thread(target=self._watch, name="terminal-watch", daemon=True).start()

    def stop_application_mode(self) -> None:
        if self._titled:
            self._titled = False
            self.write(_TITLE.format("") + _TITLE_BACK)
        super().stop_application_mode()

    def suspend_application_mode(self) -> None:
        """As Textual's. A terminal that is slow now takes the rest later: it is drawn on again."""
        self.stop_application_mode()
        super().close()
        self._output.stop()

    def close(self) -> None:
        super().close()
        if not self._output.stop():
            _write_nowhere()

    def _draw_again(self) -> None:
        self._app.call_later(self._app.refresh, layout=True)

    def _watch(self) -> None:
        """Until the terminal has gone. Reading from such a one says nothing but that it is empty,
        without end."""
        poll = select.poll()
        poll.register(self.fileno, 0)
        while not self._output.gone:
            for _descriptor, what in poll.poll(_LOOK_MS):
                if not what & (select.POLLHUP | select.POLLERR):
                    return  # not a kind of file that tells
                self._output.give_up()

    def _terminal_gone(self) -> None:
        self.exit_event.set()  # ends the thread that reads
        _write_nowhere()
        self._when_gone()


def _write_nowhere() -> None:
    """What is said on the way out must not wait for a terminal that takes nothing."""
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        os.close(nowhere)
