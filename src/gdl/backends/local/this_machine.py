"""What this machine has: GPUs or processors, memory, disk."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import os
import shutil
from pathlib import Path

from gdl.domain.findings import Finding
from gdl.domain.text import one_line

_NVIDIA_SMI_S = 5.0
_MIN_FREE_GB = 10


def check_disk(root: Path) -> Finding:
    place = root
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        return Finding(
            "data folder", "fail", f"{one_line(place)} cannot be written", "set GDL_DATA_DIR"
        )
    free = shutil.disk_usage(place).free / 1e9
    status, hint = ("ok", "") if free >= _MIN_FREE_GB else ("warn", "an engine may need 10 GB")
    return Finding("disk", status, f"{free:.0f} GB free for {one_line(root)}", hint)


async def look_for_gpus() -> tuple[str, int, float]:
    """(name, GPUs, GB of VRAM each). Without a working nvidia-smi: the processor, 0, 0."""
    rows = []
    for row in csv.reader((await _ask_nvidia_smi()).splitlines()):
        with contextlib.suppress(ValueError, IndexError):
            rows.append((one_line(row[0], 60), float(row[1]) / 1024))
    if rows:
        return rows[0][0], len(rows), round(min(vram for _, vram in rows), 1)
    ram = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    cores = os.cpu_count() or 1
    return f"CPU ({cores} {'core' if cores == 1 else 'cores'}, {ram:.0f} GB)", 0, 0.0


async def _ask_nvidia_smi() -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    asked = ("--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
    try:
        child = await asyncio.create_subprocess_exec(
            program, *asked, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(_NVIDIA_SMI_S):
            out, _ = await child.communicate()
    except TimeoutError:
        return ""
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    return out.decode(errors="replace") if child.returncode == 0 else ""
