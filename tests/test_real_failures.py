"""What goes wrong on real parts is understood and, where there is a remedy, fixed.

The real vLLM on a machine behind a real OpenSSH server, on which everything is installed once.
Stand-ins, because the real thing cannot be had: the model hub (an HTTP server that answers as it
does for a repository that is not there). Run with `pytest -m real -n 0`.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from local_ports import free_port
from local_processes import processes_naming
from real_sshd import Sshd, real_sshd
from real_support import Run, ask, environment, first, is_phase, started

pytestmark = pytest.mark.real


@dataclass(frozen=True)
class Machine:
    """work: its work folder, which every test of this module finds as the one before left it."""

    sshd: Sshd
    folder: Path

    @property
    def work(self) -> Path:
        return self.folder / "machine"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("failures")
    with real_sshd(folder / "sshd") as sshd:
        yield Machine(sshd, folder)
    assert processes_naming(str(folder / "machine")) == []


@pytest.fixture
def place(tmp_path: Path, machine: Machine) -> dict[str, str]:
    return {**environment(tmp_path), "GDL_INSTALL__WORK_DIR": str(machine.work)}


@contextlib.contextmanager
def deploying(
    machine: Machine, place: dict[str, str], *more: str, model: str = "smollm2-135m"
) -> Iterator[Run]:
    where = ("--host", machine.sshd.address, "--identity", str(machine.sshd.identity))
    job = ("deploy", model, "--backend", "ssh", "--no-bench", *where, *more)
    with started(place, *job) as run:
        yield run


def of_type(run: Run, kind: str) -> list[dict[str, Any]]:
    return [e for e in run.events if e["type"] == kind]


def rules(run: Run) -> list[str]:
    return [e["rule"] for e in of_type(run, "diagnosed")]


def failed(run: Run) -> dict[str, Any]:
    """The end of a deployment that must fail as one whose install or start failed."""
    code, end = run.finish()
    assert (code, end["outcome"], end["kind"]) == (5, "failed", "deploy"), end
    assert end["hint"]
    return end


def engine_pid(machine: Machine) -> int:
    """The leader of the server's group, from its job's folder."""
    return int((machine.work / "jobs" / "engine" / "pid").read_text())


def named(leader: int, name: str) -> list[int]:
    """Pids of the server's processes whose command line holds `name`."""
    process = psutil.Process(leader)
    found = []
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            if name in " ".join(each.cmdline()):
                found.append(each.pid)
    return found


def cut(sshd: Sshd) -> None:
    """End the connections, as a network that fails does; the listener stays."""
    connections = psutil.Process(sshd.pid).children()
    assert connections
    for connection in connections:
        with contextlib.suppress(psutil.NoSuchProcess):
            connection.kill()


def reconnected(event: dict[str, Any]) -> bool:
    return event["type"] == "noted" and str(event["text"]).startswith("SSH: reconnecting")


@pytest.mark.long
def test_a_connection_cut_during_install_and_during_load_loses_nothing(
    machine: Machine, place: dict[str, str]
) -> None:
    with deploying(machine, place, "--destroy") as run:
        run.until(lambda e: e["type"] == "step_started" and e["name"] == "install")
        run.until(lambda e: e["type"] == "log_lines" and e["source"] == "install")
        cut(machine.sshd)
        run.until(reconnected)
        run.until(lambda e: is_phase(e, "LOADING"))
        cut(machine.sshd)
        run.until(reconnected)
        code, end = run.finish()
    assert (code, end["outcome"], len(end["attempts"])) == (0, "released", 1), end
    assert rules(run) == []
    pictures = [e["text"] for e in of_type(run, "progressed") if e["text"].startswith("LOADING")]
    assert any("GiB of memory" in text for text in pictures)


@pytest.mark.long
def test_a_context_too_long_and_a_cache_too_small_are_shortened_one_after_the_other(
    machine: Machine, place: dict[str, str]
) -> None:
    wanted = ("--max-model-len", "20000", "--num-gpu-blocks-override", "16")
    arguments = [part for word in wanted for part in ("--engine-arg", word)]
    with deploying(machine, place, "--auto-fix", "--destroy", *arguments) as run:
        code, end = run.finish()
    assert (code, end["outcome"]) == (0, "released"), end
    assert rules(run) == ["context-too-long", "context-does-not-fit"]
    remedies = [e["remedy"] for e in of_type(run, "remedy_applied")]
    assert [r["name"] for r in remedies] == ["--max-model-len"] * 2
    assert 20000 > int(remedies[0]["value"]) > int(remedies[1]["value"]) > 0


def test_a_model_that_the_hub_does_not_know(machine: Machine, place: dict[str, str]) -> None:
    with hub_without_models() as url:
        place["GDL_ENGINE__ENV"] = json.dumps({"HF_ENDPOINT": url})
        with deploying(machine, place, model="org/no-such-model-1B") as run:
            failed(run)
    assert rules(run) == ["unknown-model"]


