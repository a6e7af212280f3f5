"""TLS to an endpoint: whom to trust, and what a connection that fails means."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from gdl.domain.errors import UsageError
from gdl.domain.lazy_dataclass import dataclass
from gdl.domain.text import one_line
from gdl.endpoint.protocol import Fault

_PROBE_S = 2.0
_TRUST = "name its CA with --cacert FILE or SSL_CERT_FILE; --insecure checks nothing"
_UNTRUSTED = "is from an authority that is not trusted here"
_VERDICTS = {
    2: (_UNTRUSTED, _TRUST),
    9: ("is not valid yet", "is the clock right, here and there?"),
    10: ("has expired", "renew it on the server; --insecure checks nothing"),
    18: ("is self-signed", "--cacert FILE trusts it; --insecure checks nothing"),
    19: (_UNTRUSTED, _TRUST),
    20: (_UNTRUSTED, _TRUST),
    21: (_UNTRUSTED, _TRUST),
    23: ("was revoked", "the server needs a new one; --insecure checks nothing"),
    62: ("is for another name", "use the name that it is for; --insecure checks nothing"),
    64: ("is for another address", "use the name that it is for; --insecure checks nothing"),
}
"""By OpenSSL's X509_V_ERR_*, from x509_vfy.h: (what is wrong with the certificate, what helps)."""
_NO_TLS = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "RECORD_LAYER_FAILURE",
        "PACKET_LENGTH_TOO_LONG",
        "HTTP_REQUEST",
        "UNEXPECTED_MESSAGE",
    }
)
"""OpenSSL's reasons for an answer that is none of TLS's."""


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """cacert: the only certificates to trust, in a file of PEM; None for the system's or, where
    they are set, those of SSL_CERT_FILE and SSL_CERT_DIR. insecure: nothing is checked."""

    cacert: Path | None = None
    insecure: bool = False


USUAL_TLS = TlsOptions()


def tls_context(
    options: TlsOptions = USUAL_TLS, environ: Mapping[str, str] = os.environ
) -> ssl.SSLContext:
    """What connections by TLS are made with. Raises UsageError for certificates that cannot be
    read."""
    if options.insecure:
        return no_trust_context(checks=False)
    given = environ.get("SSL_CERT_FILE", ""), environ.get("SSL_CERT_DIR", "")
    if options.cacert is not None:
        context = _context_of(str(options.cacert), "", "--cacert")
    elif any(given):
        context = _context_of(*given, "SSL_CERT_FILE" if given[0] else "SSL_CERT_DIR")
    else:
        context = ssl.create_default_context()
        with contextlib.suppress(ImportError, OSError):
            import certifi

            # Some systems have none of their own.
            context.load_verify_locations(certifi.where())
    # Since 3.13 Python asks more of a CA than other programs do: many private ones fail it.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    return context


def no_trust_context(*, checks: bool = True) -> ssl.SSLContext:
    """Trusts nobody and, without `checks`, anybody. Quick to make: no certificates are read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not checks:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


def _context_of(file: str, folder: str, named: str) -> ssl.SSLContext:
    """OpenSSL passes over what is not there, and says little of what is no certificate."""
    try:
        if file:
            Path(file).read_bytes()
        if folder and not Path(folder).is_dir():
            raise FileNotFoundError(2, "no such folder")
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    except ssl.SSLError:
        what = "no certificates in it"
    except OSError as error:
        what = error.strerror or "unreadable"
    raise UsageError(
        f"{named}: {one_line(file or folder, 200)}: {what}",
        "a file of certificates as PEM: -----BEGIN CERTIFICATE-----",
    )


def tls_error_in(error: BaseException) -> ssl.SSLError | None:
    """What TLS said, where an exception comes of it."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, ssl.SSLError):
        seen = seen.__cause__ or seen.__context__
    return seen


def tls_fault(error: ssl.SSLError, where: str, *, agreed: bool = False) -> Fault:
    """What a TLS connection to `where` (its host, and port) failed of. agreed: after the
    handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        words = f"is not accepted: {error.verify_message}", "--insecure checks nothing"
        what, hint = _VERDICTS.get(error.verify_code, words)
        return Fault("tls", f"the certificate of {where} {what}", hint)
    reason = (error.reason or "").upper()
    if reason in _NO_TLS and not agreed:
        return Fault("tls", f"{where} does not speak TLS", "for plain HTTP use http://")
    if (isinstance(error, ssl.SSLEOFError) or "EOF" in reason) and not agreed:
        return handshake_cut(where)
    if "ALERT" in reason:
        said = reason.partition("ALERT_")[2].replace("_", " ").lower() or "no reason given"
        return Fault(
            "tls", f"{where} refuses the TLS connection: {said}", "the server's log says more"
        )
    said = (error.reason or str(error)).replace("_", " ").lower()
    return Fault("tls", f"TLS with {where} failed: {said}", "the server's log says more")


def handshake_cut(where: str) -> Fault:
    """The connection ended before TLS was agreed upon."""
    return Fault(
        "tls",
        f"{where} closed the connection in the middle of the TLS handshake",
        "does it speak TLS? For plain HTTP use http://",
    )


async def speaks_tls(host: str, port: int) -> bool:
    """Whether TLS is spoken there, asked when a request in plain HTTP had no sensible answer."""
    try:
        async with asyncio.timeout(_PROBE_S):
            _, writer = await asyncio.open_connection(
                host, port, ssl=no_trust_context(checks=False), server_hostname=host
            )
    except (OSError, TimeoutError, ValueError):
        return False
    writer.transport.abort()
    return True


def wants_tls(where: str) -> Fault:
    """Plain HTTP was asked of a server that speaks TLS."""
    return Fault("tls", f"{where} speaks TLS", "use https:// instead of http://")
