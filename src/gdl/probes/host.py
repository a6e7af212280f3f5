"""A first look at the machine: one shell script, one round trip."""

from __future__ import annotations

import re
import shlex

from gdl.domain.errors import SshError
from gdl.domain.models import Gpu, HostFacts
from gdl.domain.ports import CommandRunner

_BEGIN, _END = "gdl-facts-begin", "gdl-facts-end"

# Only POSIX shell and what every Linux or macOS has; each line may fail by itself.
_SCRIPT = r"""
echo gdl-facts-begin
echo "os=$(uname -s 2>/dev/null)"
echo "arch=$(uname -m 2>/dev/null)"
echo "user=$(id -un 2>/dev/null)"
echo "home=$HOME"
echo "cpus=$(getconf _NPROCESSORS_ONLN 2>/dev/null)"
echo "ram_kib=$(awk '/^MemTotal:/ {print $2}' /proc/meminfo 2>/dev/null)"
echo "ram_bytes=$(sysctl -n hw.memsize 2>/dev/null)"
echo "disk_kib=$(df -Pk "$GDL_DIR" 2>/dev/null | awk 'NR==2 {print $4}')"
for p in python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 python3; do
  # At once: a version manager's stand-ins take a third of a second each.
  { command -v "$p" >/dev/null 2>&1 && v="$("$p" -V 2>&1)" && echo "python=$v"; } &
done
wait
{ command -v uv >/dev/null 2>&1 || [ -x "$HOME/.local/bin/uv" ]; } && echo uv=1
if command -v nvidia-smi >/dev/null 2>&1; then
  echo "cuda=$(nvidia-smi 2>/dev/null | sed -n 's/.*CUDA[^:]*Version: *\([0-9.]*\).*/\1/p')"
  nvidia-smi --query-gpu=name,memory.total,compute_cap,driver_version \
    --format=csv,noheader,nounits 2>&1 | sed 's/^/gpu=/'
else
  echo "gpu_error=nvidia-smi: not found"
fi
echo gdl-facts-end
"""

_PYTHON = re.compile(r"Python (\d+\.\d+(?:\.\d+)?)")
_MAX_GPUS = 64


async def inspect_host(runner: CommandRunner, work_dir: str, *, timeout: float = 60.0) -> HostFacts:
    """What the machine is, without changing it (but for making the work folder, mode 0700).

    Raises SshError when the answer is not what the script prints: then what answers is no
    shell one can work with.
    """
    folder = shlex.quote(work_dir)
    head = f"umask 077; mkdir -p {folder} || exit 73; GDL_DIR={folder}; export GDL_DIR\n"
    result = await runner.run("/bin/sh", input=head + _SCRIPT, timeout=timeout)
    if result.exit_status == 73:
        raise SshError(
            f"cannot make the folder {work_dir} on the machine: {_last(result.stderr)}",
            "the home folder must be writable",
        )
    text = result.stdout
    if _BEGIN not in text or _END not in text:
        said = _last(result.stderr) or _last(text) or "nothing"
        raise SshError(
            f"the machine's shell does not answer as one (said: {said})",
            "a forced command or a broken image; try another machine",
        )
    return parse_facts(text.split(_BEGIN, 1)[1].split(_END, 1)[0])


def parse_facts(text: str) -> HostFacts:
    """The script's `key=value` lines to facts; what cannot be read is left at zero or empty."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, found, value = line.partition("=")
        if found:
            values.setdefault(key.strip(), []).append(value.strip()[:200])

    def first(key: str) -> str:
        return values.get(key, [""])[0]

    gpus, driver, gpu_error = _gpus(values.get("gpu", []))
    ram_gib = _number(first("ram_kib")) / 2**20 or _number(first("ram_bytes")) / 2**30
    pythons = {m.group(1) for v in values.get("python", []) if (m := _PYTHON.search(v))}
    return HostFacts(
        os=first("os"),
        arch=first("arch"),
        cpu_count=int(_number(first("cpus"))),
        ram_gib=round(ram_gib, 1),
        disk_free_gib=round(_number(first("disk_kib")) / 2**20, 1),
        pythons=tuple(sorted(pythons, key=_version, reverse=True)),
        gpus=gpus,
        driver=driver,
        cuda=first("cuda"),
        gpu_error="" if gpus else (gpu_error or first("gpu_error")),
        has_uv=first("uv") == "1",
        home=first("home"),
        user=first("user"),
    )


def _gpus(rows: list[str]) -> tuple[tuple[Gpu, ...], str, str]:
    """(GPUs, driver version, what nvidia-smi said instead of a table)."""
    gpus: list[Gpu] = []
    driver, said = "", ""
    for row in rows[:_MAX_GPUS]:
        cells = [cell.strip() for cell in row.split(",")]
        if len(cells) == 4 and _number(cells[1]) > 0:
            gpus.append(Gpu(cells[0], int(_number(cells[1])), cells[2]))
            driver = cells[3]
        elif row and not said:
            said = row
    return tuple(gpus), driver, said


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""
