"""Text from elsewhere as it may be shown: without what a terminal obeys or nobody sees."""

from __future__ import annotations

from gdl.domain.text import flat

LOG_LINE = 4000
"""Characters of a log line that are shown."""


def plain(value: object, limit: int = 2000) -> str:
    """One line of at most `limit` characters, the last one an ellipsis when something was cut.

    Line ends and tabs become blanks; those inside stay as they are, those at the ends go.
    """
    return flat(str(value), limit).strip()


def plain_line(raw: str, limit: int = LOG_LINE) -> str:
    """A log line: its blanks stay, tabs are expanded, and of a progress bar that redraws itself
    with carriage returns only the last state is left."""
    if raw.isprintable() and len(raw) <= limit:
        return raw
    if "\r" in raw:
        raw = next((part for part in reversed(raw.split("\r")) if part.strip()), "")
    return flat(raw[: limit * 4].expandtabs(4), limit)


def plain_block(text: str, limit: int = 20_000) -> str:
    """Several lines, each as `plain_line`; at most `limit` characters in all."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "\n".join(plain_line(line) for line in cut.split("\n"))
