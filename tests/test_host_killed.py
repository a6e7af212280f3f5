"""What the kernel says of processes that it ended for want of memory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from gdl.host.killed import OutOfMemory, out_of_memory, parse
from local_shell import Shell

TOLD = "Out of memory: Killed process 4242 (VLLM::EngineCor) total-vm:41234567kB, anon-rss:1kB"
UPTIME = Path("/proc/uptime")


def shell(folder: Path, *lines: str) -> Shell:
    """A shell with the usual tools, and a dmesg that says `lines`."""
    for name in ("grep", "tail", "awk", "sed", "cat"):
        (folder / name).symlink_to(shutil.which(name) or os.devnull)
    text = "\n".join(lines)
    (folder / "dmesg").write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\n")
    (folder / "dmesg").chmod(0o755)
    return Shell(folder)


@pytest.mark.skipif(not UPTIME.exists(), reason="needs /proc")
async def test_only_what_was_said_just_now_counts(tmp_path: Path) -> None:
    up_s = float(UPTIME.read_text().split()[0])
    now, old = f"[{up_s:12.6f}] {TOLD}", f"[{up_s - 125:12.6f}] {TOLD.replace('4242', '17')}"
    found = await out_of_memory(shell(tmp_path, old, now, "[9] usb 1-1: new device"))
    assert found.lines == (" ".join(now.split()),)
    assert found.since(None) == found.lines


async def test_a_machine_that_tells_nothing_is_no_evidence(tmp_path: Path) -> None:
    found = await out_of_memory(shell(tmp_path))
    assert found.lines == () and found.since(found) == ()


def test_a_containers_count_is_evidence_when_it_rose() -> None:
    before, after = parse("C 3\n"), parse("C 4\n")
    assert after.since(before) and "rose by 1" in after.since(before)[0]
    assert before.since(before) == () and after.since(None) == () == after.since(OutOfMemory())
    assert parse("C x\nK\nnonsense") == OutOfMemory()
