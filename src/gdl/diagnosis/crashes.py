"""How programs end that Python does not catch: C++ exceptions, Rust panics, fatal errors."""

from __future__ import annotations

import re

_WHAT = re.compile(r"\s*what\(\): +(?P<text>.+)")
_PANIC = re.compile(
    r"thread '[^']*'(?: \(\d+\))? panicked at (?:'(?P<text>.+)', )?(?P<place>\S+:\d+)"
)
_FATAL = re.compile(r"Fatal Python error: (?P<text>.+)")
_THROWN = re.compile(r"terminate called after throwing an instance of '(?P<name>[\w:]+)'")
NATIVE_FRAME = re.compile(
    r"\s*frame #\d+: |Exception raised from \S+ at |(?:Current t|T)hread 0x[0-9a-f]+|"
    r"Extension modules: |note: run with `RUST_BACKTRACE|\s*\d+: 0x[0-9a-f]{6,}|#\d+ 0x[0-9a-f]{6,}"
)
"""Lines of a backtrace that name nothing a person can act on."""


class Crash:
    """What a crash of another language's program says; `take` gives (class, message) once the line
    that tells it is there. The message may be "", and stand in the next line."""

    def __init__(self) -> None:
        self._thrown = ""

    def take(self, text: str) -> tuple[str, str] | None:
        if found := _THROWN.search(text):
            self._thrown = found["name"].replace("::", ".")
            return None
        if found := _WHAT.match(text):
            name, self._thrown = self._thrown or "std.exception", ""
            return name, found["text"]
        if found := _PANIC.search(text):
            return "Panic", found["text"] or ""
        if found := _FATAL.match(text):
            return "FatalPythonError", found["text"]
        return None
