"""The instances of a Vast.ai account: one, all of them, and the end of one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from gdl.backends.scalars import is_session_id
from gdl.backends.vastai import errors
from gdl.backends.vastai.api_client import V0, V1, VastHttp
from gdl.backends.vastai.wire import InstanceWire
from gdl.domain.errors import SessionGone
from gdl.domain.session import Session
from gdl.domain.text import one_line

_PAGE = 25
_MOST_PAGES = 400


class Instances:
    """Raises BackendUnreachable, BackendRefused, BackendError."""

    def __init__(self, http: VastHttp) -> None:
        self._http = http

    async def one(self, session_id: str) -> InstanceWire | None:
        """None: the account has none of that id."""
        path = f"{V0}/instances/{segment(session_id)}/"
        answer = await self._http.read("GET", path, params={"owner": "me"})
        if errors.no_instance(answer):
            return None
        data = self._http.data(answer, f"show instance {session_id}")
        if "instances" not in data:
            raise self._http.wrong_shape("an instance")
        row = data["instances"]
        if isinstance(row, list):
            row = row[0] if row else None
        if row is None:
            return None
        found = self._read(row)
        if str(found.id) != session_id:
            raise errors.unusable(self._http.shown_url, "an instance other than the one requested")
        return found

    async def all(self) -> list[InstanceWire]:
        """Every instance of the account, in whatever state, from a list without filters: all pages
        of it, or an error. So what is not in it does not exist."""
        params = {
            "select_filters": "{}",
            "order_by": json.dumps([{"col": "id", "dir": "asc"}]),
            "limit": str(_PAGE),
        }
        path = f"{V1}/instances/"
        pages = await self._http.pages(path, "instances", "instances", params, _MOST_PAGES)
        rows = (self._read(row) for page in pages for row in page["instances"])
        found = {row.id: row for row in rows}
        last = pages[-1]
        if len(last["instances"]) in (0, _PAGE) and _count(last) > len(found):
            raise self._http.wrong_shape(f"some of {_count(last)} instances")
        return list(found.values())

    async def destroy(self, session_id: str) -> bool:
        """Ask for its end; whether the account had such an instance."""
        path = f"{V0}/instances/{segment(session_id)}/"
        answer = await self._http.change("DELETE", path, body={})
        if errors.no_instance(answer):
            return False
        self._http.data(answer, f"destroy instance {session_id}")
        return True

    def _read(self, row: object) -> InstanceWire:
        """Strict, unlike the offers: a row that were dropped could be a machine that costs
        money. All but its id is put up with."""
        try:
            return InstanceWire.model_validate(row)
        except ValidationError:
            raise self._http.wrong_shape("the id of an instance") from None


def segment(session_id: str) -> str:
    """An instance's id as part of a path. Raises SessionGone for what is none."""
    if not is_session_id(session_id) or not session_id.isdigit():
        raise SessionGone(
            f"{one_line(session_id, 80)} is not the id of a Vast.ai instance",
            "`gdl-tui sessions` shows what there is",
        )
    return session_id


def newest_first(sessions: list[Session]) -> list[Session]:
    return sorted(sessions, key=lambda s: int(s.id), reverse=True)


def _count(data: Mapping[str, Any]) -> int:
    """How many the service says that there are, 0 where it does not say."""
    total = data.get("total_instances")
    return total if isinstance(total, int) and not isinstance(total, bool) else 0
