"""Names and values, one below the other."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

Fields = Sequence[tuple[str, Text | str]]


def fields_table(fields: Fields) -> Table:
    """Names on the left, values on the right, wrapped; nothing is read as markup."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields:
        table.add_row(Text(name, "dim"), value if isinstance(value, Text) else Text(value))
    return table


def two_columns(fields: Fields) -> Table:
    """The same in two columns of equal width, the first half on the left."""
    half = -(-len(fields) // 2)
    grid = Table.grid(padding=(0, 4, 0, 0), expand=True)
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(fields_table(fields[:half]), fields_table(fields[half:]))
    return grid
