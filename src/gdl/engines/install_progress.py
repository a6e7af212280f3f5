"""What the output of an installation says about its progress: uv, pip and docker's pull."""

from __future__ import annotations

import re
from dataclasses import replace

from gdl.engines.base import LogMark

_LONGEST = 2000
_MOST = 4000
"""Packages or layers that are kept count of; more than that is no installation."""
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_BINARY = {"": 1.0, "k": 2.0**10, "m": 2.0**20, "g": 2.0**30, "t": 2.0**40}

_TRYING = re.compile(r"^\[gdl\] trying (?P<what>.{1,100})")
_SIZE = r"\((?P<size>[\d.]+) ?(?P<unit>[kKMGT]?)(?P<binary>i?)B\)"
# uv tells of what is bigger than a megabyte, when it begins and when it is done.
_UV_BEGINS = re.compile(
    rf"^\s*Downloading (?!\S+\.(?:whl|gz|zip|metadata))(?P<name>[\w.+-]+) {_SIZE}\s*$"
)
_UV_DONE = re.compile(r"^\s*Downloaded (?P<name>[\w.+-]+)\s*$")
_UV_COUNTS = re.compile(
    r"^\s*(?P<did>Resolved|Prepared|Installed) (?P<count>\d+) packages?\b", re.IGNORECASE
)
_PIP_FETCHES = re.compile(rf"^\s*Downloading \S*?(?P<name>[^/\s]+)\.(?:whl|tar\.gz|zip) {_SIZE}")
_PIP_COLLECTS = re.compile(r"^\s*Collecting (?P<name>[\w.-]+)")
_PIP_INSTALLS = re.compile(r"^\s*Installing collected packages: (?P<names>.*)")
_LAYER = re.compile(
    r"^(?P<layer>[0-9a-f]{12}): (?P<state>Pulling fs layer|Waiting|Already exists|Downloading"
    r"|Verifying Checksum|Download complete|Extracting|Pull complete)"
)
_WEIGHTS = re.compile(r"^\[gdl\] weights: (?P<come>\d{1,9}) of (?P<all>\d{1,9}) MB$")
_DONE = {"Already exists": 1.0, "Pull complete": 1.0, "Download complete": 0.6, "Extracting": 0.7}


class InstallProgress:
    """Fed line by line; keeps what was announced and what has come. One per step."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._announced: dict[str, float] = {}
        self._done: set[str] = set()
        self._fetched = 0.0
        self._collected = 0
        self._layers: dict[str, float] = {}

    def feed(self, line: str) -> LogMark | None:
        """The mark a line makes, if any. Sizes in its text are in 10^6 or 10^9 bytes."""
        line = line[:_LONGEST]
        if found := _TRYING.match(line):
            self._begin()
            return _mark(f"trying {found['what']}", None)
        for read in (self._uv, self._pip, self._docker, _weights):
            if (mark := read(line)) is not None:
                return mark
        return None

    def _uv(self, line: str) -> LogMark | None:
        if found := _UV_BEGINS.match(line):
            if len(self._announced) < _MOST:
                self._announced[found["name"]] = _bytes(found)
            return self._downloads()
        if found := _UV_DONE.match(line):
            if found["name"] in self._announced:
                self._done.add(found["name"])
            return self._downloads()
        if found := _UV_COUNTS.match(line):
            share = {"resolved": 0.05, "prepared": 0.85, "installed": 0.98}[found["did"].lower()]
            many = "" if found["count"] == "1" else "s"
            done = 1.0 if self._announced and share > 0.5 else None
            text = f"{found['did'].lower()} {found['count']} package{many}"
            return _counted(_mark(text, share), done)
        return None

    def _downloads(self) -> LogMark:
        total = sum(self._announced.values())
        have = sum(self._announced[name] for name in self._done)
        missing = [name for name in self._announced if name not in self._done]
        if not missing:
            return _counted(_mark(f"downloaded {_size(have)}", 0.8), 1.0)
        biggest = max(missing, key=lambda name: self._announced[name])
        text = f"downloading: {_size(have)} of {_size(total)}, {biggest[:40]} is on its way"
        share = have / total if total else None
        whole = None if share is None else 0.05 + 0.75 * share
        return _counted(_mark(text, whole, total - have), share)

    def _pip(self, line: str) -> LogMark | None:
        if found := _PIP_FETCHES.match(line):
            size = _bytes(found)
            before, self._fetched = self._fetched, self._fetched + size
            so_far = f" after {_size(before)}" if before else ""
            name = found["name"].partition("-")[0][:40]
            return _mark(f"downloading {name} ({_size(size)}){so_far}", None, size)
        if found := _PIP_COLLECTS.match(line):
            self._collected += 1
            return _mark(f"collecting {found['name'][:40]} (package {self._collected})", None)
        if found := _PIP_INSTALLS.match(line):
            count = found["names"].count(",") + 1
            return _mark(f"unpacking {count} package{'' if count == 1 else 's'}", 0.85)
        return None

    def _docker(self, line: str) -> LogMark | None:
        found = _LAYER.match(line)
        if found is None:
            return None
        if len(self._layers) < _MOST or found["layer"] in self._layers:
            share = max(self._layers.get(found["layer"], 0.0), _DONE.get(found["state"], 0.0))
            self._layers[found["layer"]] = share
        complete = sum(share == 1.0 for share in self._layers.values())
        come = sum(share >= _DONE["Download complete"] for share in self._layers.values())
        count = len(self._layers)
        text = f"image: {come} of {count} layers downloaded, {complete} unpacked"
        whole = sum(self._layers.values()) / count if count else None
        mark = _counted(_mark(text, whole), whole, "image")
        return replace(mark, downloading=come < count)


def _weights(line: str) -> LogMark | None:
    found = _WEIGHTS.match(line)
    if found is None:
        return None
    come, whole = int(found["come"]) * 1e6, max(int(found["all"]), 1) * 1e6
    share = min(come / whole, 1.0)
    text = f"downloading: {_size(come)} of {_size(whole)} of the model"
    return _counted(_mark(text, share, max(whole - come, 0.0)), share, "weights")


def _mark(text: str, fraction: float | None, left: float | None = None) -> LogMark:
    return LogMark("installing", text[:120], fraction, downloading=left is not None, left=left)


def _counted(mark: LogMark, share: float | None, part: str = "packages") -> LogMark:
    """share: how far the downloads alone are; part: what they are of."""
    return mark if share is None else replace(mark, part=part, part_fraction=share)


def _bytes(found: re.Match[str]) -> float:
    units = _BINARY if found["binary"] else _UNITS
    try:
        return min(float(found["size"]) * units[found["unit"].lower()], 1e15)
    except ValueError:
        return 0.0


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 0.95e9 else f"{count / 1e6:.0f} MB"
