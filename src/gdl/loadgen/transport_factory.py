"""Which transport carries the requests to a URL."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from gdl.domain.errors import UsageError
from gdl.domain.secret import Secret
from gdl.loadgen.socket_transport import SocketTransport
from gdl.loadgen.transport import Limits, Transport, shown


def transport_for(url: str, key: Secret, limits: Limits) -> Transport:
    """The exact transport for plain HTTP; httpx for TLS and where a proxy is in the way. Raises
    UsageError for what is no URL of an HTTP server."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = SplitResult("", "", "", "", ""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UsageError(
            f"not an address of a server: {shown(url)!r}", "such as http://127.0.0.1:8000"
        )
    host = parts.hostname
    local = host == "localhost" or host.startswith("127.") or host == "::1"
    proxied = not local and parts.scheme in getproxies() and not proxy_bypass(host)
    if parts.scheme == "http" and not proxied:
        return SocketTransport(parts, key, limits)
    from gdl.loadgen.httpx_transport import HttpxTransport

    note = "TLS" if parts.scheme == "https" else "a proxy"
    return HttpxTransport(url, key, limits, f"{note}: measured through httpx", trust_env=proxied)
