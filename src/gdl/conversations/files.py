"""Saved conversations: a JSON file each, of mode 0600, in a folder of the data folder."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from datetime import datetime
from pathlib import Path

from gdl.domain.conversation import Conversation, from_data, to_data
from gdl.domain.errors import GdlError, UsageError
from gdl.domain.lazy_dataclass import dataclass
from gdl.whole_file import write_whole

_MOST_BYTES = 256 * 2**20
"""Of one file; far more than a conversation of ours can have."""
_NAME = re.compile(r"[\w-]{1,80}")


@dataclass(frozen=True, slots=True)
class SavedConversation:
    """A line of the list. at: when it was written last. trouble: why it cannot be read, "" when it
    can."""

    id: str
    at: datetime
    model: str
    title: str
    turns: int
    trouble: str = ""


class ConversationFiles:
    """Blocking, each call some milliseconds. All methods raise GdlError when the disk does not do
    as it is told."""

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / "conversations"

    def save(self, one: Conversation, now: datetime) -> None:
        """Write it, and name it when it has no name yet. A crash leaves the version before."""
        if not one.id:
            one.id = f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        text = json.dumps(to_data(one), ensure_ascii=False, indent=1)
        path = self._path(one.id)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Half a character, as a model may send one, is none in UTF-8.
            write_whole(path, text.encode(errors="replace").decode() + "\n")
        except OSError as error:
            raise GdlError(
                f"the conversation is not saved: {error.strerror}",
                f"check free space and permissions of {self.folder}",
            ) from None

    def load(self, ident: str) -> Conversation:
        """One of them. Raises UsageError when there is none of that name."""
        path = self._path(ident)
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise ValueError("too large")
            return from_data(ident, json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise UsageError(
                f"no saved conversation {ident}", f"they are in {self.folder}"
            ) from None
        except OSError as error:
            why = error.strerror or "cannot be read"
        except (ValueError, RecursionError) as error:
            why = str(error)
        raise GdlError(f"cannot read {path}: {why}", "look at the file, or delete it")

    def delete(self, ident: str) -> None:
        """No error when it is gone already."""
        try:
            self._path(ident).unlink(missing_ok=True)
        except OSError as error:
            raise GdlError(
                f"cannot delete {ident}: {error.strerror}", f"look at {self.folder}"
            ) from None

    def rows(self) -> list[SavedConversation]:
        """All of them, latest first. What cannot be read is listed with the reason."""
        found = []
        for path in self.folder.glob("*.json"):
            if not _NAME.fullmatch(path.stem):
                continue
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                found.append(self._row(path))
        return sorted(found, key=lambda row: (row.at, row.id), reverse=True)

    def _row(self, path: Path) -> SavedConversation:
        at = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
        try:
            one = self.load(path.stem)
        except GdlError as error:
            return SavedConversation(path.stem, at, "", "", 0, error.message)
        return SavedConversation(path.stem, at, one.model, one.title, len(one.turns))

    def _path(self, ident: str) -> Path:
        if not _NAME.fullmatch(ident):
            raise UsageError(f"no saved conversation {ident!r}", f"they are in {self.folder}")
        return self.folder / f"{ident}.json"