@contextlib.contextmanager
def hub_without_models() -> Iterator[str]:
    """Answers as the hub does for a repository that is not there."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"error":"Repository not found"}'
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_flag_that_vllm_does_not_know(machine: Machine, place: dict[str, str]) -> None:
    with deploying(machine, place, "--engine-arg", "--no-such-flag") as run:
        end = failed(run)
    assert rules(run) == ["bad-argument"]
    assert "--no-such-flag" in end["error"]


def test_a_port_that_somebody_else_has(machine: Machine, place: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        place["GDL_ENGINE__PORT"] = str(port)
        with deploying(machine, place) as run:
            failed(run)
    (why,) = of_type(run, "attempt_failed")
    assert f"port {port}" in why["message"] and "GDL_ENGINE__PORT" in why["hint"]
    assert of_type(run, "step_started") == []


def test_a_port_that_is_taken_while_vllm_starts(machine: Machine, place: dict[str, str]) -> None:
    port = free_port()
    place["GDL_ENGINE__PORT"] = str(port)
    with deploying(machine, place) as run, socket.socket() as taken:
        run.until(lambda e: is_phase(e, "STARTING"))
        taken.bind(("127.0.0.1", port))
        taken.listen()
        failed(run)
    assert rules(run) == ["port-in-use"]


def test_a_server_killed_while_it_starts(machine: Machine, place: dict[str, str]) -> None:
    with deploying(machine, place) as run:
        run.until(lambda e: e["type"] == "log_lines" and e["source"] == "engine")
        os.kill(named(engine_pid(machine), "launch.py")[0], signal.SIGKILL)
        killed = time.monotonic()
        diagnosed = run.until(lambda e: e["type"] == "diagnosed")
        assert diagnosed["read_at"] - killed < 1.5
        failed(run)
    assert rules(run) in (["signal-9"], ["host-memory"])


@pytest.mark.long
def test_broken_vision_packages_are_repaired_and_a_killed_engine_is_started_once_more(
    machine: Machine, place: dict[str, str]
) -> None:
    """The packages claim to be the CPU's, as in an index that renames them: the step that leaves
    them out is taken in, and the server falls over them."""
    install_foreign_torchvision(machine.work)
    with deploying(machine, place) as run:
        run.until(lambda e: is_phase(e, "SERVING"))
        assert rules(run) == ["torchvision-mismatch"]
        repaired = first(run, lambda e: e["type"] == "remedy_applied")
        assert (repaired["remedy"]["name"], repaired["by"]) == ("vision-packages", "auto")
        run.until(lambda e: e["type"] == "noted" and e["text"].startswith("holding"))

        (core, *_) = named(engine_pid(machine), "VLLM::EngineCor") or workers(machine)
        os.kill(core, signal.SIGKILL)
        again = run.until(lambda e: e["type"] == "remedy_applied")
        assert again["remedy"]["kind"] == "restart"
        assert rules(run)[1:] == ["engine-killed"]
        run.until(lambda e: e["type"] == "noted" and e["text"].startswith("holding"))
        tunnel = first(run, lambda e: e["type"] == "tunnel_opened")
        assert "4" in ask(tunnel["endpoint"], Path(tunnel["api_key_file"]).read_text().strip())

        os.killpg(engine_pid(machine), signal.SIGKILL)
        end = failed(run)
    assert "ended while serving" in end["error"]


def workers(machine: Machine) -> list[int]:
    """The engine's own processes, where they do not rename themselves."""
    server = named(engine_pid(machine), "launch.py")[0]
    children = [child.pid for child in psutil.Process(server).children()]
    return [pid for pid in children if not named(pid, "resource_tracker")]


def install_foreign_torchvision(work: Path) -> None:
    """PyPI's torchvision, which is built for CUDA, beside the CPU's torch."""
    python = str(work / "venv" / "bin" / "python")
    command = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps"]
    done = subprocess.run([*command, "torchvision"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (metadata,) = (work / "venv").glob("lib/python*/site-packages/torchvision-*.dist-info/METADATA")
    text = metadata.read_text().splitlines()
    at = next(i for i, line in enumerate(text) if line.startswith("Version: "))
    text[at] = text[at].partition("+")[0] + "+cpu"
    metadata.write_text("\n".join(text))


def test_a_disk_that_fills_up(machine: Machine, place: dict[str, str], tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4600m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        place["GDL_INSTALL__WORK_DIR"] = str(disk / "machine")
        with deploying(machine, place) as run:
            run.until(lambda e: e["type"] == "step_started" and e["name"] == "install")
            with (disk / "others").open("wb") as others:
                # However far it has come meanwhile: the whole is several times what is left.
                there = os.statvfs(disk)
                left = there.f_bavail * there.f_frsize
                os.posix_fallocate(others.fileno(), 0, max(left - 300 * 2**20, 1))
            failed(run)
        assert rules(run) == ["no-space"]
    finally:
        _unmounted(disk)


def _unmounted(disk: Path) -> None:
    """As soon as nothing is at work there: what was installed is deleted in the background."""
    end = time.monotonic() + 60
    while subprocess.run(["umount", str(disk)], check=False).returncode:
        assert time.monotonic() < end, "the disk stays in use"
        time.sleep(0.2)
