"""The style sheets, parsed once."""

from __future__ import annotations

from textual.css.stylesheet import Stylesheet


class ParsedStyles(Stylesheet):
    """Textual has all of them parsed again whenever a main screen is shown for the first time, and
    by every new theme. Only new variables change what they say."""

    def __init__(self, variables: dict[str, str]) -> None:
        super().__init__(variables=variables)
        self._given = dict(variables)

    def set_variables(self, variables: dict[str, str]) -> None:
        if variables != self._given:
            self._given = dict(variables)
            super().set_variables(variables)

    def reparse(self) -> None:
        """What is parsed already comes out of the cache, which new variables have emptied."""
        self.parse()
