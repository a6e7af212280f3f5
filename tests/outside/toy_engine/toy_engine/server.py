"""The toy's server: what it says is always the same. Standard library only."""

import argparse
import json
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORDS = ("Paris ", "is ", "the ", "capital ", "of ", "France.")


def say(text: str) -> None:
    print(f"TOY {time.strftime('%H:%M:%S')} toy: {text}", flush=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model, key, told = "", "", 0

    def do_GET(self) -> None:
        if self.path == "/readyz":
            self.send_response(204)
            self.end_headers()
        elif self.path == "/figures":
            self.answer(f"toy_running 0\ntoy_told {Handler.told}\n".encode(), "text/plain")
        elif self.path == "/v1/models" and self.allowed():
            self.answer_json({"object": "list", "data": [{"id": self.model, "object": "model"}]})
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            return
        if self.path != "/v1/chat/completions":
            self.send_error(404)
            return
        words = WORDS[: asked.get("max_tokens", 16)]
        Handler.told += len(words)
        usage = {
            "prompt_tokens": 5,
            "completion_tokens": len(words),
            "total_tokens": 5 + len(words),
        }
        if not asked.get("stream"):
            message = {"role": "assistant", "content": "".join(words)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self.answer_json({"object": "chat.completion", "choices": [choice], "usage": usage})
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for word in words:
            self.piece({"choices": [{"index": 0, "delta": {"content": word}}]})
        self.piece({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.piece({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def piece(self, chunk: dict) -> None:  # type: ignore[type-arg]
        whole = {"object": "chat.completion.chunk", "model": self.model, **chunk}
        self.wfile.write(f"data: {json.dumps(whole)}\n\n".encode())

    def allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {self.key}":
            return True
        self.send_error(401)
        return False

    def answer_json(self, body: object) -> None:
        self.answer(json.dumps(body).encode(), "application/json")

    def answer(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def address() -> str:
    """The loopback; a simulated machine has one of its own."""
    root = os.environ.get("SIM_ROOT")
    if not root:
        return "127.0.0.1"
    with open(os.path.join(root, "machine.json")) as file:
        return str(json.load(file)["address"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--dry", default="")
    given = parser.parse_args()
    Handler.model, Handler.key = given.model, os.environ["TOY_API_KEY"]
    say("awake")
    if given.dry:
        say(f"no flux in {given.dry}")
        sys.exit(3)
    for share in (25, 50, 75):
        say(f"winding up {share} %")
        time.sleep(0.05)
    server = ThreadingHTTPServer((address(), given.port), Handler)
    say(f"kept in {os.environ.get('TOY_CACHE', 'nothing')}")
    say("wound up")
    server.serve_forever()


main()
