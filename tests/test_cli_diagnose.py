"""`gdl-tui diagnose`: any log in, a cause out, and an exit code that says whether there is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

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
    assert any(line.startswith("  > ") for line in lines)
    assert any("max_model_len" in line for line in lines)


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
    assert (b"The log is empty" in done.stdout) == (not data.strip(b"\0"))


FAILED = b"""\
(APIServer pid=1) INFO 11-01 10:00:00 [api_server.py:1] vLLM API server version 0.11.0
(EngineCore_DP0 pid=2) ERROR 11-01 10:00:01 [core.py:7] EngineCore failed to start.
(EngineCore_DP0 pid=2) ERROR 11-01 10:00:01 [core.py:7] Traceback (most recent call last):
(EngineCore_DP0 pid=2) ERROR 11-01 10:00:01 [core.py:7]   File "/venv/vllm/v1/flux.py", line 3, in f
(EngineCore_DP0 pid=2) ERROR 11-01 10:00:01 [core.py:7] OSError: [Errno 28] No space left on device
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.
"""


def test_explain_says_why_line_by_line() -> None:
    done = diagnose("-", "--explain", data=FAILED)
    said = " ".join(done.stdout.decode().split())
    assert done.returncode == 0
    assert "log: vllm 0.11.0" in said
    assert "read in line 5 of the log" in said and "raised in venv.vllm.v1.flux:f" in said
    assert "chosen: no-space, for line 5: OSError: [Errno 28]" in said
    assert "not engine-start: it says only that something failed; line 2: EngineCore" in said
    assert "what the remedy would do: take the next offer" in said
    assert "not engine-start" not in diagnose("-", data=FAILED).stdout.decode()


def test_json_carries_all_of_it() -> None:
    answer = json.loads(diagnose("-", "--json", data=FAILED).stdout)
    assert (answer["program"], answer["version"], answer["state"]) == ("vllm", "0.11.0", "failed")
    assert answer["headline"] == "OSError: [Errno 28] No space left on device"
    assert answer["lines"] == [5, 5]
    rules = {row["rule"]: row["why"] for row in answer["considered"]}
    assert rules["no-space"] == "" and "only that something failed" in rules["engine-start"]


@pytest.mark.parametrize("width", [24, 60, 200])
@pytest.mark.parametrize("text", ["x" * 3000, "word " * 700, "\u5b57" * 900, "/a/b" * 500])
def test_no_line_is_longer_than_the_screen(width: int, text: str) -> None:
    data = f"OSError: [Errno 28] No space left on device {text}\n".encode()
    command = [sys.executable, "-m", "gdl", "diagnose", "-", "--explain"]
    done = subprocess.run(
        command,
        input=data,
        capture_output=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": str(width)},
    )
    assert done.returncode == 0
    assert max(cell_len(line) for line in done.stdout.decode().splitlines()) <= width


def test_several_programs_in_one_file_are_told_apart() -> None:
    fine = b"ssh: connect to host 203.0.113.7 port 22: Connection refused\n"
    retried = b"error: Request failed after 3 retries\n  cause: Connection refused (os error 111)\n"
    ssh = json.loads(diagnose("-", "--json", data=fine).stdout)
    assert ssh["program"] == "ssh"
    uv = json.loads(diagnose("-", "--json", data=retried).stdout)
    assert uv["program"] == "uv" and "ssh" not in uv["rule"]
    server = diagnose("-", "--json", data=FAILED + fine)
    assert json.loads(server.stdout)["rule"] == "no-space"
