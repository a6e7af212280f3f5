"""Which transport carries the requests to a URL."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from gdl.domain.errors import UsageError
from gdl.domain.secret import Secret
from gdl.endpoint.tls import USUAL_TLS, TlsOptions, tls_context
from gdl.loadgen.socket_transport import SocketTransport
from gdl.loadgen.transport import Limits, Transport, shown

_PROXIED = "a proxy: measured through httpx, whose own time is in these figures"


def transport_for(url: str, key: Secret, limits: Limits, tls: TlsOptions = USUAL_TLS) -> Transport:
    """The exact transport, or httpx where a proxy is in the way. Raises UsageError for what is no
    URL of an HTTP server, and for certificates that cannot be read."""
    parts = parsed(url)
    secure = parts.scheme == "https"
    context = tls_context(tls) if secure else None
    unchecked = "the server's certificate was not checked" if secure and tls.insecure else ""
    if proxy_for(parts) is None:
        return SocketTransport(parts, key, limits, context, unchecked)
    from gdl.loadgen.httpx_transport import HttpxTransport

    note = "; ".join(part for part in (_PROXIED, unchecked) if part)
    return HttpxTransport(url, key, limits, note, trust_env=True, verify=context)


def parsed(url: str) -> SplitResult:
    """Raises UsageError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = SplitResult("", "", "", "", ""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise UsageError(
            f"not an address of a server: {shown(url)!r}", "such as http://127.0.0.1:8000"
        )
    return parts


def proxy_for(parts: SplitResult) -> str | None:
    """The proxy that the environment names for it; none is asked for what is on this computer."""
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127.") or proxy_bypass(host):
        return None
    return getproxies().get(parts.scheme)
