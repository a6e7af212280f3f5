"""The journal in SQLite (WAL). All access is on one thread of its own, off the event loop."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from gdl.domain.default_engine import DEFAULT_ENGINE
from gdl.domain.errors import GdlError
from gdl.domain.events import EVENT_TYPES, TYPE_NAMES, Event, Recorded
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.phase import Billing
from gdl.domain.rental import Joined, Rental
from gdl.domain.serialization import to_plain

T = TypeVar("T")
Statement = tuple[str, tuple[Any, ...]]
"""SQL and its values."""


@dataclass(frozen=True, slots=True)
class DeploymentRow:
    """owner_mark: tells the process from others that had or will have its id, "" if unknown.
    fleet: the one that it is a replica of, "" for none."""

    id: str
    created_at: datetime
    model: str
    backend: str
    outcome: str
    owner_pid: int
    owner_mark: str = ""
    engine: str = DEFAULT_ENGINE
    fleet: str = ""


_RENTAL_FIELDS = tuple(f.name for f in dataclasses.fields(Rental))


def payload_at(place: str) -> str:
    """What stands at that place of an event, in SQL. NULL of one that is no JSON for SQLite: what
    is no finite number was written all the same."""
    return f"CASE WHEN json_valid(payload) THEN json_extract(payload, '{place}') END"


class Journal:
    """Open with `await Journal.open(path)`, close with `aclose`. Methods may be called
    concurrently; each is one transaction that is on disk when it returns."""

    def __init__(self, database: sqlite3.Connection, executor: ThreadPoolExecutor) -> None:
        self._database = database
        self._executor = executor
        self._decoders: dict[str, TypeAdapter[Event]] = {}

    @classmethod
    async def open(cls, path: Path) -> Journal:
        """Raises GdlError when the file cannot be made or is not a journal."""
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        loop = asyncio.get_running_loop()
        try:
            database = await loop.run_in_executor(executor, _connect, path)
        except (sqlite3.Error, OSError) as error:
            executor.shutdown(wait=False)
            raise GdlError(f"cannot open the journal {path}: {error}", _what_helps(error)) from None
        return cls(database, executor)

    async def aclose(self) -> None:
        await self._do(self._database.close)
        self._executor.shutdown(wait=True)

    async def _do(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, work)
        except sqlite3.Error as error:
            raise GdlError(f"the journal cannot be written: {error}", _what_helps(error)) from None

    # -- deployments and events ------------------------------------------------------------

    async def add_deployment(self, row: DeploymentRow) -> None:
        await self.write(*insertion("deployments", row))

    async def set_outcome(self, deployment_id: str, outcome: str, owner_pid: int) -> None:
        await self.write(
            "UPDATE deployments SET outcome = ?, owner_pid = ? WHERE id = ?",
            (outcome, owner_pid, deployment_id),
        )

    async def deployments(self) -> list[DeploymentRow]:
        """Newest first."""
        rows = await self.read("SELECT * FROM deployments ORDER BY created_at DESC, id DESC")
        return [_deployment(row) for row in rows]

    async def append(self, recorded: Recorded) -> None:
        payload = json.dumps(to_plain(recorded.event), ensure_ascii=False)
        await self.write(
            "INSERT INTO events (deployment_id, seq, at, type, payload) VALUES (?, ?, ?, ?, ?)",
            (
                recorded.deployment_id,
                recorded.seq,
                recorded.at.isoformat(),
                TYPE_NAMES[type(recorded.event)],
                payload,
            ),
        )

    async def events(self, deployment_id: str) -> list[Recorded]:
        """In order. Types that this version does not know are skipped."""
        rows = await self.read(
            "SELECT * FROM events WHERE deployment_id = ? ORDER BY seq", (deployment_id,)
        )
        return [
            Recorded(
                deployment_id,
                r["seq"],
                datetime.fromisoformat(r["at"]),
                self._decode(r["type"], r["payload"]),
            )
            for r in rows
            if r["type"] in EVENT_TYPES
        ]

    def _decode(self, type_name: str, payload: str) -> Event:
        if type_name not in self._decoders:
            self._decoders[type_name] = TypeAdapter(EVENT_TYPES[type_name])
        return self._decoders[type_name].validate_json(payload)

    # -- rentals -----------------------------------------------------------------------------

    async def save(self, rental: Rental, *beside: Statement) -> None:
        """Insert or replace, and what belongs to it in the same transaction; on disk when it
        returns."""
        await self._write_all(insertion("rentals", rental, verb="INSERT OR REPLACE"), *beside)

    async def change(self, before: Rental, after: Rental) -> None:
        """Write what differs between the two, of a rental that is journaled. All else stays as it
        is there: another process may have written meanwhile, above all that it is to end."""
        changed = [n for n in _RENTAL_FIELDS if getattr(before, n) != getattr(after, n)]
        if changed:
            names = ", ".join(f"{name} = ?" for name in changed)
            cells = (_cell(getattr(after, name)) for name in changed)
            sql = f"UPDATE rentals SET {names} WHERE intent_id = ?"  # noqa: S608 - our own names
            await self.write(sql, (*cells, after.intent_id))

    async def rentals(self, backend: str | None = None, service_url: str = "") -> list[Rental]:
        """Newest first; those of one backend, as far as that service can tell of them, or all."""
        rows = await self.read("SELECT * FROM rentals ORDER BY requested_at DESC, intent_id DESC")
        found = [_rental(row) for row in rows]
        if backend is None:
            return found
        return [r for r in found if r.backend == backend and r.service_url in ("", service_url)]

    async def claim(self, rental: Rental, deployment_id: str, attempt: int) -> bool:
        """Make an open rental another deployment's; False when somebody was quicker."""
        changed = await self.write(
            "UPDATE rentals SET deployment_id = ?, attempt = ?"
            " WHERE intent_id = ? AND deployment_id = ? AND released_at IS NULL",
            (deployment_id, attempt, rental.intent_id, rental.deployment_id),
        )
        return changed == 1

    async def holders(self, session_id: str) -> list[DeploymentRow]:
        """Deployments that rented this session or attached to it, and have no end, or left it
        serving on purpose and nobody has ended it since: a machine of one's own has the same
        session again."""
        rows = await self.read(
            "SELECT d.* FROM rentals JOIN deployments AS d ON d.id = deployment_id"  # noqa: S608 - our text
            " WHERE session_id = ?"
            " AND (d.outcome = '' OR d.outcome = 'serving' AND released_at IS NULL)"
            " UNION SELECT d.* FROM events JOIN deployments AS d ON d.id = deployment_id"
            f" WHERE type = 'session_rented' AND {payload_at('$.session_id')} = ?"
            " AND (d.outcome = '' OR d.outcome = 'serving' AND at >= ("
            " SELECT COALESCE(MIN(requested_at), '') FROM rentals"
            " WHERE session_id = ? AND released_at IS NULL))",
            (session_id, session_id, session_id),
        )
        return [_deployment(row) for row in rows]

    async def deployment(self, deployment_id: str) -> DeploymentRow | None:
        rows = await self.read("SELECT * FROM deployments WHERE id = ?", (deployment_id,))
        return _deployment(rows[0]) if rows else None

    # -- for the other tables of this package -------------------------------------------------

    async def write(self, sql: str, values: tuple[Any, ...]) -> int:
        """One statement as one transaction; how many rows it changed."""
        return await self._write_all((sql, values))

    async def _write_all(self, *statements: Statement) -> int:
        """All or none of them; how many rows the first changed."""

        def work() -> int:
            with self._database:
                counts = [
                    self._database.execute(sql, values).rowcount for sql, values in statements
                ]
            return counts[0]

        return await self._do(work)

    async def read(self, sql: str, values: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        return await self._do(lambda: self._database.execute(sql, values).fetchall())


_LATER_COLUMNS = (
    ("rentals", "service_url", "TEXT NOT NULL DEFAULT ''"),
    ("deployments", "owner_mark", "TEXT NOT NULL DEFAULT ''"),
    ("rentals", "engine", f"TEXT NOT NULL DEFAULT '{DEFAULT_ENGINE}'"),
    ("deployments", "engine", f"TEXT NOT NULL DEFAULT '{DEFAULT_ENGINE}'"),
    ("benchmarks", "simulated", "INTEGER NOT NULL DEFAULT 0"),
    ("rentals", "seen", "INTEGER NOT NULL DEFAULT 0"),
    ("rentals", "release_requested_at", "TEXT"),
    ("rentals", "release_requests", "INTEGER NOT NULL DEFAULT 0"),
    ("rentals", "release_took_s", "REAL NOT NULL DEFAULT 0"),
    ("rentals", "error_before", "TEXT NOT NULL DEFAULT ''"),
    ("rentals", "doubt", "TEXT NOT NULL DEFAULT ''"),
    ("rentals", "ended_in_doubt", "INTEGER NOT NULL DEFAULT 0"),
    ("rentals", "label", "TEXT NOT NULL DEFAULT ''"),
    ("rentals", "bid", "REAL"),
    ("rentals", "volume", "TEXT NOT NULL DEFAULT ''"),
    ("rentals", "joined", "TEXT NOT NULL DEFAULT '[]'"),
    ("ledger", "traffic", "REAL NOT NULL DEFAULT 0"),
    ("deployments", "fleet", "TEXT NOT NULL DEFAULT ''"),
)
"""What a journal of an earlier version lacks: table, column, and its declaration, whose default is
what that version's rows mean."""
_LATER_VALUES = {
    # Before that column, the backend's name told.
    ("benchmarks", "simulated"): "UPDATE benchmarks SET simulated = 1 WHERE backend = 'sandbox'",
    # A key comes with the machine alone.
    ("rentals", "seen"): "UPDATE rentals SET seen = 1 WHERE host != '' OR key_file != ''",
}
"""Where the default does not hold for all of that version's rows."""


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = not path.exists()
    database = sqlite3.connect(path, timeout=10.0, check_same_thread=False)
    try:
        if fresh:
            os.chmod(path, 0o600)  # noqa: PTH101 - before anything is written
        database.row_factory = sqlite3.Row
        database.execute("PRAGMA journal_mode = WAL")
        # Money: a rent intent must survive a power cut, so every commit reaches the disk.
        database.execute("PRAGMA synchronous = FULL")
        schema = Path(__file__).with_name("schema.sql").read_text("utf-8")
        database.executescript(schema)
        _grow(database)
    except BaseException:
        database.close()
        raise
    return database


def _what_helps(error: Exception) -> str:
    if "locked" in str(error):
        return "another program is using it: try again when that has ended"
    if type(error) is sqlite3.DatabaseError:  # damaged, or no database at all
        return (
            "move journal.sqlite out of the data folder: a new one is created, and `gdl-tui "
            "sessions`"
            " lists what the backend still has rented to you"
        )
    return "check the folder's permissions and free space, or set GDL_DATA_DIR"


def _grow(database: sqlite3.Connection) -> None:
    """Add what is lacking; of several processes that start at once, one does."""
    lacking = [row for row in _LATER_COLUMNS if _lacks(database, row[0], row[1])]
    if not lacking:
        return
    with database:
        database.execute("BEGIN IMMEDIATE")
        for table, name, declaration in lacking:
            if _lacks(database, table, name):
                database.execute(f"ALTER TABLE {table} ADD COLUMN {name} {declaration}")
                if values := _LATER_VALUES.get((table, name)):
                    database.execute(values)


def _lacks(database: sqlite3.Connection, table: str, column: str) -> bool:
    return column not in {row["name"] for row in database.execute(f"PRAGMA table_info({table})")}


def insertion(table: str, row: Any, *, verb: str = "INSERT", **instead: Any) -> Statement:
    """What adds a row: a dataclass whose fields are the table's columns. instead: cells that are
    not what their field is."""
    fields = [f.name for f in dataclasses.fields(row)]
    names, marks = ", ".join(fields), ", ".join("?" for _ in fields)
    cells = (instead[n] if n in instead else _cell(getattr(row, n)) for n in fields)
    return f"{verb} INTO {table} ({names}) VALUES ({marks})", tuple(cells)


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    plain = to_plain(value)
    return json.dumps(plain, ensure_ascii=False) if isinstance(plain, list) else plain


def _deployment(row: sqlite3.Row) -> DeploymentRow:
    return DeploymentRow(
        row["id"],
        datetime.fromisoformat(row["created_at"]),
        row["model"],
        row["backend"],
        row["outcome"],
        row["owner_pid"],
        row["owner_mark"],
        row["engine"],
        row["fleet"],
    )


def _rental(row: sqlite3.Row) -> Rental:
    values = {name: row[name] for name in _RENTAL_FIELDS}
    for name in ("requested_at", "released_at", "release_requested_at"):
        values[name] = datetime.fromisoformat(values[name]) if values[name] else None
    for name in ("agent_auth", "has_gpu", "seen", "ended_in_doubt"):
        values[name] = bool(values[name])
    values["billing"] = Billing(values["billing"])
    values["joined"] = tuple(Joined(**each) for each in json.loads(values["joined"]))
    return Rental(**values)
