"""The log on this computer: whole, unless the disk is full, which ends nothing else."""

from __future__ import annotations

import resource
from pathlib import Path

from gdl.orchestrator.machine.log_file import LogFile


def test_a_log_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "a.log"
    for word in (b"one ", b"two"):
        with LogFile(path) as file:
            file.write(word)
            file.flush()
            assert file.trouble() == ""
    assert path.read_bytes() == b"one two"


def test_a_full_disk_is_told_once_and_ends_nothing_else(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A limit on the size of files stands for the full disk; the kernel refuses the write.
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with LogFile(tmp_path / "a.log") as file:
            file.write(b"x" * 100_000)
            file.flush()
            assert "a.log ends here: File too large" in file.trouble()
            file.write(b"more")
            assert file.trouble() == ""
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "a.log").stat().st_size == 10


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with LogFile(tmp_path / "file" / "a.log") as file:
        file.write(b"x")
        file.flush()
        assert "a.log ends here" in file.trouble()
