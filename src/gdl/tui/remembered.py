"""What the terminal UI was left with, for the next start: the theme, the sizes of panes, the model
and its load."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gdl.whole_file import write_whole

if TYPE_CHECKING:
    # Not needed for the first frame.
    from gdl.domain.offers import OfferQuery

_MOST_BYTES = 65_536
_MOST_CELLS = 1000
_LONGEST = 300
"""Characters of a model's name, as in its dialog."""


class Remembered:
    """A small file in the data folder; one that is not there, or wrong, says nothing. `theme` is
    "" where none was chosen; `panes` has the sizes that were, in cells, by the pane's name."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ui.json"
        told = self._read()
        self.theme = _text(told.get("theme"))
        panes = told.get("panes")
        self.panes: dict[str, int] = _sizes(panes) if isinstance(panes, dict) else {}
        model = told.get("model")
        self._model: dict[str, Any] = model if isinstance(model, dict) else {}

    def _read(self) -> dict[str, Any]:
        import json

        with (
            contextlib.suppress(OSError, ValueError, RecursionError),
            self._path.open("rb") as file,
        ):
            told = json.loads(file.read(_MOST_BYTES))
            if isinstance(told, dict):
                return told
        return {}

    def wanted(self, usual: OfferQuery) -> OfferQuery:
        """The query with the model that was chosen last."""
        name = _text(self._model.get("name"))
        if not name:
            return usual
        return replace(
            usual,
            model=name,
            context=_number(self._model.get("context")),
            concurrency=_number(self._model.get("concurrency")),
            quantization=_text(self._model.get("quantization")),
        )

    def keep_theme(self, name: str) -> None:
        """Raises OSError."""
        self.theme = name
        self._write({"theme": name})

    def pane(self, name: str) -> int | None:
        """The size that was chosen, in cells; None where none was."""
        return self.panes.get(name)

    def keep_panes(self) -> None:
        """Raises OSError."""
        self._write({"panes": dict(self.panes)})

    def keep_model(self, query: OfferQuery) -> None:
        """Raises OSError."""
        self._model = {
            "name": query.model or "",
            "context": query.context,
            "concurrency": query.concurrency,
            "quantization": query.quantization,
        }
        self._write({"model": self._model})

    def _write(self, news: dict[str, Any]) -> None:
        """With what another run has written meanwhile; whole or not at all."""
        import json

        write_whole(self._path, json.dumps({**self._read(), **news}, indent=1))


def _text(value: object) -> str:
    return (
        value if isinstance(value, str) and len(value) <= _LONGEST and value.isprintable() else ""
    )


def _number(value: object) -> int | None:
    return value if type(value) is int and 0 < value < 10**8 else None


def _sizes(told: dict[Any, Any]) -> dict[str, int]:
    return {
        name: cells
        for name, cells in told.items()
        if _text(name) and type(cells) is int and 0 < cells <= _MOST_CELLS
    }
