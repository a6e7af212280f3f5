"""How fast a machine downloads: a bounded read from where packages and models come from."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable

from gdl.domain.host import CommandRunner

SECONDS = 3
"""Of the first look. A slow answer is asked again for longer before anybody decides on it."""
_BYTES = 32_000_000
_LEAST_BYTES = 200_000
"""Less than this in the whole time proves that something answered, not how fast it is."""

# Both at once share the line, as an installation and a model's download would use all of it.
# The package index is the one that uv or pip would ask; pip's parser knows its configuration files
# and its default. The model hub's file is a public one of 270 MB, so that no token is needed.
# Prints `download=BYTES SECONDS` for each that answered.
_SCRIPT = r"""
gdl_read() {
  curl -sSfL --max-time SECONDS --connect-timeout 3 -r 0-BYTES -o /dev/null \
    -w 'download=%{size_download} %{time_starttransfer} %{time_total}\n' "$1" 2>/dev/null
}
gdl_index() {
  python3 - <<'END' 2>/dev/null
from pip._internal.commands import create_command
print(create_command("install").parser.get_default_values().index_url)
END
}
gdl_packages() {
  i=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$(gdl_index)}}
  case $i in http*://*) ;; *) return;; esac
  i=${i%/}/PROJECT/
  w=$(curl -sSfL --max-time 3 -H 'Accept: text/html' "$i" 2>/dev/null \
    | sed -n 's/.*href="\([^"#]*\.whl\).*/\1/p' | tail -n 1)
  case $w in
    "") ;;
    http*://*) gdl_read "$w";;
    /*) o=${i#*://}; gdl_read "${i%%://*}://${o%%/*}$w";;
    *) gdl_read "$i$w";;
  esac
}
if command -v curl >/dev/null 2>&1; then
  PACKAGES
  { gdl_read MODEL_FILE; } &
fi
"""
_MODEL_FILE = (
    "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct/resolve/main/model.safetensors"
)


def script(project: str, seconds: int = SECONDS) -> str:
    """POSIX shell that starts the reads in the background; `wait` for them. project: whose files
    to read on the package index; "": none there."""
    text = _SCRIPT.replace("PROJECT", project)
    text = text.replace("PACKAGES", "{ gdl_packages; } &" if project else ":")
    text = text.replace("SECONDS", str(seconds)).replace("BYTES", str(_BYTES * seconds // 3))
    return text.replace("MODEL_FILE", shlex.quote(_MODEL_FILE))


def rate(rows: Iterable[str]) -> float | None:
    """10^6 bytes a second of all reads together, from "BYTES FIRST-BYTE-S END-S" each; None when
    nothing answered."""
    total = 0.0
    for row in rows:
        try:
            size, first, end = (float(word) for word in row.split())
        except ValueError:
            continue
        spent = end - first
        if math.isfinite(size) and size >= _LEAST_BYTES and 0 < spent < 3600:
            total += size / spent / 1e6
    return round(total, 1) if total else None


async def measure(runner: CommandRunner, project: str, seconds: int) -> float | None:
    """The rate over a longer time; None when nothing answers. Raises SshError."""
    done = await runner.run(
        "/bin/sh", input=f"{script(project, seconds)}wait\n", timeout=seconds + 30.0
    )
    rows = (line.partition("=")[2] for line in done.stdout.splitlines() if "download=" in line)
    return rate(rows)
