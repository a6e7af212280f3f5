"""A guard at work in this computer's shells, and what it talks to: a marketplace that lets a key
end one machine, as Vast.ai does, and a server with vLLM's counters."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path

from local_shell import put_script
from waiting import block_until

SCRIPT = resources.files("gdl.orchestrator.machine").joinpath("guard.sh").read_text("utf-8")
TOOLS = ("mv", "rm", "cat", "tr", "grep", "id", "date", "setsid")
BUSY = "vllm:num_requests_running"
DONE = "vllm:request_success_total"


@dataclass
class Release:
    """`DELETE /api/v0/instances/ID/` with a key that ends that one machine and no other; and the
    server's /metrics. in_argv: command lines that held a key while it was used."""

    keys: dict[str, int] = field(default_factory=dict)
    rented: set[int] = field(default_factory=set)
    asked: list[tuple[str, int]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    refuse: int = 0
    metrics: str | None = None
    in_argv: list[str] = field(default_factory=list)
    on_end: Callable[[int], None] = lambda ident: None
    _server: ThreadingHTTPServer | None = None
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                return

            def do_DELETE(self) -> None:
                status, body = owner._end(self.path, self.headers.get("Authorization", ""))
                owner.answers.append(status)
                self._say(status, json.dumps(body))

            def do_GET(self) -> None:
                text = owner.metrics
                self._say(404 if text is None else 200, text or "")

            def _say(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Nobody answers any more at that port."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _end(self, path: str, said: str) -> tuple[int, dict[str, object]]:
        key = said.removeprefix("Bearer ")
        self.in_argv += _command_lines_with(key)
        ident = int(path.removeprefix("/api/v0/instances/").rstrip("/"))
        self.asked.append((key, ident))
        if self.keys.get(key) != ident:
            return 401, {"success": False, "msg": "Invalid user key"}
        if self.refuse:
            self.refuse -= 1
            return 429, {"success": False, "msg": "API requests too frequent"}
        if ident not in self.rented:
            return 404, {"success": False, "error": "no_such_instance"}
        self.rented.discard(ident)
        self.on_end(ident)
        return 200, {"success": True}


@contextlib.contextmanager
def release(**fields: object) -> Iterator[Release]:
    one = Release(keys={"scoped-key": 7}, rented={7, 8})
    for name, value in fields.items():
        setattr(one, name, value)
    one.start()
    try:
        yield one
    finally:
        one.stop()


def vllm_metrics(*, running: float = 0.0, done: float = 0.0) -> str:
    label = '{engine="0",model_name="a model"}'
    return (
        f"# TYPE {BUSY} gauge\n{BUSY}{label} {running}\n{DONE}{label} {done}\n"
        f'vllm:other_bucket{{le="+Inf"}} 12.0\n'
    )


def _command_lines_with(key: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
                if key in line:
                    found.append(line)
    return found


@dataclass
class Guarded:
    """A machine's view of time, the guard's folder, and the guard's process."""

    folder: Path
    shell: tuple[str, ...] = ("dash",)
    clients: tuple[str, ...] = ("curl",)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.dir = self.folder / "guard"
        self.proc = self.folder / "proc"
        self.tools = self.folder / "tools"
        for path in (self.dir, self.proc / "sys/kernel/random", self.proc / "1", self.tools):
            path.mkdir(parents=True, exist_ok=True)
        (self.dir / "guard.sh").write_text(SCRIPT)
        (self.dir / "stop.sh").write_text("exit 0\n")
        for name in (*TOOLS, *self.clients):
            found = sys.executable if name == "python3" else shutil.which(name)
            put_script(self.tools, name, f'exec {found} "$@"')
        # Seconds of the guard are twentieths of ours.
        real = shutil.which("sleep")
        put_script(self.tools, "sleep", f"exec {real} 0.05")
        self.boot("first", 1000)
        self.clock("1800000000")

    def boot(self, name: str, uptime: int) -> None:
        (self.proc / "sys/kernel/random/boot_id").write_text(f"{name}\n")
        self.up(uptime)

    def up(self, seconds: int) -> None:
        new = self.proc / "uptime.new"
        new.write_text(f"{seconds}.37 99.0\n")
        new.replace(self.proc / "uptime")

    def clock(self, said: str) -> None:
        """What `date` answers: seconds, or a script."""
        (self.tools / "date").unlink(missing_ok=True)
        put_script(self.tools, "date", f"echo {said}")

    def settings(self, **values: object) -> None:
        usual: dict[str, object] = {"id": "7", "end": "request", "method": "DELETE", "tick_s": 1}
        usual |= {"first_s": 0}
        lines = [f"{name} {value}\n" for name, value in (usual | values).items()]
        new = self.dir / "settings.new"
        new.write_text("".join(lines))
        new.replace(self.dir / "settings")

    def key(self, text: str) -> None:
        (self.dir / "key").write_text(text)

    def start(self) -> None:
        with (self.dir / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    shutil.which(self.shell[0]) or "",
                    *self.shell[1:],
                    str(self.dir / "guard.sh"),
                    str(self.dir),
                    str(self.proc),
                ],
                env={"PATH": str(self.tools), "HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def state(self) -> dict[str, str]:
        with contextlib.suppress(OSError):
            lines = (self.dir / "state").read_text().splitlines()
            return dict(line.partition(" ")[::2] for line in lines)
        return {}

    @property
    def log(self) -> str:
        return (self.dir / "log").read_text()

    def until(self, holds: Callable[[], bool], what: str) -> None:
        def check() -> bool:
            assert self.process is None or self.process.poll() in (None, 0), self.log
            return holds()

        block_until(check, what, limit_s=15)

    def looked(self, **state: str) -> None:
        """Wait until its state says this."""
        self.until(
            lambda: all(self.state().get(k) == v for k, v in state.items()),
            f"{state} in {self.state()}; {self.log}",
        )


@contextlib.contextmanager
def guarded(folder: Path, **fields: object) -> Iterator[Guarded]:
    one = Guarded(folder, **fields)  # type: ignore[arg-type]  # the test's own names
    try:
        yield one
    finally:
        one.kill()
