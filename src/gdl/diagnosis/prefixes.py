"""What stands before a line's own words: time, level, process, container, logger, one around the
other and in any number."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from gdl.diagnosis.records import Level, Line
from gdl.domain.text import flat

LINE = 4000
"""Characters of a line that are looked at."""
_TIME = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[ ]?[+-]\d\d:?\d\d)?"
_LEVELS = r"TRACE|DEBUG|VINFO|VVINFO|INFO|NOTICE|WARN|WARNING|ERROR|ERR|SEVERE|CRITICAL|FATAL|PANIC"
_PREFIXES = (
    # Terminals' clocks and containers: compose, kubectl --prefix, CRI, kubectl --timestamps.
    ("Aa", r"(?P<stream>[A-Za-z][\w.-]*-\d+|[a-z][a-z0-9_.-]{1,40}) +\| ?"),
    ("[", r"\[(?P<stream>pod/[^\]\s]{1,200})\] ?"),
    ("0", rf"(?P<time>{_TIME}) (?:stdout|stderr) [FP] ?"),
    # SGLang's rank stands inside the brackets of its time.
    ("[", rf"\[(?P<time>{_TIME})(?: (?P<stream>[A-Z]{{2,6}}\d*(?: [A-Z]{{2,3}}\d+)*))?\] ?"),
    ("0", rf"(?P<time>{_TIME}) (?P<host>[\w.-]+) (?P<unit>[\w@.:/-]+)\[\d+\]: ?"),
    ("0", rf"(?P<time>{_TIME})(?: -|:)? ?"),
    # journald and syslog, and the kernel's own clock.
    (
        "A",
        r"(?P<time>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?) (?P<host>[\w.-]+) "
        r"(?P<unit>[\w@./:()-]+?)(?:\[\d+\])?: ?",
    ),
    ("[", r"\[ *(?P<time>\d+\.\d{6})\] ?"),
    # Processes: vLLM, Ray, torchrun, NCCL.
    ("(", r"\((?P<stream>(?=[^()]*\b(?:pid|rank)=)[^()]{1,120})\) ?"),
    ("[", r"\[(?P<stream>(?:rank|Rank |default|worker)? ?\d{1,4})\]:? ?(?!\s*\d+%)"),
    ("0Aa", r"(?P<stream>[\w.-]+:\d+:\d+) \[\d+\] (?=\S)"),
    # vLLM's own logger: `ERROR 10-11 22:28:17 [core.py:710] `.
    (
        "A",
        rf"(?P<level>{_LEVELS}) (?P<time>\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) "
        r"(?P<source>\[[^\]\s]+:\d+\]|[^\]\s]+:\d+\]) ?",
    ),
    # glog, c10 and SkyPilot: `E1107 07:37:21.1 12 x.cc:12] `, `I 11-07 07:37:21 x.py:12] `.
    (
        "[A",
        r"\[?(?P<level>[DIWEF]) ?(?:(?P<time>\d?\d-?\d\d \d\d:\d\d:\d\d(?:\.\d+)?) +(?:\d+ )?)?"
        r"(?P<source>[\w./-]+:\d+)\] ?",
    ),
    # Google's, Python's, loguru's, uvicorn's.
    ("A", rf"(?P<level>{_LEVELS}) (?P<time>{_TIME}) (?:\[[\w.]+: [^\]]{{1,80}}\] )+"),
    ("A", rf"(?P<level>{_LEVELS}) +(?P<source>[\w./-]+\.py:\d+):? (?:-- )?"),
    ("|", rf"\| (?P<level>{_LEVELS}) *\| (?P<source>[\w.<>]+:[\w<>.]+:\d+) - "),
    ("-Aa", rf"(?:- )?(?P<source>[A-Za-z_][\w.]*) - (?P<level>{_LEVELS}) - "),
    ("A", rf"(?P<level>{_LEVELS}):(?P<source>[A-Za-z_][\w.]*):"),
    ("A", rf"(?P<level>{_LEVELS}):? {{1,6}}(?=\S)"),
    ("[", rf"\[(?P<level>(?i:{_LEVELS}))\]:? ?"),
    ("[", r"(?P<source>\[[\w./-]+\.py:\d+\]) ?"),
    # llama.cpp's.
    ("0", r"(?P<time>\d+\.\d\d\.\d{3}\.\d{3}) (?P<level>[DIWE]) "),
    # The steps of an image that is built.
    ("#", r"#\d+ (?P<time>\d+\.\d{1,3}) "),
    ("0", r"(?P<time>\d{1,5}\.\d{3}) (?=\S|  )"),
)
"""(what it may begin with, pattern): 0 stands for any digit, A and a for letters."""
_BY_START = {
    start: tuple(re.compile(pattern) for starts, pattern in _PREFIXES if start in starts)
    for start in "[(|-#0Aa"
}
_NONE: tuple[re.Pattern[str], ...] = ()


def _prefixes(text: str) -> tuple[re.Pattern[str], ...]:
    """Those that may stand before a text."""
    first = text[:1]
    if first.isalpha():
        first = "A" if first.isupper() else "a"
    elif first.isdigit():
        first = "0"
    return _BY_START.get(first, _NONE)


_LOGRUS = re.compile(
    r'(?:time=\S+ )?level=(\w+)(?: source=\S+)? msg="((?:[^"\\]|\\.)*)"((?: \w+=.*)?)'
)
_REPEATED = re.compile(r" \[repeated \d+x across cluster\].*$")
_MOST = 10
_PARTS = 200
_BAD = {"E": Level.ERROR, "S": Level.ERROR, "C": Level.ERROR, "F": Level.ERROR, "P": Level.ERROR}
_MORE = ("exc_info", "exception", "error", "err", "stack_trace")
_TEXTS = ("log", "message", "MESSAGE", "msg", "textPayload")


def unwrapped(number: int, raw: str) -> Iterator[Line]:
    """A line without what stands before its words; several of the same number where a JSON logger
    has put a traceback into one. Never raises, whatever the line is."""
    raw = raw[: LINE * 2].rstrip("\r\n")
    inside = _json(raw) if raw.startswith("{") else None
    if inside is None:
        yield _bare(number, raw, raw, None)
        return
    text, level = inside
    for part in text.rstrip("\r\n").split("\n")[:_PARTS]:
        yield _bare(number, raw, part, _level(level))


def _bare(number: int, raw: str, text: str, level: Level | None) -> Line:
    streams, times, source = [], "", ""
    text = flat(text, LINE)
    whole = len(text)
    for _ in range(_MOST):
        found = next((m for pattern in _prefixes(text) if (m := pattern.match(text))), None)
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
        text = f"{found[2]}{found[3]}".replace('\\"', '"').replace("\\n", " ")
        level = _level(found[1])
    text = _REPEATED.sub("", text)
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
    if (refused := _refusal(row)) is not None:
        return refused, "ERROR"
    for name in _TEXTS:
        if isinstance(row.get(name), str):
            level = row.get("level", row.get("severity", ""))
            trace = next((row[each] for each in _MORE if row.get(each)), "")
            more = f"\n{trace}" if isinstance(trace, str) and trace else ""
            return row[name] + more, level if isinstance(level, str) else ""
    return None


def _refusal(row: dict[str, object]) -> str | None:
    """What a server answers to a request that it refuses, as an error: of the OpenAI API's form,
    bare or in "error"."""
    inner = row.get("error")
    refusal = inner if isinstance(inner, dict) else row
    kind, said = refusal.get("type"), refusal.get("message")
    if isinstance(kind, str) and isinstance(said, str) and kind.lower().endswith("error"):
        return f"{kind}: {said}"
    return None
