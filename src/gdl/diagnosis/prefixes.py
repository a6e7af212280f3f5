"""What stands before a line's own words: time, level, process, container, logger, one around the
other and in any number."""

from __future__ import annotations

import json
import re

from gdl.diagnosis.records import Level, Line
from gdl.domain.text import flat

LINE = 4000
"""Characters of a line that are looked at."""
_TIME = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[ ]?[+-]\d\d:?\d\d)?"
_LEVELS = r"TRACE|DEBUG|VINFO|VVINFO|INFO|NOTICE|WARN|WARNING|ERROR|ERR|SEVERE|CRITICAL|FATAL|PANIC"
_PREFIXES = tuple(
    re.compile(pattern)
    for pattern in (
        # Terminals' clocks and containers: compose, kubectl --prefix, CRI, kubectl --timestamps.
        r"(?P<stream>[A-Za-z][\w.-]*-\d+) +\| ?",
        r"\[(?P<stream>pod/[^\]\s]{1,200})\] ?",
        rf"(?P<time>{_TIME}) (?:stdout|stderr) [FP] ?",
        # SGLang's rank stands inside the brackets of its time.
        rf"\[(?P<time>{_TIME})(?: (?P<stream>[A-Z]{{2,6}}\d*(?: [A-Z]{{2,3}}\d+)*))?\] ?",
        rf"(?P<time>{_TIME}) (?P<host>[\w.-]+) (?P<unit>[\w@.:/-]+)\[\d+\]: ?",
        rf"(?P<time>{_TIME})(?: -|:)? ?",
        # journald and syslog, and the kernel's own clock.
        r"(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?) (?P<host>[\w.-]+) "
        r"(?P<unit>[\w@./:()-]+?)(?:\[\d+\])?: ?",
        r"\[ *(?P<time>\d+\.\d{6})\] ?",
        # Processes: vLLM, Ray, torchrun, NCCL.
        r"\((?P<stream>(?=[^()]*\b(?:pid|rank)=)[^()]{1,120})\) ?",
        r"\[(?P<stream>(?:rank|Rank |default|worker)? ?\d{1,4})\]:? ?(?!\s*\d+%)",
        r"(?P<stream>[\w.-]+:\d+:\d+) \[\d+\] (?=\S)",
        # vLLM's own logger: `ERROR 10-11 22:28:17 [core.py:710] `.
        rf"(?P<level>{_LEVELS}) (?P<time>\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) "
        r"(?P<source>\[[^\]\s]+:\d+\]|[^\]\s]+:\d+\]) ?",
        # glog, c10 and SkyPilot: `E1107 07:37:21.1 12 x.cc:12] `, `I 11-07 07:37:21 x.py:12] `.
        r"\[?(?P<level>[DIWEF]) ?(?P<time>\d\d-?\d\d \d\d:\d\d:\d\d(?:\.\d+)?) +(?:\d+ )?"
        r"(?P<source>[\w./-]+:\d+)\] ?",
        # Google's, Python's, loguru's, uvicorn's, logrus's.
        rf"(?P<level>{_LEVELS}) (?P<time>{_TIME}) (?:\[[\w.]+: [^\]]{{1,80}}\] )+",
        rf"(?P<level>{_LEVELS}) +(?P<source>[\w./-]+\.py:\d+):? (?:-- )?",
        rf"\| (?P<level>{_LEVELS}) *\| (?P<source>[\w.<>]+:[\w<>.]+:\d+) - ",
        rf"(?:- )?(?P<source>[A-Za-z_][\w.]*) - (?P<level>{_LEVELS}) - ",
        rf"(?P<level>{_LEVELS}):(?P<source>[A-Za-z_][\w.]*):",
        rf"(?P<level>{_LEVELS}):? {{1,6}}(?=\S)",
        rf"\[(?P<level>(?i:{_LEVELS}))\]:? ?",
        r"(?P<source>\[[\w./-]+\.py:\d+\]) ?",
        r"(?P<time>\d+\.\d\d\.\d{3}\.\d{3}) (?P<level>[DIWE]) ",
    )
)
_LOGRUS = re.compile(r'(?:time="[^"]*" )?level=(\w+) msg="((?:[^"\\]|\\.)*)"')
_MOST = 10
_BAD = {"E": Level.ERROR, "S": Level.ERROR, "C": Level.ERROR, "F": Level.ERROR, "P": Level.ERROR}
_TEXTS = ("log", "message", "MESSAGE", "msg", "textPayload")


def unwrapped(number: int, raw: str) -> Line:
    """A line without what stands before its words. Never raises, whatever the line is."""
    raw = raw[: LINE * 2].rstrip("\r\n")
    text, streams, times, source = raw, [], "", ""
    level: Level | None = None
    if raw.startswith("{") and (inside := _json(raw)) is not None:
        text, named = inside
        level = _level(named)
    text = flat(text.rstrip("\r\n"), LINE)
    whole = len(text)
    for _ in range(_MOST):
        found = next((m for pattern in _PREFIXES if (m := pattern.match(text))), None)
        if found is None:
            break
        groups = found.groupdict()
        if stream := groups.get("stream") or groups.get("unit"):
            streams.append(stream)
        level = _level(groups["level"]) if groups.get("level") else level
        source = groups.get("source") or source
        times = groups.get("time") or times
        text = text[found.end() :]
    cut = whole - len(text)
    if found := _LOGRUS.match(text):
        level, text = _level(found[1]), found[2].replace('\\"', '"').replace("\\n", " ")
    stamp = "" if level is None else f"{level} {source or times}"
    return Line(number, raw[:LINE], text, "/".join(streams), stamp, level, raw[:cut])


def _level(name: str) -> Level | None:
    if not name:
        return None
    first = name[0].upper()
    if first == "W":
        return Level.WARNING
    return _BAD.get(first, Level.INFO)


def _json(raw: str) -> tuple[str, str] | None:
    """(text, level) of a line of a Docker log file, or of a logger that writes JSON."""
    try:
        row = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, dict):
        return None
    for name in _TEXTS:
        if isinstance(row.get(name), str):
            level = row.get("level", row.get("severity", ""))
            trace = row.get("exc_info") or row.get("exception") or ""
            more = f" {trace}" if isinstance(trace, str) and trace else ""
            return row[name] + more, level if isinstance(level, str) else ""
    return None
