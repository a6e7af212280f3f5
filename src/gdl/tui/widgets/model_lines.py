"""Models to choose from, a line each."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from gdl.orchestrator.api.model_views import ModelRow
from gdl.presentation.hardware import gigabytes
from gdl.presentation.lines import plain
from gdl.presentation.words import short_count

_SIZE, _GATED = 7, 7
_NARROW = 80
"""Columns below which names and licences are cut sooner."""


def _columns(width: int) -> tuple[int, int, int]:
    """Of the name, the downloads and the licence."""
    return (23, 7, 10) if width < _NARROW else (36, 10, 12)


def heading(width: int) -> Text:
    """Above the lines."""
    name, downloads, licence = _columns(width)
    text = Text(no_wrap=True, overflow="ellipsis")
    many = "Downloads" if width >= _NARROW else "Downl."
    text.append(f"{'Model':<{name}}{'Files':>{_SIZE}}{many:>{downloads}} ")
    text.append(f"{'Licence':<{licence + 1}}{'Token':<{_GATED}}On 24 GB")
    return text


def line(row: ModelRow, width: int) -> Text:
    """What is known of it. width: columns there are."""
    name, downloads, licence = _columns(width)
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(_cell(row.alias, name - 1), "bold")
    size = "-" if row.size_gb is None else gigabytes(row.size_gb)
    many = "-" if row.downloads is None else short_count(row.downloads)
    text.append(f" {size:>{_SIZE}}{many:>{downloads}} ")
    text.append(f"{_cell(row.license or '-', licence)} ", "dim")
    text.append(f"{'needed' if row.gated else '':<{_GATED}}"[:_GATED])
    text.append(_fits(row))
    # Lists fold what is too long; their scroll bar takes two columns.
    text.truncate(width - 2, overflow="ellipsis")
    return text


def as_typed(typed: str, words: str, width: int) -> Text:
    """What is no model of the list. words: what is known of it."""
    text = Text(f"{plain(typed, 40)} ", no_wrap=True, overflow="ellipsis")
    text.append(plain(words, 200), "dim")
    text.truncate(width - 2, overflow="ellipsis")
    return text


def _fits(row: ModelRow) -> Text:
    if not row.fits:
        return Text("…" if row.told_by else "not known", "dim")
    yes = row.fits.startswith("yes")
    words = row.fits.partition(", ")[2] if yes else row.fits.removeprefix("no: ")
    return Text.assemble(("✓ ", "green") if yes else ("✗ ", "red"), plain(words, 200))


def _cell(text: str, width: int) -> str:
    shown = plain(text, 200)
    if cell_len(shown) > width:
        return set_cell_size(shown, width - 1) + "…"
    return set_cell_size(shown, width)
