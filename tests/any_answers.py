"""Answers of any kind, as no well-behaved service gives them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**30, max_value=10**400)
    | st.floats()
    | st.text(max_size=20)
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


def bodies(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields, of which each may be anything, or rows of the like."""
    fields = st.sampled_from(names)
    rows = st.lists(st.dictionaries(fields, _VALUES), max_size=3)
    return st.dictionaries(fields, _VALUES | rows)
