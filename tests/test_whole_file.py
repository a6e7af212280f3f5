"""A file is replaced as a whole, or stays as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gdl.whole_file import write_whole


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_the_text_and_the_mode_are_what_was_asked_for(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "notes"
    file.write_text("before")
    before = os.umask(0o077)
    try:
        write_whole(file, "one\r\ntwo ü\n", mode=mode, sync=True)
    finally:
        os.umask(before)
    assert file.read_bytes() == "one\r\ntwo ü\n".encode()
    assert file.stat().st_mode & 0o777 == mode


def test_whoever_had_it_open_reads_the_text_of_before(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    write_whole(file, "before")
    with file.open() as reader:
        write_whole(file, "after")
        assert reader.read() == "before"
    assert file.read_text() == "after"


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / ("n" * 255)
    write_whole(file, "before")
    with pytest.raises(UnicodeError):
        write_whole(file, "after \udcff")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        write_whole(tmp_path / "folder", "a folder is no file")
    with pytest.raises(OSError):
        write_whole(tmp_path / "nowhere" / "notes", "there is no such folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", file.name]
    assert file.read_text() == "before"
