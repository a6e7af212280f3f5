"""A private CA, and certificates of servers that it signs, made anew for each run."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class PrivateCa:
    """file: its certificate, as `--cacert` takes it."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def made(cls, folder: Path) -> PrivateCa:
        folder.mkdir(exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("the office's own CA")
        certificate = (
            _certificate(name, name, key, -_DAY, 30 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        found = cls(folder, key, certificate)
        found.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return found

    @property
    def file(self) -> Path:
        return self.folder / "ca.pem"

    def server(
        self,
        *hosts: str,
        begins: timedelta = -_DAY,
        ends: timedelta = _DAY,
        by_itself: bool = False,
        at_most: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    ) -> ssl.SSLContext:
        """How a server with these names speaks TLS. begins, ends: of its certificate's validity,
        from now. by_itself: it has signed its certificate itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("a server")
        issuer = name if by_itself else self.certificate.subject
        names = [_general(host) for host in hosts or ("127.0.0.1", "localhost")]
        certificate = (
            _certificate(name, issuer, key, begins, ends)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(key if by_itself else self.key, hashes.SHA256())
        )
        path = self.folder / f"server-{certificate.serial_number}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        context.maximum_version = at_most
        return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begins: timedelta,
    ends: timedelta,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )
