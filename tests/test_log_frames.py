"""What the program that follows a file sends, however it is cut into pieces on its way."""

from __future__ import annotations

import pytest

from gdl.ssh.log_frames import Frames, Opened, Truncated

SENT = (
    b"4711 5 same\n"
    b"one\ntw\x1e gdl-w/tail: no notice\n"
    b"\x1egdl-w/tail: inotify cannot be used, reverting to polling: Too many open files\n"
    b"o\n\x1egdl-w/tail: /proc/self/fd/3: file truncated\nthree\x1e"
)
COMES = [
    Opened("4711", 5, "same"),
    b"one\ntw\x1e gdl-w/tail: no notice\no\n",
    Truncated(),
    b"three",
]


def joined(pieces: list[Opened | Truncated | bytes]) -> list[Opened | Truncated | bytes]:
    """Runs of bytes as one."""
    found: list[Opened | Truncated | bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += piece
        else:
            found.append(piece)
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 40, 1000])
def test_pieces_of_any_size(size: int) -> None:
    frames = Frames("gdl-w")
    pieces: list[Opened | Truncated | bytes] = []
    for at in range(0, len(SENT), size):
        pieces += frames.feed(SENT[at : at + size])
    assert joined(pieces) == COMES
    assert (frames.held, frames.release(), frames.held) == (1, b"\x1e", 0)


def test_lines_are_not_held() -> None:
    frames = Frames("gdl-w")
    assert frames.feed(b"4711 0 new\n") == [Opened("4711", 0, "new")]
    for line in (b"Loading", b" g\n", b"\x1eg", b"d\n", b"\n"):
        assert b"".join(p for p in frames.feed(line) if isinstance(p, bytes)) or frames.held
    assert frames.held == 0


@pytest.mark.parametrize("said", [b"sh: not found\n", b"4711 -5 same\n", b"1 2 3 4\n", b"x" * 500])
def test_who_says_something_else_is_no_such_program(said: bytes) -> None:
    with pytest.raises(ValueError, match="header"):
        Frames("gdl-w").feed(said)
