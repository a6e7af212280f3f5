"""Every command in README and docs was run: as it stands, on a stand-in for a marketplace, where
nothing costs anything.

`ID` is a session that serves there. What asks is answered with yes, and what goes on until Ctrl-C
gets one once it shows what it is for. What is not run is named, with the reason.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local_ports import free_port
from waiting import block_until

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "CONTRIBUTING.md")
OURS = "gdl-tui"
PROGRAMS = re.compile(r"(?<![\w.~-])(gdl-tui|pytest|pip|uv|pipx|mkdocs|ruff|mypy)\b")
LIMIT_S = 240.0

ELSEWHERE = {
    r"^(uv|pipx) |pip install \.": "installs: tests/test_packaging.py does it from the wheel",
    r"^rm -r": "removes the user's own files",
    r"pip install -q -e|pytest|\.venv/bin/(ruff|mypy|lint-imports|python|mkdocs)": "the checks",
    r"smollm2-135m --backend local": "minutes, and 2 GB: tests/test_real_deployment.py",
    r"--host ME|/models/x\.gguf": "a machine of one's own: tests/test_deploy_ssh.py",
    r"--nodes": "several machines of one's own: tests/test_real_ranks.py",
    r"unsloth/|--engine (llamacpp|sglang)": "the model hub's files: tests/test_real_llamacpp.py, "
    "test_real_sglang.py",
    r"--replicas|scale (ID|fleet)": "a fleet: tests/test_real_fleet.py",
    r"^export |^OPENAI_|^GDL_": "a variable",
    r"bench --url": "another program's server: tests/test_real_bench.py",
    r"deploy .*--interruptible|volumes (make|delete)|--volume": "a market that has them: "
    "tests/test_interruptible.py, test_volumes.py",
    r"^gdl-tui chat": "a conversation that is typed: tests/test_cli_chat.py",
    r"gdl-tui resume\b": "something interrupted: tests/test_resume.py",
    r"config (set hf_token|edit)": "a secret or an editor: tests/test_cli_config.py",
    r"^\{": "what a command prints",
}
"""What is not run here, and the reason or the test that does it."""

UNTIL_SHOWN = {
    r"gdl-tui --plain": "Model: ",
    r"^gdl-tui( --read-only)?$|demo|^gdl-tui sandbox.*": "",
    r"gdl-tui serve": "http://127.0.0.1",
    r"gdl-tui watch": "watching for",
    r"logs ID.* (-f|--follow)": ".",
    r"attach ID": "OPENAI_BASE_URL=",
    r"health ID --watch": "healthy",
    r"^gdl-tui deploy (?!.*(--dry-run|--destroy|--keep|--replicas))": "OPENAI_BASE_URL=",
}
"""What goes on until Ctrl-C, and what it shows when it does what it is for; "": a screen."""


def commands() -> list[str]:
    """Of all pages, once each, without remarks."""
    found: dict[str, None] = {}
    for page in PAGES:
        fence: str | None = None
        for line in page.read_text().splitlines():
            if line.startswith("```"):
                fence = line[3:] if fence is None else None
            elif fence in ("sh", "console") or (fence is None and line.startswith("    ")):
                command = re.sub(r"(^|\s+)#.*", "", line.strip().removeprefix("$ "))
                if fence is not None or PROGRAMS.search(command):
                    found[command] = None
    found.pop("", None)
    return list(found)


@dataclass
class Market:
    """A stand-in for Vast.ai, and an environment that knows nothing else. session: one that serves
    there."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    session: str = ""

    def run(self, command: str, limit_s: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            # The shell stays: completions are installed for the one that runs the program.
            ["bash", "-c", f"{command}\nexit $?"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit_s,
        )

    def kept(self) -> str:
        """A session that serves, deployed for this; its id."""
        done = self.run("gdl-tui deploy smollm2-135m --keep --yes --no-bench --json")
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr
        return str(json.loads(done.stdout.splitlines()[-1])["session_id"])


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    folder = tmp_path_factory.mktemp("reader")
    made = Market(folder)
    tools = Path(sys.executable).parent
    made.environment = {
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(folder),
        "COLUMNS": "100",
        "TERM": "xterm-256color",
        "HF_HUB_OFFLINE": "1",
    }
    market = f"--market vastai --port {free_port()} --speed 60 --scenario calm"
    process = subprocess.Popen(
        [tools / OURS, "sandbox", *market.split()],
        cwd=folder,
        env=made.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if found := re.match(r"export (\w+)=(\S+)", line):
                made.environment[found[1]] = found[2]
            if "Ctrl-C" in line:
                break
        (folder / "vllm.log").write_text("torch.OutOfMemoryError: CUDA out of memory.\n")
        made.session = made.kept()
        opened = made.run(f"gdl-tui tunnel {made.session}")
        assert opened.returncode == 0, opened.stderr
        yield made
        made.run(f"gdl-tui destroy {made.session} --yes")
        for row in made.run("gdl-tui tunnel --json").stdout.splitlines():
            if "session_id" in (told := json.loads(row)):
                made.run(f"gdl-tui tunnel {told['session_id']} --stop")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


def first_of(table: dict[str, str], command: str) -> str | None:
    return next((told for pattern, told in table.items() if re.search(pattern, command)), None)


def on_terminal(market: Market, command: str, shows: str) -> str:
    """Run on a terminal of 80x24 until it shows that, then ended as a user does; all it showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(market.folder)
        os.execvpe("bash", ["bash", "-c", command], market.environment)
    seen = bytearray()

    def read() -> bool:
        with contextlib.suppress(OSError):
            while select.select([terminal], [], [], 0.1)[0]:
                seen.extend(os.read(terminal, 65536))
        text = seen.decode(errors="replace")
        if re.search(r"\[y/N\]|\(y/n\)|release it\?", text[-200:]):
            os.write(terminal, b"y\n")
        return bool(re.search(shows or r"\d+/\d+|Doctor|Where", text))

    ended: list[int] = []

    def over() -> bool:
        read()
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0]:
                ended.append(pid)
        return bool(ended)

    try:
        block_until(lambda: read() or over(), limit_s=LIMIT_S)
        # A screen asks what is to become of machines that serve: they are left.
        keys = (b"\x03", b"y\n", b"\x03", b"\x03") if shows else (b"q", b"l", b"\x03")
        for key in keys:
            with contextlib.suppress(OSError):
                os.write(terminal, key)
            with contextlib.suppress(AssertionError, TimeoutError):
                block_until(over, limit_s=30)
            if ended:
                break
        assert ended, f"{command} did not end\n{seen.decode(errors='replace')[-2000:]}"
    finally:
        if not ended:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(terminal)
    text = seen.decode(errors="replace")
    assert re.search(shows or ".", text), text[-2000:]
    return text


def test_every_command_is_seen_and_reasons_are_needed() -> None:
    """Not run: what is said of commands concerns some."""
    found = commands()
    assert len(found) > 80
    assert [p for p in ELSEWHERE if not any(re.search(p, each) for each in found)] == []


@pytest.mark.real
@pytest.mark.long
@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_pages_runs(command: str, market: Market) -> None:
    if reason := first_of(ELSEWHERE, command):
        pytest.skip(reason)
    line = command
    if re.search(r"destroy ID|attach ID|--stop|tunnel ID$", line):
        # It ends what it is for, or is asked for once alone.
        session = market.kept()
        if "--stop" in line:
            market.run(f"gdl-tui tunnel {session}")
        line = line.replace("ID", session)
    line = line.replace("ID", market.session)
    if (shows := first_of(UNTIL_SHOWN, command)) is not None:
        on_terminal(market, line, shows)
        return
    words = shlex.split(re.sub(r'eval "\$\((.*)\)"', r"\1", line))
    wants = "--yes" if words[1] == "destroy" or "--keep" in words or "--destroy" in words else ""
    done = market.run(f"{line} {wants}")
    # Something would stand in the way; no load kept the limits, or none is reliable, as on a busy
    # computer.
    expected = {0, 1} if "doctor" in words else {0, 6} if "--sweep" in words else {0}
    assert done.returncode in expected, f"{line}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
