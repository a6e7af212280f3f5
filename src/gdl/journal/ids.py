"""Ids that a journal has, for who waits at a keyboard: nothing else is imported, made or waited
for, as opening the journal does."""

from __future__ import annotations

from pathlib import Path

_MOST = 200


def deployments(file: Path) -> list[str]:
    """Newest first."""
    return _read(file, "SELECT id FROM deployments ORDER BY created_at DESC")


def sessions(file: Path) -> list[str]:
    """Also those that are over, newest first."""
    return _read(file, "SELECT session_id FROM rentals ORDER BY requested_at DESC")


def sessions_rented(file: Path) -> list[str]:
    """Those that are not released, newest first."""
    return _read(
        file,
        "SELECT session_id FROM rentals WHERE released_at IS NULL ORDER BY requested_at DESC",
    )


def _read(file: Path, query: str) -> list[str]:
    """None where there is no journal, or none that can be read."""
    import sqlite3
    from contextlib import closing
    from urllib.parse import quote

    try:
        address = f"file:{quote(str(file))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=0.1)) as journal:
            rows = journal.execute(f"{query} LIMIT {_MOST}").fetchall()
    except sqlite3.Error:
        return []
    return [str(row[0]) for row in rows if row[0]]
