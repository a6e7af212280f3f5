"""What carries requests and their answers, whichever way: the protocol, its limits, its errors."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import SplitResult

from gdl.endpoint.protocol import Fault
from gdl.endpoint.tls import tls_error_in, tls_fault
from gdl.loadgen.exchange import Exchange

Done = Callable[[Exchange], None]

_REFUSED_HINT = "is the server running, and is the address right?"
_FILES_HINT = "raise the hard limit (`ulimit -Hn`), or ask for fewer requests at a time"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds. request_s: a whole request. stall_s: between two pieces of an answer. connect_s: a
    connection."""

    request_s: float = 600.0
    stall_s: float = 60.0
    connect_s: float = 10.0


class Transport(Protocol):
    """name: what the result says. note: why it is not the exact way, "" when it is. elastic: set
    it when nobody knows how many connections will be needed."""

    name: str
    note: str
    elastic: bool

    def prepare(self, path: str, body: bytes) -> bytes:
        """What `send` takes for this body, made before any clock runs."""

    async def open(self, count: int) -> None:
        """Have `count` connections open. Raises VerificationError when nothing answers."""

    def send(self, exchange: Exchange, request: bytes, done: Done) -> None:
        """Send at once; `done` is called from the event loop when it ended, in whatever way."""

    def give_up(self, fault: Fault) -> None:
        """End everything that runs with this fault."""

    async def aclose(self) -> None: ...


def shown(url: str) -> str:
    """The URL without a name and password in it."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return scheme + mark + host.rpartition("@")[2] + slash + path


def base_path(parts: SplitResult) -> str:
    """The path that the API's own paths are put behind: with or without its /v1."""
    return parts.path.rstrip("/").removesuffix("/v1")


def connect_fault(error: Exception, where: str) -> Fault:
    """Why no connection could be made."""
    if isinstance(error, TimeoutError):
        return Fault("connect", f"no connection to {where} in time", _REFUSED_HINT)
    if isinstance(error, ConnectionRefusedError):
        return Fault("connect", f"connection to {where} refused", _REFUSED_HINT)
    if (tls := tls_error_in(error)) is not None:
        return tls_fault(tls, where)
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return Fault("connect", "this computer allows no more open files", _FILES_HINT)
    return Fault("connect", f"cannot connect to {where}: {error}", _REFUSED_HINT)


def too_many_files(count: int, most: int) -> Fault:
    """So many connections are wanted of a process that may have `most`."""
    text = f"{count} connections are more than the limit of open files allows a process: {most}"
    return Fault("connect", text, _FILES_HINT)
