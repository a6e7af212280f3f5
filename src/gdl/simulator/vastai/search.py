"""What the stand-in for Vast.ai finds: queries `{field: {operator: value}}`, order and pages."""

from __future__ import annotations

import base64
import contextlib
import json
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from gdl.simulator.vastai.errors import VastRefusal
from gdl.simulator.wire_format import Json

MOST_ROWS = 64
"""Of one search, whatever limit it names."""
MOST_INSTANCES = 25
"""Of one page of the list of what is rented."""

Test = Callable[[Any, Any], bool]

_TEST: dict[str, Test] = {
    "eq": operator.eq,
    "neq": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "in": lambda value, wanted: value in wanted,
    "notin": lambda value, wanted: value not in wanted,
    "nin": lambda value, wanted: value not in wanted,
}
_THREE_PARTS = re.compile(r"\d+\.\d+\.\d+")
_INSTEAD = {"dph_total": "dph_base"}
"""The filter compares the price of the GPUs alone, while the order is by the whole price."""
_NO_FILTERS = ("order", "type", "limit", "allocated_storage", "disable_bundling", "select_cols")


def find(rows: Iterable[Json], query: Json) -> list[Json]:
    """The rows of a search, at most MOST_ROWS. Raises VastRefusal."""
    wanted = {name: test for name, test in query.items() if name not in _NO_FILTERS}
    # An offer is not found by its `id`, which counts bundles.
    found = [] if "id" in wanted else chosen(rows, wanted, _INSTEAD)
    ordered(found, [(str(col), str(way)) for col, way in query.get("order") or []])
    limit = query.get("limit")
    most = MOST_ROWS if not isinstance(limit, int) or limit < 1 else min(limit, MOST_ROWS)
    return found[:most]


def chosen(rows: Iterable[Json], wanted: Json, instead: Mapping[str, str]) -> list[Json]:
    """Those that pass all tests. instead: the column that is looked at in place of another. Raises
    VastRefusal for a query that is wrong in itself."""
    tests = [
        (instead.get(name, name), *read)
        for name, operators in wanted.items()
        for read in _tests(name, operators)
    ]
    return [row for row in rows if all(_passes(row.get(col), *test) for col, *test in tests)]


def _tests(name: str, operators: Any) -> Iterator[tuple[Test, Any]]:
    if not isinstance(operators, dict):
        raise VastRefusal(400, "invalid_args", f"error 400/1002: {name}: no operator")
    for kind, value in operators.items():
        if kind not in _TEST:
            raise VastRefusal(400, "invalid_args", f"error 400/1003: {name}: operator {kind}")
        test = _TEST[kind]
        if name == "driver_version":
            if not _THREE_PARTS.fullmatch(str(value)):
                raise VastRefusal(400, "invalid_args", f"error 400/1004: {name}: {value}")
            yield partial(_by_version, test), _version(value)
        else:
            yield test, value


def _passes(value: Any, test: Test, wanted: Any) -> bool:
    if isinstance(wanted, str) and isinstance(value, int | float):
        # As the official client sends them: numbers are texts, too.
        with contextlib.suppress(ValueError):
            wanted = float(wanted)
    try:
        return test(value, wanted)
    except TypeError:
        return False


def _by_version(test: Test, value: Any, wanted: Any) -> bool:
    return test(_version(value), wanted)


def _version(text: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in str(text).split(".") if part.isdigit())


def ordered(rows: list[Json], by: Sequence[tuple[str, str]]) -> None:
    """Sort in place; rows without a value come last."""
    for col, way in reversed(by):
        last = float("inf") if way != "desc" else float("-inf")

        def key(row: Json, col: str = col, last: float = last) -> Any:
            value = row.get(col)
            return last if value is None else value

        rows.sort(key=key, reverse=way == "desc")


def page(rows: Sequence[Json], limit: int, token: str) -> tuple[list[Json], str | None]:
    """Rows that are in order, after the one that a token names, and the token of the next page.
    Raises VastRefusal."""
    start = 0
    if token:
        try:
            last = int(json.loads(base64.urlsafe_b64decode(token))["id"])
        except (ValueError, KeyError, TypeError):
            raise VastRefusal(400, "invalid_args", "error 400/1010: after_token") from None
        places = [place for place, row in enumerate(rows) if row["id"] == last]
        # It may be gone by now.
        later = (place for place, row in enumerate(rows) if row["id"] > last)
        start = places[0] + 1 if places else next(later, len(rows))
    found = list(rows[start : start + limit])
    if start + limit >= len(rows) or not found:
        return found, None
    told = base64.urlsafe_b64encode(json.dumps({"id": found[-1]["id"]}).encode()).decode()
    return found, told
