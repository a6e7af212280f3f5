"""A package index on loopback that speaks the simple repository protocol, and can break it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import io
import ssl
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from web_servers import listening


@dataclass
class Index:
    """files: by name; each is offered on the page of its project. requires: Python, by file.
    status: what every page is answered with. cut: files are sent by half. lies: wrong hashes."""

    files: dict[str, bytes] = field(default_factory=dict)
    requires: dict[str, str] = field(default_factory=dict)
    status: int = 200
    cut: bool = False
    lies: bool = False
    url: str = ""

    def page(self, project: str) -> bytes:
        links = []
        for name, data in self.files.items():
            if not name.replace("_", "-").startswith(f"{project}-"):
                continue
            digest = hashlib.sha256(b"another" if self.lies else data).hexdigest()
            needs = self.requires.get(name, "").replace("<", "&lt;").replace(">", "&gt;")
            attribute = f' data-requires-python="{needs}"' if needs else ""
            links.append(f'<a href="/files/{name}#sha256={digest}"{attribute}>{name}</a>')
        return f"<!DOCTYPE html><html><body>{'<br>'.join(links)}</body></html>".encode()


def wheel(
    project: str,
    version: str = "1.0",
    *,
    needs: tuple[str, ...] = (),
    tag: str = "py3-none-any",
    size: int = 0,
) -> tuple[str, bytes]:
    """(file name, content) of a wheel with one module; size: of a file in it, in bytes."""
    name = project.replace("-", "_")
    requires = "".join(f"Requires-Dist: {need}\n" for need in needs)
    info = f"{name}-{version}.dist-info"
    parts = {
        f"{name}.py": b"WHOLE = True\n",
        f"{name}_data.bin": bytes(size),
        f"{info}/METADATA": (
            f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n{requires}".encode()
        ),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    record = "".join(f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in parts.items())
    parts[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path, data in parts.items():
            archive.writestr(path, data)
    return f"{name}-{version}-{tag}.whl", packed.getvalue()


def source(project: str, setup: str, version: str = "1.0", **more: str) -> tuple[str, bytes]:
    """(file name, content) of a source distribution; more: files, by name (`_` for the dot)."""
    packed = io.BytesIO()
    files = {
        "setup.py": setup,
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n",
        **{name.replace("_", "."): text for name, text in more.items()},
    }
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"{project}-{version}/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return f"{project}-{version}.tar.gz", packed.getvalue()


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@contextlib.contextmanager
def serving(index: Index, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Its URL, as --index-url takes it."""

    class Answer(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            kind, _, rest = self.path.lstrip("/").partition("/")
            if kind == "simple":
                body, status = index.page(rest.strip("/")), index.status
                self._send(status, body, "text/html")
            else:
                self._send(200, index.files[rest], "application/octet-stream")

        def do_HEAD(self) -> None:
            self.do_GET()

        def _send(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut = index.cut and kind != "text/html"
            if self.command == "GET":
                self.wfile.write(body[: len(body) // 2] if cut else body)
            self.close_connection = cut

        def log_message(self, format: str, *args: Any) -> None: ...

    with listening(Answer, tls) as url:
        yield f"{url}/simple"
