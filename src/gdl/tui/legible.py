"""Text that can be read: whatever colours a theme or a log has, there is contrast enough between a
character and what is behind it."""

from __future__ import annotations

import re
from functools import lru_cache

from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter

LEAST_CONTRAST = 4.5
"""WCAG 2.2, success criterion 1.4.3 (AA): between text and its background."""
_STEPS = 8
_READ = re.compile(r"[^\s\u2500-\u259f\u2800-\u28ff]")
"""What is read as a character. Lines, blocks and dots of charts are graphics, and keep their
colours."""
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)

Rgb = tuple[int, int, int]


def luminance(colour: Rgb) -> float:
    """Relative luminance, 0 (black) to 1 (white), as WCAG 2.2 defines it for sRGB."""
    red, green, blue = (_linear(part / 255) for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def contrast(one: Rgb, other: Rgb) -> float:
    """Contrast ratio, 1 (none) to 21 (black on white), as WCAG 2.2 defines it."""
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def legible(text: Rgb, behind: Rgb) -> Rgb:
    """The text's colour where it can be read on what is behind it; else the nearest one that can
    be, on the way to white or to black."""
    if contrast(text, behind) >= LEAST_CONTRAST:
        return text
    ways = (_WHITE, _BLACK) if luminance(text) >= luminance(behind) else (_BLACK, _WHITE)
    # One of both always has 4.58 at least.
    end = next(way for way in ways if contrast(way, behind) >= LEAST_CONTRAST)
    little, much = 0.0, 1.0
    for _ in range(_STEPS):
        half = (little + much) / 2
        if contrast(_mixed(text, end, half), behind) >= LEAST_CONTRAST:
            much = half
        else:
            little = half
    return _mixed(text, end, much)


def _mixed(one: Rgb, other: Rgb, share: float) -> Rgb:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


class Legible(LineFilter):
    """Applied to each line as the last of all filters, when all colours are known. A theme of the
    terminal's own colours is left as it is: nobody knows what they look like."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        return [
            segment
            if (style := segment.style) is None or _READ.search(segment.text) is None
            else Segment(segment.text, _legible_style(style, background.rgb), segment.control)
            for segment in segments
        ]


@lru_cache(4096)
def _legible_style(style: Style, background: Rgb) -> Style:
    text = style.color.triplet if style.color is not None else None
    if text is None:
        return style
    behind = background
    if style.bgcolor is not None:
        if style.bgcolor.triplet is None:
            return style
        behind = style.bgcolor.triplet
    front, back = (behind, text) if style.reverse else (text, behind)
    told = legible(front, back)
    if told == front:
        return style
    colour = RichColor.from_rgb(*told)
    return style + (Style(bgcolor=colour) if style.reverse else Style(color=colour))
