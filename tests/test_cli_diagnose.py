"""`gdl-tui diagnose`: any log in, a cause out, and an exit code that says whether there is one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from log_excerpts import LOGS


def diagnose(*arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "gdl", "diagnose", *arguments]
    return subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)


def test_a_known_cause_is_told_with_exit_0() -> None:
    done = diagnose(str(LOGS / "context-too-long.log"))
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "cause: The context asked for is longer than the model's own."
    assert "on the same machine: start again with --max-model-len 2048" in lines
    assert any(line.startswith("  > ") and "max_model_len" in line for line in lines)


def test_an_unknown_one_is_told_with_exit_1() -> None:
    done = diagnose("-", data=b"Traceback (most recent call last):\n  x\nOddError: seven\nbye\n")
    assert done.returncode == 1
    assert b"the program raised OddError; it says: OddError:" in done.stdout


@pytest.mark.parametrize("name", ["no-space", "ssh-key-refused", "wrong-python", "cuda-init"])
def test_any_sort_of_log_from_a_pipe_as_json(name: str) -> None:
    done = diagnose("-", "--json", data=(LOGS / f"{name}.log").read_bytes())
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["rule"], answer["known"]) == (0, name, True)
    assert answer["action"]["kind"] and answer["evidence"]


def test_a_file_that_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    for wrong in (tmp_path / "nothing", tmp_path, Path("/dev/zero")):
        done = diagnose(str(wrong))
        assert done.returncode == 2
        assert len(done.stderr.decode().splitlines()) == 2


def test_hostile_bytes_reach_no_terminal() -> None:
    done = diagnose("-", data=b"\xff\xfe\x00\x1b]0;x\x07 No space left on device \x1b[31m\x9b\n")
    assert done.returncode == 0
    assert not {0x1B, 0x07, 0x00, 0x9B} & set(done.stdout.replace(b"\xc2\x9b", b"\x9b"))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", 1),
        (b"\0" * 100_000, 1),
        (bytes(range(256)) * 400, 1),
        ("x\r\nOSError: [Errno 28] No space left on device\r\n".encode("utf-16"), 0),
    ],
    ids=["empty", "zeros", "binary", "utf-16"],
)
def test_any_file_gets_an_answer(tmp_path: Path, data: bytes, code: int) -> None:
    file = tmp_path / "a log"
    file.write_bytes(data)
    done = diagnose(str(file))
    assert done.returncode == code
    assert done.stdout.startswith(b"cause: ") and not done.stderr
