"""Which session is meant by what somebody has typed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gdl.domain.errors import UsageError
from gdl.domain.id_matching import matching
from gdl.orchestrator.api.views import SessionRow


def named(ident: str, rows: Sequence[SessionRow]) -> list[SessionRow]:
    """The rows of the one session that an id names: its own, its deployment's, or the beginning of
    one; several only where more than one session is called so. Of those whose deployment is named,
    one that has not ended goes first."""
    found = matching(ident, rows, _names)
    if ident not in (row.session.id for row in found):
        found = [row for row in found if not row.ended] or found
    if len({(row.session.backend, row.session.id) for row in found}) == 1:
        return found[:1]
    return found


def not_one(ident: str, found: Sequence[SessionRow], rows: Iterable[SessionRow]) -> UsageError:
    """Why none of the `rows` is meant: `found` are none, or several."""
    names = [row.session.id for row in found]
    if len(set(names)) == 1:
        names = [f"{row.session.backend}/{row.session.id}" for row in found]
    return none_or_several(ident, names, [row.session.id for row in rows])


def none_or_several(ident: str, found: Sequence[str], there: Sequence[str]) -> UsageError:
    """The same, of ids."""
    if found:
        return UsageError(
            f"{ident} names several sessions: {', '.join(sorted(set(found))[:5])}",
            "type more of the id",
        )
    known = ", ".join(there[:5]) or "none"
    return UsageError(f"no session {ident}", f"sessions: {known}; `gdl-tui sessions` shows all")


def refuse_over(row: SessionRow) -> None:
    """Raises UsageError for a session that has ended: nothing of it can be put off."""
    if row.session.terminal:
        raise UsageError(f"session {row.session.id} is over", "deploy again")


def _names(row: SessionRow) -> tuple[str | None, ...]:
    """What a session is called by; two backends may have one of the same id."""
    return row.session.id, row.deployment_id, f"{row.session.backend}/{row.session.id}"
