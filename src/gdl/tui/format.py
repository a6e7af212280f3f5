"""Words, numbers and marks as the screens show them. Remote text becomes plain here."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from gdl.domain.text import flat

if TYPE_CHECKING:
    from gdl.domain.deployment import AttemptState
    from gdl.domain.offers import Offer
    from gdl.domain.summary import AttemptSummary

_LINE_LIMIT = 4000


def plain(text: str, limit: int = 200) -> str:
    """One line of harmless text: no control, escape or direction characters; at most `limit`
    characters, the last one an ellipsis when something was cut."""
    return flat(text, limit)


def plain_line(raw: str) -> str:
    """A log line as it may be shown: as `plain`, tabs expanded, and of a progress bar that
    redraws itself with carriage returns only the last state."""
    if raw.isprintable() and len(raw) <= _LINE_LIMIT:
        return raw
    if "\r" in raw:
        raw = next((part for part in reversed(raw.split("\r")) if part.strip()), "")
    return flat(raw[: _LINE_LIMIT * 4].expandtabs(4), _LINE_LIMIT)


def plain_block(text: str, limit: int = 20_000) -> str:
    """Several lines of harmless text, line by line as `plain_line`; at most `limit` characters."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "\n".join(plain_line(line) for line in cut.split("\n"))


def price(per_hour: float) -> str:
    """Dollars an hour: "$0.131", "$12.50", "free"."""
    if per_hour <= 0:
        return "free"
    if per_hour >= 100:
        return f"${per_hour:.0f}"
    return f"${per_hour:.3f}" if per_hour < 10 else f"${per_hour:.2f}"


def money(dollars: float) -> str:
    return f"${dollars:.2f}"


def clock_time(seconds: float) -> str:
    """Elapsed time: "0:07", "12:30", "1:02:03"."""
    whole = max(int(seconds), 0)
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"


def hours_left(until: datetime, now: datetime) -> str:
    """Hours and minutes to go, "0:47"; "now" when the time is over."""
    left = until - now
    if left <= timedelta(0):
        return "now"
    minutes = int(left.total_seconds()) // 60
    return f"{minutes // 60}:{minutes % 60:02}"


def age(seconds: float) -> str:
    """How old data is: "just now", "42 s old", "5 min old"."""
    if seconds < 2:
        return "just now"
    if seconds < 120:
        return f"{int(seconds)} s old"
    return f"{int(seconds // 60)} min old"


def gpu_name(name: str) -> str:
    """Shorter: without the maker's name."""
    return plain(name, 60).removeprefix("NVIDIA ").removeprefix("GeForce ").strip()


def gpu(item: Offer | AttemptState | AttemptSummary) -> str:
    """ "RTX 4090", "2x A100", or "CPU only"."""
    if item.gpu_count <= 0:
        return "CPU only"
    name = gpu_name(item.gpu_name) or "GPU"
    return name if item.gpu_count == 1 else f"{item.gpu_count}x {name}"


def gigabytes(value: float) -> str:
    return f"{value:.0f} GB" if value >= 10 or value == int(value) else f"{value:.1f} GB"


def milliseconds(value: float | None) -> str:
    """ "12 ms", "1.20 s", or a dash when it was not measured."""
    if value is None:
        return "-"
    if value < 10:
        return f"{value:.1f} ms"
    return f"{value:.0f} ms" if value < 1000 else f"{value / 1000:.2f} s"


def sentence(words: str) -> str:
    """With a capital at the beginning; the rest as it is."""
    return words[:1].upper() + words[1:]


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
