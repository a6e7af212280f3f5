"""Logging in within one round trip.

Left to itself, asyncssh asks for the service, then for entry without a key, then whether the key
would do, and only then signs: four round trips, each waited for. A server reads its packets one
after the other, so that the service and a signed request may be sent together (RFC 4252, section 7
allows a signature without the question before). The host key has been checked by then.

What is used of asyncssh here is undocumented; tests/test_library_internals.py says so where a new
version has changed it.
"""

from __future__ import annotations

from typing import Any

import asyncssh
from asyncssh.auth import ClientAuth
from asyncssh.packet import Boolean, String

_METHOD = b"publickey"


def signs_alone(key: asyncssh.SSHKey) -> bool:
    """Whether a key signs in one way only. For others, RSA above all, the server has to say first
    which of them it takes."""
    return len(key.sig_algorithms) == 1


class LoginAhead:
    """Sends the signed request along with the one for the service, once; whatever comes of it, the
    library's own way follows a refusal. sent: whether it came to that."""

    def __init__(self, conn: asyncssh.SSHClientConnection, key: asyncssh.SSHKey) -> None:
        (self._pair,) = asyncssh.load_keypairs([key])
        self._conn = conn
        self._ask, self._try_next = conn.send_service_request, conn.try_next_auth
        self.sent = False
        self._answered = False
        vars(conn)["send_service_request"] = self._asked
        vars(conn)["try_next_auth"] = self._next

    def _asked(self, service: bytes) -> None:
        conn, pair = self._conn, self._pair
        self._ask(service)
        # As `send_userauth_request` does, which is a coroutine.
        words = (Boolean(True), String(pair.algorithm), String(pair.public_data))
        signature = pair.sign(conn.get_userauth_request_data(_METHOD, *words))
        request = conn._get_userauth_request_packet(_METHOD, (*words, String(signature)))
        conn.send_userauth_packet(request[0], request[1:], trivial=False)
        self.sent = True

    def _next(self, **more: Any) -> None:
        """Called by asyncssh once the service is there, and again after each refusal."""
        if self.sent and not self._answered:
            self._answered = True
            self._conn._auth = _Verdict(self._conn, _METHOD)
            return
        self._try_next(**more)


class _Verdict(ClientAuth):
    """What asyncssh tells of the answer to a request that was sent already."""

    async def _start(self) -> None:
        return
