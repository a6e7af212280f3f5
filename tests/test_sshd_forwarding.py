"""Forwarded connections of our own SSH server."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from gdl.sshd import server as sshd


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.9"])
async def test_a_connection_that_goes_with_its_request_leaves_nothing_unawaited(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a cut does it under load; the words of the interpreter would stand in the terminal."""
    requested = sshd._Connection.connection_requested
    said: list[object] = []

    def and_goes(self: sshd._Connection, *given: Any) -> Any:
        answer = requested(self, *given)
        assert self._conn is not None
        self._conn.abort()
        return answer

    monkeypatch.setattr(sshd._Connection, "connection_requested", and_goes)
    monkeypatch.setattr(sys, "unraisablehook", lambda report: said.append(report.exc_value))
    key = asyncssh.generate_private_key("ssh-ed25519")
    server = sshd.LocalServer(tmp_path, {}, key, key, address=address)
    await server.start()
    async with asyncssh.connect(
        address, server.port, username="root", client_keys=[key], known_hosts=None, config=None
    ) as conn:
        with pytest.raises((asyncssh.Error, OSError)):
            await conn.create_connection(asyncssh.SSHTCPSession, "127.0.0.1", 9)
    await server.aclose()
    await asyncio.sleep(0)
    gc.collect()
    assert said == []
