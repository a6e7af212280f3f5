"""What the processes of the load generator say to each other, over a worker's stdin and stdout.

A message is its length in four bytes and a pickle: both ends are ours, and are started by us. The
key goes over as text of its own, as a secret is never pickled.
"""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import dataclass

from gdl.endpoint.tls import TlsOptions
from gdl.loadgen.load import Measured
from gdl.loadgen.request_template import RequestTemplate
from gdl.loadgen.transport import Limits
from gdl.loadgen.workload import Conversation

_LENGTH = 4


@dataclass(frozen=True, slots=True)
class Share:
    """To a worker, first: its part of a load. See `gdl.loadgen.load.measure`."""

    url: str
    limits: Limits
    tls: TlsOptions
    request_template: RequestTemplate
    conversations: tuple[Conversation, ...]
    concurrency: int | None
    due: tuple[float, ...]
    limit_s: float | None


@dataclass(frozen=True, slots=True)
class Ready:
    """From a worker: its connections are open. at: its `perf_counter`, which is to be ours."""

    at: float


@dataclass(frozen=True, slots=True)
class Begin:
    """To a worker: when to begin, by `perf_counter`, the one clock of all processes here."""

    at: float


@dataclass(frozen=True, slots=True)
class Done:
    """From a worker, now and then: requests that have ended."""

    count: int


@dataclass(frozen=True, slots=True)
class Failed:
    """From a worker, last: what it could not do, and what helps."""

    message: str
    hint: str


Message = Share | Ready | Begin | Done | Failed | Measured


def packed(message: Message | str) -> bytes:
    """The message as it goes over the pipe."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(_LENGTH, "big") + data


async def read(reader: asyncio.StreamReader) -> Message | str:
    """The next one. Raises asyncio.IncompleteReadError when the other end is gone."""
    size = int.from_bytes(await reader.readexactly(_LENGTH), "big")
    found: Message | str = pickle.loads(await reader.readexactly(size))  # noqa: S301 - our own
    return found
