"""What a rented machine is to the market, and a machine that runs elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from gdl.simulator.fault_draws import OfferFaults
from gdl.simulator.key_pool import Key
from gdl.simulator.listings import Listing

if TYPE_CHECKING:
    import asyncssh


class RentedMachine(Protocol):
    """address, port, user: how its SSH server is reached, once it is started."""

    address: str
    user: str

    @property
    def port(self) -> int: ...

    async def start(self, key: asyncssh.SSHKey) -> None:
        """Let the holder of `key` in. Raises OSError."""

    def let_in(self, key: asyncssh.SSHKey) -> None:
        """Let the holder of another key in, whose public part this is, as soon as it is there."""

    async def reboot(self) -> None:
        """End what runs there, and start it again."""

    async def reached(self, mark: str) -> None:
        """Until what runs there is so far. mark: installing, loading or serving."""

    async def aclose(self) -> None:
        """End it. Idempotent."""


MakeMachine = Callable[[Listing, OfferFaults, int | None], RentedMachine]
"""From an offer, its faults and the GB of disk that were asked for."""


class HostElsewhere:
    """One SSH host for all sessions, which nobody starts or ends here; it takes the key of
    `private_key` (PEM text), which is the key of every session. keys: those that marketplaces
    were to bring to it; whoever runs it lets them in."""

    def __init__(self, address: str, port: int, user: str, private_key: str) -> None:
        self.address = address
        self.port = port
        self.user = user
        self.keys: list[asyncssh.SSHKey] = []
        import asyncssh

        self._key = Key(private_key, asyncssh.import_private_key(private_key))

    def make(self, offer: Listing, faults: OfferFaults, disk_gb: int | None) -> RentedMachine:
        return self

    async def start(self, key: asyncssh.SSHKey) -> None:
        """It runs."""

    def let_in(self, key: asyncssh.SSHKey) -> None:
        self.keys.append(key)

    async def reboot(self) -> None:
        """It runs."""

    async def reached(self, mark: str) -> None:
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        """It runs on."""

    async def take(self) -> Key:
        return self._key

    def put_back(self, key: Key) -> None:
        """There is one for all."""

    async def warm(self) -> None:
        """It is there."""
