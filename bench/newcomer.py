"""Walks through the README as somebody does who has nothing else: in tmux, at 80x24, by keyboard.

    .venv/bin/python bench/newcomer.py                    # all walks; says how long each took
    .venv/bin/python bench/newcomer.py chat --frames FILE # one, and what the screen showed, as text

Each walk starts with an empty home folder, types what the README says, and waits for what the
screen shows. It ends with 1 where something is never seen. All is simulated: nothing is rented.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

COLUMNS, LINES = 80, 24
LIMIT_S = 120.0


class NeverSeen(Exception):
    """What a walk waited for did not come."""


@dataclass
class Terminal:
    """A terminal in tmux, with a home folder of its own. frames: what it showed at each step."""

    home: Path
    frames: list[str] = field(default_factory=list)

    def __enter__(self) -> Terminal:
        bare = ("PATH", "LANG", "LC_ALL")
        env = {name: os.environ[name] for name in bare if name in os.environ}
        env |= {"HOME": str(self.home), "PS1": "$ ", "TERM": "xterm-256color"}
        env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
        env.setdefault("LANG", "C.UTF-8")
        words = [f"{name}={value}" for name, value in env.items()]
        size = ["-x", str(COLUMNS), "-y", str(LINES)]
        self._tmux("new-session", "-d", *size, "env", "-i", *words, "bash", "--norc", "-i")
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server", check=False)

    def _tmux(self, *words: str, check: bool = True) -> str:
        command = ["tmux", "-f", "/dev/null", "-S", str(self.home / "tmux"), *words]
        return subprocess.run(command, capture_output=True, text=True, check=check).stdout

    def type(self, *keys: str) -> None:
        """Each a key by tmux's name of it, such as Enter, or a text."""
        for key in keys:
            literal = [] if re.fullmatch(r"Enter|Escape|C-.", key) else ["-l"]
            self._tmux("send-keys", *literal, key)
            time.sleep(0.15)

    def enter(self, line: str) -> None:
        self.type(line, "Enter")

    def text(self) -> str:
        return self._tmux("capture-pane", "-p")

    def until(self, *words: str) -> None:
        """Wait until the screen shows all of these, each a regular expression."""
        end = time.monotonic() + LIMIT_S
        while not all(re.search(each, screen := self.text()) for each in words):
            if time.monotonic() > end:
                raise NeverSeen(f"{words}\n{screen}")
            time.sleep(0.2)
        self.frames.append(f"--- {' '.join(words)}\n{screen}")

    def rent(self, line: str) -> None:
        """Start the terminal UI by this, and rent for a model on the first offer."""
        self.enter(line)
        self.until("60/60")
        self.type("Enter")
        self.until("Weights")
        self.type("tinyllama")
        self.until("fits")
        self.type("Enter")
        self.until("Deploy this model")
        self.type("y")

    def leave(self) -> None:
        """By `q`, from any screen while a machine serves; what it asks is answered with release."""
        self.type("Escape", "1")
        self.until(r"\d+/\d+")
        self.type("q")
        self.until(r"Quit\?", r"release \(r\)")
        self.type("r")
        self.shell()

    def shell(self) -> None:
        """Wait until the command is over."""
        self.until(r"(?m)^(\^C)?\$ ?$")


def chat(terminal: Terminal) -> None:
    """From nothing to an answer."""
    terminal.rent("gdl-tui demo")
    terminal.until("Serving|SERVING")
    terminal.type("t")
    terminal.until("ask the model")
    terminal.type("What is the capital of France?", "Enter")
    terminal.until("Paris", "tokens/s")
    terminal.leave()


def retry(terminal: Terminal) -> None:
    """A model that fails, changed and tried again on the same machine."""
    terminal.rent("gdl-tui demo --scenario crash-context-too-long")
    terminal.until("longer than the model's own")
    terminal.type("m")
    terminal.until("Context")
    terminal.type("C-u", "2048", "Enter")
    terminal.until("Serving|SERVING")
    terminal.leave()


def watch(terminal: Terminal) -> None:
    """An offer that is waited for, and rented when it is there."""
    terminal.enter('gdl-tui watch "3090 price<0.30" --model tinyllama --rent --backend sandbox')
    terminal.until("press Ctrl-C to end")
    terminal.until("SERVING")
    terminal.type("C-c")
    terminal.until(r"release .*\?|\[[yY]/[nN]\]")
    terminal.enter("y")
    terminal.until("billing released")
    terminal.shell()


def serve(terminal: Terminal) -> None:
    """The terminal UI in a browser."""
    terminal.enter("gdl-tui --backend sandbox serve --port 8089")
    terminal.until(r"http://127\.0\.0\.1:8089")
    with urllib.request.urlopen("http://127.0.0.1:8089/", timeout=20) as answer:
        page = answer.read(100_000).decode()
    if "gdl-tui" not in page:
        raise NeverSeen(f"the page\n{page[:500]}")
    terminal.type("C-c")
    terminal.shell()


WALKS: dict[str, Callable[[Terminal], None]] = {
    walk.__name__: walk for walk in (chat, retry, watch, serve)
}


def walked(name: str, frames: list[str]) -> tuple[float, int]:
    """Seconds, and how many screens were added to `frames`. Raises NeverSeen."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gdl-newcomer-", ignore_cleanup_errors=True) as home:
        terminal = Terminal(Path(home), frames)
        before = len(frames)
        with terminal:
            WALKS[name](terminal)
    return time.monotonic() - began, len(frames) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("walks", nargs="*", default=[], metavar="WALK", help=", ".join(WALKS))
    parser.add_argument("--frames", type=Path, help="a file for what the screen showed")
    args = parser.parse_args()
    frames: list[str] = []
    try:
        for name in args.walks or WALKS:
            frames.append(f"=== {name}")
            lasted, seen = walked(name, frames)
            print(f"{name:8} {lasted:6.1f} s, {seen} screens")
    except NeverSeen as error:
        sys.exit(f"{name}: never seen: {error}")
    finally:
        if args.frames:
            args.frames.write_text("\n".join(frames))


if __name__ == "__main__":
    main()
