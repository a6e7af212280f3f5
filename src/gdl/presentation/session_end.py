"""What ends a session that nobody ends."""

from __future__ import annotations

UNTIL_TERM = "it costs until it is released; that end is its host's own term, not that of --hours"
"""Where only the marketplace's listing ends it."""
