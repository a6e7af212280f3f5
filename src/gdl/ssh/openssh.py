"""The computer's own `ssh`, as what carries forwarded connections: a process for each connection.

It is quicker than any Python is, and costs a fraction of the processor time. It gets nothing of the
user's configuration: the address that we are connected to, the key file that let us in, and the
pinned host key as the only one it may meet. It ends with us, however we end.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from gdl.domain.errors import SshError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.text import one_line
from gdl.keyring.ssh_keys import host_key_algorithms
from gdl.ssh.backlog import lengthen
from gdl.ssh.dial import CIPHERS, Dialled, Target
from gdl.ssh.forward import LOOPBACK
from gdl.ssh.mux import Mux

PROGRAM = "ssh"

_UP = "gdl-tui-up"
_HOLD = f"echo {_UP} && exec cat"
"""Runs on the machine for as long as the connection stands: sends back what it gets, which shows
that the connection is alive, and has the server send small packets at once, which it does only for
connections with a session."""
_ALIAS = "gdl-machine"
_ALIVE_MISSED = 3
_START_S = 15.0
"""For the session, once the connection is made."""
_END_S = 2.0
_LINE_BYTES = 64 * 1024
_END_WITH_US = 'read -r word; [ "$word" ] || { kill -9 "$1"; rm -rf -- "$2"; }'
"""Waits until we say that the process has ended, or until we are gone without a word: an ssh whose
input has ended would stay for as long as somebody is connected to its port."""


@dataclass(frozen=True, slots=True)
class Way:
    """How to enter a machine, all of it proven by a connection that stands. host_key: as in
    `authorized_keys`, without a comment."""

    host: str
    port: int
    user: str
    identities: tuple[Path, ...]
    host_key: str
    host_key_algorithms: tuple[str, ...]
    connect_timeout_s: float
    keepalive_s: float


def way_of(target: Target, dialled: Dialled) -> Way | str:
    """The way that a connection went; a reason where ssh cannot go it by itself."""
    conn = dialled.conn
    peer = conn.get_extra_info("peername")
    server = str(conn.get_extra_info("server_version") or "")
    key = conn.get_server_host_key()
    if target.tunnel == "built-in":
        return "as set"
    if not there_is_one():
        return "this computer has no ssh"
    if target.tunnel == "auto" and server.startswith("SSH-2.0-AsyncSSH"):
        # Such as the server of the local backend: its speed decides, whoever asks it.
        return "the machine's SSH server is not faster"
    if dialled.hops or not isinstance(peer, tuple) or key is None:
        return "the machine is behind another one"
    if not dialled.identities:
        return "the key is not in a file of its own"
    known = [name.decode() for name in key.sig_algorithms]
    return Way(
        host=str(peer[0]),
        port=int(peer[1]),
        user=str(conn.get_extra_info("username")),
        identities=tuple(file.expanduser() for file in dialled.identities),
        host_key=" ".join(key.export_public_key("openssh").decode().split()[:2]),
        host_key_algorithms=tuple(name for name in host_key_algorithms([key]) if name in known),
        connect_timeout_s=target.connect_timeout_s,
        keepalive_s=target.keepalive_s,
    )


def words(way: Way, folder: Path) -> list[str]:
    """The command line. `folder` holds its socket and the file `known_hosts`."""
    options = {
        "BatchMode": "yes",
        "Ciphers": ",".join(CIPHERS),
        "ConnectTimeout": str(max(round(way.connect_timeout_s), 1)),
        "ControlMaster": "yes",
        "ControlPersist": "no",
        "GlobalKnownHostsFile": "/dev/null",
        "HostKeyAlgorithms": ",".join(way.host_key_algorithms),
        "HostKeyAlias": _ALIAS,
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        # Not as background traffic, which wireless networks let wait.
        "IPQoS": "none",
        "LogLevel": "ERROR",
        "PreferredAuthentications": "publickey",
        "ServerAliveCountMax": str(_ALIVE_MISSED),
        "ServerAliveInterval": str(max(round(way.keepalive_s), 1)),
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "UserKnownHostsFile": f'"{_literal(folder / "known_hosts")}"',
    }
    command = [PROGRAM, "-F", "/dev/null", "-a", "-x", "-T"]
    for name, value in options.items():
        command += ["-o", f"{name}={value}"]
    command += ["-S", _literal(folder / "s")]
    for identity in way.identities:
        command += ["-i", _literal(identity)]
    return [*command, "-p", str(way.port), "-l", way.user, "--", way.host, _HOLD]


def _literal(path: Path) -> str:
    """As OpenSSH takes it where it replaces `%h` and the like."""
    return str(path).replace("%", "%%")


class OpenSsh:
    """A running ssh with a connection that stands."""

    def __init__(
        self,
        folder: Path,
        process: asyncio.subprocess.Process,
        end_with_us: asyncio.subprocess.Process,
    ) -> None:
        """Use `start`."""
        self._folder = folder
        self._process = process
        self._end_with_us = end_with_us
        self._said = asyncio.create_task(_last_line(process), name="ssh-errors")
        self._pings = 0
        self._mux: Mux | None = None
        self._one_question = asyncio.Lock()

    @classmethod
    async def start(cls, way: Way) -> OpenSsh:
        """Raises SshError when no connection comes about, with ssh's own words."""
        # Not in a thread: cut short while one makes it, nobody would remove the folder.
        folder = _prepare(way)
        try:
            run = asyncio.create_subprocess_exec
            pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
            # A session of its own: Ctrl-C in the terminal is for us, and there is nobody to ask.
            process = await run(
                *words(way, folder), stdin=pipe, stdout=pipe, stderr=pipe,
                limit=_LINE_BYTES, start_new_session=True,
            )  # fmt: skip
            try:
                end_with_us = await run(
                    "/bin/sh", "-c", _END_WITH_US, "sh", str(process.pid), str(folder),
                    stdin=pipe, stdout=nothing, stderr=nothing, start_new_session=True,
                )  # fmt: skip
            except BaseException:
                process.kill()
                raise
        except BaseException as error:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise SshError(
                    f"cannot run {PROGRAM}: {error.strerror}", "install OpenSSH"
                ) from None
            raise
        made = cls(folder, process, end_with_us)
        try:
            async with asyncio.timeout(way.connect_timeout_s + _START_S):
                await made._until(_UP)
        except BaseException as error:
            await made.aclose()
            if isinstance(error, TimeoutError):
                raise SshError("this computer's ssh got no session", "try again") from None
            raise
        return made

    @property
    def pid(self) -> int:
        return self._process.pid

    async def prepare(self) -> None:
        """What `open_forward` would otherwise wait for. Raises SshError."""
        async with self._conversation():
            pass

    async def open_forward(self, port: int, remote_port: int) -> None:
        """Listen on the loopback `port`. Raises SshError when it cannot."""
        async with self._conversation() as mux:
            await mux.open_forward(LOOPBACK, port, remote_port)
        lengthen(self.pid, (LOOPBACK, port))

    async def close_forward(self, port: int, remote_port: int) -> None:
        """Stop to listen; open connections stay. Raises SshError."""
        async with self._conversation() as mux:
            await mux.close_forward(LOOPBACK, port, remote_port)

    @contextlib.asynccontextmanager
    async def _conversation(self) -> AsyncIterator[Mux]:
        """One question at a time. After one that was cut short, another conversation is begun: its
        answer may still come."""
        async with self._one_question:
            if self._mux is None:
                self._mux = await Mux.open(self._folder / "s")
            try:
                yield self._mux
            except BaseException:
                self._mux.close()
                self._mux = None
                raise

    async def answers(self, within_s: float) -> bool:
        """Whether the machine still sends back what it gets on this connection. Once at a time."""
        self._pings += 1
        word = f"ping {self._pings}"
        stdin = self._process.stdin
        assert stdin is not None
        try:
            async with asyncio.timeout(within_s):
                stdin.write(f"{word}\n".encode())
                await self._until(word)
        except (OSError, TimeoutError, SshError):
            return False
        return True

    async def wait_ended(self) -> str:
        """Until the process has ended; why, in ssh's words, "" when it said nothing."""
        await self._process.wait()
        return await asyncio.shield(self._said)

    async def aclose(self) -> None:
        """End it, and with it all that it forwards. Idempotent; takes 4 s at most."""
        if self._mux is not None:
            self._mux.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(number)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_END_S):
                        await self._process.wait()
        stdin = self._end_with_us.stdin
        assert stdin is not None and self._process.stdin is not None
        if not stdin.is_closing():
            stdin.write(b"ended\n")
            stdin.close()
            self._process.stdin.close()
        await self._end_with_us.wait()
        await asyncio.gather(self._said, return_exceptions=True)
        await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)

    async def _until(self, word: str) -> None:
        """Until the machine has printed this line, whatever a login script prints before."""
        stdout = self._process.stdout
        assert stdout is not None
        while True:
            try:
                line = await stdout.readline()
            except ValueError:
                continue  # longer than the limit: no word of ours
            if not line:
                why = await self.wait_ended()
                raise SshError(f"this computer's ssh: {why or 'ended'}", "try again")
            if line.decode("utf-8", "replace").strip() == word:
                return


