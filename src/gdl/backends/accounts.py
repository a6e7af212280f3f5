"""With which account of a marketplace each machine was rented.

Another account's key sees none of our machines. That a machine is in no list, or that its id is
unknown, proves that it is gone only where the list is that of the account which rented it. So it is
written down, before the request goes out, which account asks.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

from gdl.domain.errors import BackendRefused, GdlError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.secret import Secret

_MOST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Account:
    """key: a fingerprint of the key in use. user: the account's number, None where the key may not
    ask for it."""

    key: str
    user: int | None = None

    def same_as(self, other: Account) -> bool | None:
        """None: nobody can say."""
        if self.user is not None and other.user is not None:
            return self.user == other.user
        return True if self.key == other.key else None


def fingerprint(key: Secret) -> str:
    """Tells keys apart without telling them: 16 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(key.reveal().encode()).hexdigest()[:16]


class Accounts:
    """One file in the data folder: a line for each request, and for each machine that one made.

    backend: its name; the file has it. market: how the marketplace is called. variable: that of the
    environment that holds its key.
    """

    def __init__(self, data_dir: Path, backend: str, market: str, variable: str) -> None:
        self._path = data_dir / f"{backend}-accounts.jsonl"
        self._market = market
        self._variable = variable
        self._seen: set[tuple[str, str]] = set()

    async def note(self, account: Account, *, label: str = "", session_id: str = "") -> None:
        """Raises GdlError when the disk does not take it."""
        row = {"label": label, "session": session_id, "key": account.key, "user": account.user}
        await asyncio.to_thread(self._append, json.dumps(row))

    async def of(self, session_id: str, label: str = "") -> Account | None:
        """The account that rented a machine, None when that was not noted here."""
        return await asyncio.to_thread(self._find, session_id, label)

    async def check(
        self, session_id: str, label: str, now: Callable[[], Awaitable[Account]]
    ) -> None:
        """Raises BackendRefused unless the account in use is the one that rented the machine, or
        nothing is noted of that. now: tells the account in use."""
        then = await self.of(session_id, label)
        if then is None:
            return
        same = then.same_as(await now())
        if same:
            return
        what = session_id or f"the machine labelled {label}"
        if same is None:
            raise BackendRefused(
                f"whether {what} is gone cannot be told: it was rented with another key",
                f"set {self._variable} to that key; or look at {self._market}'s console, and say"
                " `gdl-tui destroy ID --seen-gone`",
            )
        raise BackendRefused(
            f"{what} was rented from another {self._market} account than the one whose key is used"
            " now",
            f"set {self._variable} to a key of that account: this one cannot see the machine",
        )

    async def seen(self, account: Account, machines: Iterable[tuple[str, str]]) -> None:
        """The account's list has these machines, each an id and a label: whichever key rented them,
        it was this account's. Raises GdlError when the disk does not take it."""
        for session_id, label in set(machines) - self._seen:
            then = await self.of(session_id, label)
            if then is not None and then.same_as(account) is None:
                await self.note(account, label=label, session_id=session_id)
            self._seen.add((session_id, label))

    def _append(self, line: str) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "a", encoding="utf-8") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise GdlError(
                f"cannot write {self._path}: {error.strerror}",
                "check free space and permissions of the data folder",
            ) from None

    def _find(self, session_id: str, label: str) -> Account | None:
        found = None
        for row in self._rows():
            same = session_id and row.get("session") == session_id
            if same or (label and row.get("label") == label):
                key, user = row.get("key"), row.get("user")
                if isinstance(key, str) and isinstance(user, int | None):
                    found = Account(key, user)
        return found

    def _rows(self) -> list[dict[str, Any]]:
        """Those at the end of the file, where it has grown beyond all measure."""
        try:
            with self._path.open("rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(file.tell() - _MOST_BYTES, 0))
                text = file.read(_MOST_BYTES).decode("utf-8", "replace")
        except OSError:
            return []
        rows = []
        for line in text.splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict):
                rows.append(row)
        return rows
