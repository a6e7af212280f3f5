"""Web servers on loopback that answer as a model hub does when it does not give a model."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def listening(
    handler: type[http.server.BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """An HTTP server in a thread of its own; its URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            scheme = "http" if tls is None else "https"
            yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def refusing(
    status: int, code: str = "", message: str = "", tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """A hub that answers everything so."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in (("X-Error-Code", code), ("X-Error-Message", message)):
                if value:
                    self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None: ...

    with listening(Answer, tls) as url:
        yield url


@contextmanager
def hub_with_a_file(size: int, sent: int | None = None) -> Iterator[str]:
    """A hub with one model, of one file; sent: as much of it as arrives."""
    commit = "5" * 40

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind = "application/json"
            siblings = b'[{"rfilename":"model.bin"}]'
            body = b'{"id":"org/zebra","sha":"%s","siblings":%s}' % (commit.encode(), siblings)
            if "/tree/" in self.path:
                body = b'[{"type":"file","path":"model.bin","size":%d,"oid":"%s"}]' % (
                    size,
                    commit.encode(),
                )
            elif "/resolve/" in self.path:
                body, kind = bytes(size), "application/octet-stream"
            self.send_response(200)
            for name, value in (("X-Repo-Commit", commit), ("ETag", '"abc"')):
                self.send_header(name, value)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body if kind.endswith("json") else body[:sent])

        do_HEAD = do_GET

        def log_message(self, format: str, *args: Any) -> None: ...

    with listening(Answer) as url:
        yield url