async def _last_line(process: asyncio.subprocess.Process) -> str:
    """What it said last, for people; where a key file is of no use to it, that."""
    assert process.stderr is not None
    last = b""
    while True:
        try:
            line = await process.stderr.readline()
        except ValueError:
            continue
        if not line:
            return one_line(last.decode("utf-8", "replace"), 200)
        if not last.startswith(b"Load key "):
            last = line.strip() or last


def _prepare(way: Way) -> Path:
    """A folder of ours alone, with the one host key that ssh may meet. Short: the path of a socket
    has at most some 100 characters. Raises SshError."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="gdl-ssh-"))
        (folder / "known_hosts").write_text(f"{_ALIAS} {way.host_key}\n")
    except OSError as error:
        raise SshError(
            f"cannot write a temporary folder: {error.strerror}", "check free space"
        ) from None
    return folder


def there_is_one() -> bool:
    """Whether this computer has the program."""
    return shutil.which(PROGRAM) is not None


def version() -> str:
    """As the program tells it, such as "OpenSSH_9.2p1"; "" without one. Blocks for a moment."""
    if not there_is_one():
        return ""
    try:
        told = subprocess.run([PROGRAM, "-V"], capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return one_line(told.stderr.decode("utf-8", "replace"), 80).partition(",")[0]
