"""One-time keys for simulated sessions: RSA of 4096 bits, as the real service makes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar, Protocol

from gdl.domain.lazy_dataclass import dataclass

if TYPE_CHECKING:
    import asyncssh


@dataclass(frozen=True, slots=True)
class Key:
    """private: PEM text (PKCS #1)."""

    private: str
    ssh: asyncssh.SSHKey


class Keys(Protocol):
    """Where the keys of sessions come from."""

    async def take(self) -> Key: ...

    def put_back(self, key: Key) -> None: ...

    async def warm(self) -> None:
        """Have one ready before it is asked for."""


class KeyPool:
    """Making a key takes a second of processor time or more, so the key of a session that has
    ended is given to a later one, also of another market of this process. No two sessions alive
    at a time have the same. One pool for each event loop."""

    _free: ClassVar[list[Key]] = []

    def __init__(self) -> None:
        self._making = asyncio.Lock()

    async def take(self) -> Key:
        # One is made at a time: whoever waits may be served by what another puts back.
        async with self._making:
            if self._free:
                return self._free.pop()
            return await asyncio.to_thread(_make)

    def put_back(self, key: Key) -> None:
        self._free.append(key)

    async def warm(self) -> None:
        self.put_back(await self.take())


def _make() -> Key:
    import asyncssh

    ssh = asyncssh.generate_private_key("ssh-rsa", key_size=4096)
    return Key(ssh.export_private_key("pkcs1-pem").decode(), ssh)
