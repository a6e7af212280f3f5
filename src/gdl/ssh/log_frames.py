"""What the program that follows a file sends, taken apart: which file, its bytes, its truncations.

Pure.
"""

from __future__ import annotations

from gdl.domain.lazy_dataclass import dataclass

_HEADER_LIMIT = 400


@dataclass(frozen=True, slots=True)
class Opened:
    """The file that the bytes are of, the offset of the first one, and what it is to the one read
    before: "same", "truncated", "new", "next" or "lost", as tail_scripts says."""

    inode: str
    first: int
    what: str


@dataclass(frozen=True, slots=True)
class Truncated:
    """What comes now is from the file's start again."""


class Frames:
    """Feed it what comes. word: what tail_scripts.FOLLOW was given. Raises ValueError when that is
    not what speaks."""

    def __init__(self, word: str) -> None:
        self._notice = f"\x1e{word}/tail: ".encode()
        self._held = b""
        self._opened = False

    def feed(self, data: bytes) -> list[Opened | Truncated | bytes]:
        """What is complete. At most the beginning of a notice is held until the next time."""
        found: list[Opened | Truncated | bytes] = []
        data, self._held = self._held + data, b""
        if not self._opened:
            header, line_end, rest = data.partition(b"\n")
            if not line_end:
                if len(data) > _HEADER_LIMIT:
                    raise ValueError("no header")
                self._held = data
                return []
            found.append(_header(header))
            self._opened, data = True, rest
        while (at := data.find(self._notice)) >= 0:
            end = data.find(b"\n", at)
            if end < 0:
                break
            if at:
                found.append(data[:at])
            # Other words of tail's, such as that it has to poll, mean nothing here.
            if data[at:end].endswith(b"file truncated"):
                found.append(Truncated())
            data = data[end + 1 :]
        cut = at if at >= 0 else len(data) - self._begun(data)
        data, self._held = data[:cut], data[cut:]
        if data:
            found.append(data)
        return found

    @property
    def held(self) -> int:
        """How many bytes are held."""
        return len(self._held) if self._opened else 0

    def release(self) -> bytes:
        """What is held: nothing follows that would make it a notice."""
        data, self._held = self._held, b""
        return data

    def _begun(self, data: bytes) -> int:
        """Length of the beginning of a notice that `data` ends with."""
        at = data.rfind(self._notice[:1], max(0, len(data) - len(self._notice) + 1))
        return len(data) - at if at >= 0 and self._notice.startswith(data[at:]) else 0


def _header(line: bytes) -> Opened:
    words = line.decode("ascii", "replace").split(" ")
    if len(words) != 3 or not words[1].isdecimal():
        raise ValueError(f"bad header {line[:80]!r}")
    return Opened(words[0], int(words[1]), words[2])
