"""The snapshot pictures, read: which text stands where, in which colour, on which background."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "snapshots"
_RECT = re.compile(r'<rect fill="(#\w{6})" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"')
_TEXT = re.compile(r'<text class="[\w-]+-(r\d+)" x="([\d.]+)" y="[\d.]+"[^>]*line-(\d+)\)">([^<]*)')
_FILL = re.compile(r"-(r\d+) \{ fill: (#\w{6})")
_LINE = 24.4
"""Height of a line in the renderer's own units."""

Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Run:
    """Text of one colour in one line. row: from 0."""

    row: int
    text: str
    colour: Rgb
    behind: Rgb


def rgb(text: str) -> Rgb:
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def runs(picture: Path) -> list[Run]:
    svg = picture.read_text()
    fills = {name: rgb(colour) for name, colour in _FILL.findall(svg)}
    backgrounds: dict[int, list[tuple[float, float, Rgb]]] = {}
    for colour, x, y, width in _RECT.findall(svg):
        row = round((float(y) - 1.5) / _LINE)
        backgrounds.setdefault(row, []).append((float(x), float(x) + float(width), rgb(colour)))
    found = []
    for name, x, line, text in _TEXT.findall(svg):
        row, left = int(line), float(x) + 1
        shown = html.unescape(text).replace("\xa0", " ")
        behind = next(
            (c for start, end, c in backgrounds.get(row, ()) if start <= left < end), None
        )
        if shown.strip() and behind is not None:
            found.append(Run(row, shown, fills[name], behind))
    return found
