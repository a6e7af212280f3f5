"""On a machine from the command line: its server's log, and one's own ssh."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cli_support import SCENARIOS, Scripted, ScriptedLogs, ScriptedSessions, opener_of
from gdl.cli.app import run
from gdl.cli.signals import STOPPING
from gdl.domain.phase import Billing
from gdl.domain.rental import Rental
from gdl.journal.store import DeploymentRow, Journal
from gdl.orchestrator.api.views import LogPart, ShellCommand
from gdl.ssh.openssh import there_is_one
from market_support import Place, place, sim

__all__ = ["place", "sim"]

IDENT = "20260506-070809-abcdef"
NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)


class Entered(ScriptedSessions):
    """A machine that can be entered."""

    made = ShellCommand(("/usr/bin/ssh", "-t", "-i", "/a key", "--", "198.51.100.7"))

    async def shell(self, ident: str, *, enter: bool = True, rank: int = 0) -> ShellCommand:
        self._o.call(f"shell {ident} {enter}")
        return self.made


class Kept(ScriptedLogs):
    """What is left of a log."""

    def __init__(self, o: Scripted) -> None:
        self._o = o

    async def read(
        self,
        ident: str,
        *,
        last: int | None,
        follow: bool,
        tell: Callable[[str], None],
        rank: int = 0,
    ) -> AsyncIterator[LogPart]:
        self._o.call(f"log {ident} {last} {follow} {rank}")
        tell("the machine \x1b[2Jcannot be asked")
        yield LogPart("kept", "/data/log")
        yield LogPart("kept", "/data/log", ("one", "two"), "truncated")


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    monkeypatch.setenv("GDL_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    made = Scripted(SCENARIOS["destroy"])
    made.sessions, made.logs = Entered(made), Kept(made)
    return made


def gdl(scripted: Scripted, *arguments: str) -> int:
    return run(arguments, opener=opener_of(scripted))


def test_a_log_is_data_and_where_it_is_from_is_said(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gdl(scripted, "logs", "sess-1", "-n", "2", "-f") == 0
    out, err = capsys.readouterr()
    assert out == "one\ntwo\n" and "kept here: /data/log" in err and "truncated" in err
    assert "\x1b" not in err
    assert scripted.calls[0] == "log sess-1 2 True 0"
    assert gdl(scripted, "logs", "sess-1", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[1] == {
        "type": "log", "source": "kept", "path": "/data/log", "lines": ["one", "two"],
        "note": "truncated",
    }  # fmt: skip


def test_ctrl_c_is_the_usual_end_of_a_log_that_is_followed(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    class Following(ScriptedLogs):
        async def read(
            self,
            ident: str,
            *,
            last: int | None,
            follow: bool,
            tell: Callable[[str], None],
            rank: int = 0,
        ) -> AsyncGenerator[LogPart]:
            yield LogPart("machine", "/log", ("one",))
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()

    scripted.logs = Following()
    assert gdl(scripted, "logs", "sess-1", "-f", "--json") == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1 and err == ""
    assert gdl(scripted, "logs", "sess-1") != 0, "not all of it was read"
    assert "interrupted" in capsys.readouterr().err


def test_ones_own_ssh_takes_the_place_of_the_program(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Replaced(Exception):
        pass

    became: list[list[str]] = []

    def become(_path: str, words: list[str]) -> None:
        became.append(words)
        assert {signal.getsignal(number) for number in of_python} == {signal.SIG_DFL}
        raise Replaced

    monkeypatch.setattr(os, "execv", become)
    of_python = (signal.SIGPIPE, signal.SIGXFSZ)
    # All that it changes: the next test's process would be ended by one of them.
    before = {number: signal.getsignal(number) for number in (*of_python, *STOPPING)}
    try:
        gdl(scripted, "ssh", "sess-1")
        # The output goes elsewhere: it is not to be changed by a terminal there.
        gdl(scripted, "ssh", "sess-1", "--", "nvidia-smi", "-L")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert became == [
        ["/usr/bin/ssh", "-t", "-i", "/a key", "--", "198.51.100.7"],
        ["/usr/bin/ssh", "-i", "/a key", "--", "198.51.100.7", "nvidia-smi", "-L"],
    ]


def test_where_the_machine_is_part_of_the_program_ssh_is_its_child(
    scripted: Scripted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\nkill -INT {os.getpid()}\nexit $1\n")
    ssh.chmod(0o700)
    sessions = Entered(scripted)
    sessions.made = ShellCommand((str(ssh), "-t"), within=True)
    scripted.sessions = sessions
    assert gdl(scripted, "ssh", "sess-1", "--", "3") == 3
    assert scripted.calls == ["shell sess-1 True", "aclose"]
    assert gdl(scripted, "ssh", "sess-1", "--print") == 0
    out, err = capsys.readouterr()
    assert out == f"{ssh} -t\n" and "works only while a gdl-tui" in err
    assert scripted.calls[-2] == "shell sess-1 False"


def test_the_line_is_printed_for_a_shell(
    scripted: Scripted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gdl(scripted, "ssh", "sess-1", "--print") == 0
    line = capsys.readouterr().out
    assert shlex.split(line) == ["/usr/bin/ssh", "-t", "-i", "/a key", "--", "198.51.100.7"]
    assert gdl(scripted, "ssh", "sess-1", "--json", "--", "ls") == 0
    assert json.loads(capsys.readouterr().out)["argv"][-1] == "ls"
    assert gdl(scripted, "--read-only", "ssh", "sess-1") == 2
    assert "read-only: nothing is entered" in capsys.readouterr().err


def test_of_a_machine_that_is_gone_its_own_attempt_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GDL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "logs" / IDENT
    folder.mkdir(parents=True)
    for name, text in (
        ("attempt-1-install.log", "resolved 150 packages\n"),
        ("attempt-2-install.log", "installed\n"),
        ("attempt-2-engine.log", "starting\n\x1b[31mserving\n"),
        ("notes.txt", "not a log"),
    ):
        (folder / name).write_text(text)

    async def remember() -> None:
        journal = await Journal.open(tmp_path / "journal.sqlite")
        await journal.add_deployment(DeploymentRow(IDENT, NOW, "m", "local", "failed", 1))
        for attempt, session in ((1, "first-session"), (2, "second-session")):
            await journal.save(
                Rental(
                    intent_id=f"i-{attempt}",
                    deployment_id=IDENT,
                    attempt=attempt,
                    backend="local",
                    provider="local",
                    offer_id="o",
                    consumer_id="me",
                    price=0.0,
                    requested_at=NOW,
                    billing=Billing.RELEASED,
                    session_id=session,
                    released_at=NOW,
                )
            )
        await journal.aclose()

    asyncio.run(remember())
    local = ("--backend", "local")
    assert run(("logs", "second-session", *local)) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "starting" and "serving" in out and "\x1b" not in out
    assert "kept here" in err
    assert run(("logs", "first-session", *local)) == 0
    assert capsys.readouterr().out == "resolved 150 packages\n"
    assert run(("logs", IDENT[:12], "-n", "1", *local)) == 0
    assert capsys.readouterr().out.endswith("serving\n")
    assert run(("logs", "nobody", *local)) == 2
    assert "no session nobody" in capsys.readouterr().err


@pytest.mark.real
@pytest.mark.long
async def test_while_it_serves_the_machine_is_asked(place: Place) -> None:
    followed = asyncio.create_task(place.gdl("logs", place.session, "-f", "--json"))
    out = await place.gdl("logs", place.session)
    assert "Application startup complete" in out
    assert await place.gdl("logs", place.session, "-n", "1") == out.splitlines()[-1] + "\n"
    if there_is_one():
        said = await place.gdl("ssh", place.session, "--", "echo", "'a  b'", "&&", "exit", "0")
        assert said == "a  b\n"
        await place.gdl("ssh", place.session, "--", "exit", "3", code=3)
    await place.gdl("destroy", place.session, "--yes")
    lines = [line for row in (await followed).splitlines() for line in json.loads(row)["lines"]]
    assert lines[: len(out.splitlines())] == out.splitlines()
    kept = await place.gdl("logs", place.session)
    assert kept and out.startswith(kept), "as far as the program that deployed it saw it"
