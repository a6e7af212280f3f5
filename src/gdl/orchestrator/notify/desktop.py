"""Notices on the desktop, by the program that this computer has for them."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys

from gdl.domain.notices import Notice, NoticeKind

_LIMIT_S = 5.0
_URGENT = frozenset(
    {NoticeKind.FAILED, NoticeKind.ABOUT_TO_STOP, NoticeKind.PRICE_RISE, NoticeKind.BALANCE_LOW}
)
# The texts are its arguments, never part of what is run.
_APPLESCRIPT = (
    "on run argv",
    "display notification (item 2 of argv) with title (item 1 of argv)",
    "end run",
)


def program() -> str | None:
    """The path of notify-send or osascript; None where there is no desktop to speak of."""
    if sys.platform == "darwin":
        return shutil.which("osascript")
    if not any(os.environ.get(name) for name in _DESKTOP):
        return None
    return shutil.which("notify-send")


_DESKTOP = ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS")


class Desktop:
    """path: of `program`."""

    host = "the desktop"

    def __init__(self, path: str) -> None:
        self._path = path

    async def send(self, notice: Notice) -> str:
        """Show it. Why it was not, in a few words; "" when it was."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self.argv(notice),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
        except OSError as error:
            return f"{self._path} cannot be run: {error.strerror}"
        try:
            async with asyncio.timeout(_LIMIT_S):
                code = await process.wait()
        except TimeoutError:
            return f"{self._path} does not end"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return f"{self._path} ended with {code}" if code else ""

    def argv(self, notice: Notice) -> list[str]:
        if self._path.endswith("osascript"):
            script = [word for line in _APPLESCRIPT for word in ("-e", line)]
            return [self._path, *script, notice.title, notice.text]
        urgency = "critical" if notice.kind in _URGENT else "normal"
        # Desktops take the body for markup.
        body = notice.text.replace("&", "&amp;").replace("<", "&lt;")
        words = ["--app-name=gdl-tui", f"--urgency={urgency}", "--", notice.title, body]
        return [self._path, *words]
