"""What a server tells of itself at /metrics, as Prometheus' text.

Read by ourselves: prometheus_client's parser gives up a whole text for a line that it cannot read,
and takes a tenth of a second to import.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from gdl.domain.engine import EngineMetrics

_LINE = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{[^}]*\})?\s+(?P<value>\S+)")


def read(text: str, figures: Mapping[str, str], most_lines: int = 20_000) -> EngineMetrics:
    """Several of one name (labels) are added up; of the cache's use, a share, it is the greatest.
    Lines that cannot be read are skipped. figures: name in the text -> field."""
    found: dict[str, float] = {}
    for line in text.splitlines()[:most_lines]:
        match = _LINE.match(line)
        if match is None or (key := figures.get(match["name"])) is None:
            continue
        try:
            value = float(match["value"])
        except ValueError:
            continue
        if not math.isfinite(value):
            continue
        if key == "kv_cache":
            found[key] = max(found.get(key, 0.0), value)
        else:
            found[key] = found.get(key, 0.0) + value
    return EngineMetrics(**found)
