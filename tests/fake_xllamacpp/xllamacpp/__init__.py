"""A stand-in for xllamacpp 2026.10.11549: it serves llama.cpp's own protocol, as it was recorded of
the real one, and writes the recorded log; its answers are always the same.

The real package's library holds llama-server's parser. The stand-in has none, so `ctypes.CDLL` is
replaced by something that has: it knows a few of the arguments, and refuses others in llama.cpp's
own words.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

__version__ = "2026.10.11549"
_HERE = Path(__file__).parent
_SERVER = 12
_WORDS = ["The", " capital", " of", " France", " is", " Paris", "."]
_MADE: dict[int, CommonParams] = {}
_KNOWN = {
    "--model": "path", "--alias": "alias", "--host": "host", "--port": "port",
    "--parallel": "slots", "--ctx-size": "n_ctx", "--verbosity": "verbosity",
    "--fit": "fit",
}  # fmt: skip
_LOADING = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}
_REFUSED = {"error": {"message": "Invalid API Key", "type": "authentication_error", "code": 401}}
_MISSING = {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}}


class CommonParams:
    def __init__(self) -> None:
        self.path = self.alias = self.host = self.verbosity = self.fit = ""
        self.port, self.slots, self.n_ctx = 8080, 4, 0
        self.endpoint_metrics = False
        _MADE[id(self)] = self


def _parse(count: int, argv: Any, place: Any, program: int, usage: None) -> bool:
    settings = _MADE[place.value - object.__basicsize__]
    words = iter([argv[index].decode() for index in range(1, count)])
    for word in words:
        if word == "--metrics" and program == _SERVER:
            settings.endpoint_metrics = True
        elif word in _KNOWN:
            value = next(words)
            number = word in ("--port", "--parallel", "--ctx-size")
            setattr(settings, _KNOWN[word], int(value) if number else value)
        else:
            print(f"error: invalid argument: {word}", file=sys.stderr, flush=True)
            return False
    return True


class _Library:
    def __init__(self, path: str) -> None:
        self._Z19common_params_parseiPPcR13common_params13llama_examplePFviS0_E = _parse
        self._Z30common_log_set_verbosity_tholdi = lambda level: None


ctypes.CDLL = _Library  # type: ignore[assignment, misc]


class _Handler(BaseHTTPRequestHandler):
    server: _Http

    def log_message(self, *words: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/health":
            ready = self.server.ready.is_set()
            self._answer(200 if ready else 503, {"status": "ok"} if ready else _LOADING)
        elif self._allowed():
            if self.path == "/v1/models":
                meta = {"n_ctx": self.server.settings.n_ctx // self.server.settings.slots}
                row = {"id": self.server.settings.alias, "object": "model", "meta": meta}
                self._answer(200, {"object": "list", "data": [row]})
            elif self.path == "/metrics" and self.server.settings.endpoint_metrics:
                self._send(200, "text/plain", (_HERE / "metrics.txt").read_bytes())
            else:
                self._answer(404, _MISSING)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            return
        if self.path not in ("/v1/chat/completions", "/v1/completions"):
            self._answer(404, _MISSING)
            return
        words = _WORDS[: body.get("max_tokens") or None]
        usage = {"completion_tokens": len(words), "prompt_tokens": 36, "total_tokens": 36}
        told = {"model": self.server.settings.alias, "id": "chatcmpl-1", "created": 1}
        timings = {"prompt_n": 36, "prompt_ms": 1.0, "predicted_n": len(words), "predicted_ms": 2.0}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "".join(words)}
            choice = {"finish_reason": "stop", "index": 0, "message": message}
            self._answer(200, {**told, "choices": [choice], "usage": usage, "timings": timings})
            return
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None}]
        deltas += [{"content": word} for word in words]
        rows = [_choice(delta, None) for delta in deltas] + [_choice({}, "stop")]
        chunks = [{**told, "choices": [row]} for row in rows]
        chunks.append({**told, "choices": [], "usage": usage, "timings": timings})
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        self._send(200, "text/event-stream", ("".join(lines) + "data: [DONE]\n\n").encode())

    def _allowed(self) -> bool:
        right = self.headers.get("Authorization") == f"Bearer {os.environ['LLAMA_API_KEY']}"
        if not right:
            self._answer(401, _REFUSED)
        elif not self.server.ready.is_set():
            self._answer(503, _LOADING)
        return right and self.server.ready.is_set()

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self._send(status, "application/json; charset=utf-8", json.dumps(body).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _choice(delta: dict[str, Any], reason: str | None) -> dict[str, Any]:
    return {"finish_reason": reason, "index": 0, "delta": delta}


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, settings: CommonParams) -> None:
        super().__init__((settings.host, settings.port), _Handler)
        self.settings, self.ready = settings, threading.Event()


class Server:
    def __init__(self, settings: CommonParams) -> None:
        http = _Http(settings)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        if Path(settings.path).read_bytes()[:4] != b"GGUF":
            print("E gguf_init_from_reader: invalid magic characters", file=sys.stderr, flush=True)
            raise RuntimeError("Failed to init server, please check the input params.")
        for line in (_HERE / "start.log").read_text("utf-8").splitlines():
            if "[gdl]" in line:
                continue
            if line.endswith("model loaded"):
                time.sleep(0.5)  # somebody is told meanwhile that it is loading
            print(line, file=sys.stderr, flush=True)
            if "listening on" in line:
                break
        http.ready.set()
        self.listening_address = f"http://{settings.host}:{settings.port}"


xllamacpp = SimpleNamespace(__file__="the library")
sys.modules["xllamacpp.xllamacpp"] = xllamacpp  # type: ignore[assignment]
