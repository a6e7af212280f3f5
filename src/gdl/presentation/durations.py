"""Spans of time. Numbers are seconds."""

from __future__ import annotations

from datetime import datetime


def clock_time(seconds: float) -> str:
    """Elapsed time: "0:07", "12:30", "1:02:03"."""
    whole = max(int(seconds), 0)
    hours, rest = divmod(whole, 3600)
    minutes, secs = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"


def duration(seconds: float) -> str:
    """How long something took: "4.2 s", "1:05"."""
    return f"{seconds:.1f} s" if seconds < 60 else clock_time(seconds)


def hours_left(until: datetime, now: datetime) -> str:
    """Hours and minutes to go, which nobody takes for minutes and seconds: "0h47", "1h05"; from two
    days on "2 d 4 h", from ten on "63 d"; "now" when the time is over."""
    left = (until - now).total_seconds()
    if left <= 0:
        return "now"
    hours, minutes = divmod(int(left) // 60, 60)
    if hours < 48:
        return f"{hours}h{minutes:02}"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if days < 10 else f"{days} d"


def since(seconds: float) -> str:
    """Roughly how long ago: "40 s", "12 min", "3 h"."""
    if seconds < 120:
        return f"{int(max(seconds, 0))} s"
    return f"{int(seconds // 60)} min" if seconds < 7200 else f"{int(seconds // 3600)} h"


def age(seconds: float) -> str:
    """How old data is: "just now", "42 s old", "5 min old", "3 h old"."""
    return "just now" if seconds < 2 else f"{since(seconds)} old"
