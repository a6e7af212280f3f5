"""The installed command in a process of its own: start-up, usage, the two streams."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

ALTERNATE = b"\x1b[?1049h"
"""The switch to the alternate screen, with which the terminal UI begins."""
HEAVY = ("textual", "asyncssh", "httpx", "pydantic_settings", "gdl.settings", "gdl.bootstrap")


def gdl(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {
        **os.environ,
        "GDL_DATA_DIR": str(tmp_path / "data"),
        "GDL_SHOPPER_URL": "http://127.0.0.1:9",
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "COLUMNS": "100",
        **environment,
    }
    return subprocess.run(
        [sys.executable, "-m", "gdl", *arguments],
        capture_output=True,
        text=True,
        env=env,
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def shell(tmp_path: Path, line: str) -> subprocess.CompletedProcess[str]:
    """The command with a shell's redirections."""
    return subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -m gdl {line}'],
        capture_output=True,
        text=True,
        env={**os.environ, "GDL_DATA_DIR": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
        | {"HF_HUB_OFFLINE": "1"},
        timeout=60,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def imported(stderr: str) -> set[str]:
    """The modules that `-X importtime` names."""
    lines = (line for line in stderr.splitlines() if line.startswith("import time:"))
    return {line.rsplit("|", 1)[1].strip() for line in lines}


def test_version_imports_next_to_nothing(tmp_path: Path) -> None:
    done = gdl(tmp_path, "--version", PYTHONPROFILEIMPORTTIME="1")
    assert re.fullmatch(r"gdl-tui 0\.1\.0( \([0-9a-f]{9}\))?\n", done.stdout)
    assert done.returncode == 0
    modules = imported(done.stderr)
    assert "gdl" in modules
    assert not modules & {"typer", "pydantic", "asyncio", "dataclasses", "gdl.cli", *HEAVY}


def test_help_imports_nothing_heavy_and_tells_commands_and_exit_codes(tmp_path: Path) -> None:
    done = gdl(tmp_path, "--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    assert not imported(done.stderr) & {"rich", *HEAVY}
    for command in (
        *("offers", "deploy", "sessions", "attach", "destroy", "extend", "costs", "spending"),
        *("ledger", "health", "bench", "models", "doctor", "exclusions", "diagnose", "bundle"),
    ):
        assert f"\n  {command} " in done.stdout
    assert "9  a machine may still be billing" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("command", "without"),
    [
        (
            ("models",),
            {"asyncssh", "httpx", "sqlite3", "gdl.bootstrap", "gdl.orchestrator.service"},
        ),
        (("models", "show", "qwen3-8b"), {"asyncssh", "httpx", "sqlite3", "gdl.bootstrap"}),
        (("benchmarks", "--backend", "local"), {"asyncssh", "httpx"}),
        (("sessions", "--backend", "local"), {"asyncssh", "httpx"}),
        (("offers", "--json", "--backend", "local"), {"asyncssh", "httpx"}),
        (("offers", "--json"), {"asyncssh"}),
    ],
)
def test_a_command_imports_what_it_uses(
    command: tuple[str, ...], without: set[str], tmp_path: Path
) -> None:
    chosen = {"GDL_BACKEND": command[-1]} if "--backend" in command else {}
    words = command[:-2] if chosen else command
    done = gdl(tmp_path, *words, PYTHONPROFILEIMPORTTIME="1", **chosen)
    modules = imported(done.stderr)
    assert "gdl.settings" in modules, done.stderr[-500:]
    never = {
        # Of these, httpx's own command line would import the first.
        *("rich", "textual"),
        # What is done on machines and at endpoints.
        *("gdl.orchestrator.run.attempt", "gdl.ssh.connection", "gdl.loadgen.load"),
    }
    assert not modules & (never | without)


@pytest.mark.parametrize(
    "arguments",
    [(), ("demo",), ("demo", "--offers", "100"), ("--backend", "local"), ("--read-only",)],
)
def test_the_first_frame_is_drawn_before_what_works_behind_it_is_imported(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    ours, far = pty.openpty()
    env = {**os.environ, "GDL_DATA_DIR": str(tmp_path / "data"), "TERM": "xterm-256color",
           "GDL_SHOPPER_URL": "http://127.0.0.1:9", "XDG_CONFIG_HOME": str(tmp_path / "config"),
           "PYTHONPROFILEIMPORTTIME": "1"}  # fmt: skip
    program = subprocess.Popen(
        [sys.executable, "-m", "gdl", *arguments], stdin=far, stdout=far, stderr=far, env=env,
        start_new_session=True,
    )  # fmt: skip
    os.close(far)
    written = b""
    try:
        while b"import time" not in written.partition(ALTERNATE)[2]:
            assert select.select([ours], [], [], 30)[0], "it never drew"
            written += os.read(ours, 65536)
    finally:
        program.terminate()
        os.close(ours)  # what it still writes must not wait for a reader
        program.wait(20)
    before = imported(written.partition(ALTERNATE)[0].decode(errors="replace"))
    assert "gdl.tui.boot" in before
    assert not before & {
        *HEAVY[1:],
        *("typer", "pydantic", "gdl.cli.app"),
        "gdl.domain.events",
        "gdl.orchestrator.api.ports",
        "gdl.tui.store",
    }


def test_wrong_usage_ends_with_2_and_one_message(tmp_path: Path) -> None:
    done = gdl(tmp_path, "deploy", "m", "--hours", "13")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "--hours" in done.stderr
    assert "Traceback" not in done.stderr
    assert "╭" not in done.stderr


def test_an_unreachable_shopper_is_two_lines_and_exit_7(tmp_path: Path) -> None:
    done = gdl(tmp_path, "offers")
    assert done.returncode == 7
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first.startswith("error: ") and "127.0.0.1:9" in first
    assert second.startswith("hint: ")


def test_an_unreachable_shopper_is_one_object_with_json(tmp_path: Path) -> None:
    done = gdl(tmp_path, "sessions", "--json")
    assert done.returncode == 7
    assert len(done.stderr.splitlines()) == 2
    answer = json.loads(done.stdout)
    assert answer["type"] == "error"
    assert answer["kind"] == "backend_unreachable"
    assert set(answer) == {"type", "kind", "message", "hint"}


def test_without_a_terminal_the_ui_says_so(tmp_path: Path) -> None:
    done = gdl(tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the terminal UI needs a terminal\n")


def test_an_empty_host_is_a_mistake_and_not_another_backend(tmp_path: Path) -> None:
    done = gdl(tmp_path, "deploy", "tinyllama", "--host", "", "--destroy")
    assert done.returncode == 2 and "--host: it is empty" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ALL_PROXY", "socks5://u:hidden@127.0.0.1:9", "SOCKS proxy"),
        ("HTTPS_PROXY", "foo://u:hidden@127.0.0.1:9", "a proxy"),
        ("SSL_CERT_FILE", "/nowhere/hidden.pem", "certificates"),
    ],
)
def test_a_proxy_or_certificates_of_no_use_are_told(
    variable: str, value: str, words: str, tmp_path: Path
) -> None:
    wanted = {"GDL_SHOPPER_URL": "https://shopper.invalid", variable: value}
    done = gdl(tmp_path, "offers", **wanted)
    assert done.returncode == 7
    first, second = done.stderr.splitlines()
    assert first.startswith("error: the environment names") and words in first
    assert second.startswith("hint: ") and "hidden" not in done.stderr


@pytest.mark.parametrize("words", ["--version", "--help", "offers -h", "models"])
def test_a_full_disk_behind_stdout_is_told_in_two_lines(words: str, tmp_path: Path) -> None:
    done = shell(tmp_path, f"{words} >/dev/full")
    assert done.returncode == 1
    first, second = done.stderr.splitlines()[-2:]
    assert first.startswith("error: cannot write the output") and second.startswith("hint: ")
    assert "Exception" not in done.stderr and "internal error" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_nobody_who_reads(closed: str, tmp_path: Path) -> None:
    """As some schedulers start programs."""
    done = shell(tmp_path, f"models --json {closed}")
    assert done.returncode == 0 and "error" not in done.stderr
    assert ("alias" in done.stdout) == (closed == "2>&-")


def test_a_data_folder_of_no_use_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = gdl(tmp_path, "exclusions", GDL_DATA_DIR=str(tmp_path / "file" / "data"))
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first.startswith("error: the data folder") and first.endswith("Not a directory")
    assert second.startswith("hint: ")


def test_shells_get_their_completions(tmp_path: Path) -> None:
    # A shell starts the program without arguments; the words are in the environment.
    asked = {"_GDL_TUI_COMPLETE": "complete_bash", "COMP_WORDS": "gdl-tui de", "COMP_CWORD": "1"}
    done = gdl(tmp_path, **asked)
    assert (done.returncode, done.stderr) == (0, "")
    assert {"deploy", "destroy", "demo"} == set(done.stdout.split())
    # Which shell it is would be found out from the processes above this one.
    told = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    scripts = {
        shell: gdl(tmp_path, "--show-completion", shell, **told)
        for shell in ("bash", "zsh", "fish")
    }
    for shown in scripts.values():
        assert shown.returncode == 0 and "_GDL_TUI_COMPLETE" in shown.stdout
    assert len({shown.stdout for shown in scripts.values()}) == 3


def test_what_is_wrong_with_the_one_machine_is_all_that_is_said(tmp_path: Path) -> None:
    done = gdl(tmp_path, "deploy", "tinyllama", "--host", "root@127.0.0.1:9", "--destroy")
    assert done.returncode == 4
    error, hint = done.stderr.splitlines()[-2:]
    assert error == "error: root@127.0.0.1:9 refuses the connection"
    assert hint.startswith("hint: ") and "exclu" not in hint
