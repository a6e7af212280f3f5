"""Real clients on a served model, with the settings of `gdl-tui env`: what they asked and got.

    python bench/clients.py CLIENTS ID [CLIENT ...]

CLIENTS is a folder that holds what is to be tried: `npm install @anthropic-ai/claude-code
@openai/codex opencode-ai cline` in it, and a virtual environment `py` with openai, anthropic and
litellm. ID: of a session with an open tunnel. Each client asks one question, without anybody at
the keyboard, through a relay that counts requests and reads the prompt's tokens from the answers.
The model need not be any good: one with random weights shows whether the requests are understood.
"""

from __future__ import annotations

import argparse
import http.client
import http.server
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

QUESTION = "What is 2 + 2?"
LIMIT_S = 45
_PROMPT = re.compile(rb'"(?:prompt|input)_tokens":\s*(\d+)')
_PLATFORM = "linux-x64"

_OPENAI = """
import os, openai
client = openai.OpenAI(base_url=os.environ["OPENAI_BASE_URL"], max_retries=0)
asked = [{"role": "user", "content": "What is 2 + 2?"}]
model = os.environ["OPENAI_MODEL"]
client.chat.completions.create(model=model, messages=asked, max_tokens=16)
client.responses.create(model=model, input=asked, max_output_tokens=16)
"""
_ANTHROPIC = """
import os, anthropic
client = anthropic.Anthropic(max_retries=0)
asked = [{"role": "user", "content": "What is 2 + 2?"}]
model = os.environ["ANTHROPIC_MODEL"]
client.messages.create(model=model, messages=asked, max_tokens=16)
with client.messages.stream(model=model, messages=asked, max_tokens=16) as stream:
    stream.get_final_message()
"""
_LITELLM = """
import sys, yaml, litellm
router = litellm.Router(model_list=yaml.safe_load(open(sys.argv[1]))["model_list"])
asked = [{"role": "user", "content": "What is 2 + 2?"}]
router.completion(router.model_list[0]["model_name"], asked, max_tokens=16)
"""


@dataclass
class Relay:
    """Between a client and the tunnel; port: its own, on loopback."""

    upstream: str
    seen: list[tuple[str, int, int]] = field(default_factory=list)
    """Path, status, tokens of the prompt."""

    def __post_init__(self) -> None:
        relay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                relay.pass_on(self)

            def do_POST(self) -> None:
                relay.pass_on(self)

            def do_HEAD(self) -> None:
                relay.pass_on(self)

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def pass_on(self, asked: http.server.BaseHTTPRequestHandler) -> None:
        body = asked.rfile.read(int(asked.headers.get("content-length") or 0))
        kept = ("authorization", "content-type", "accept", "anthropic-version", "x-api-key")
        headers = {name: value for name, value in asked.headers.items() if name.lower() in kept}
        way = http.client.HTTPConnection(self.upstream, timeout=LIMIT_S)
        way.request(asked.command, asked.path, body or None, headers)
        answer = way.getresponse()
        asked.send_response(answer.status)
        asked.send_header("Content-Type", answer.headers.get("Content-Type") or "text/plain")
        asked.end_headers()
        whole = b""
        try:
            while piece := answer.read1(65_536):
                whole += piece
                asked.wfile.write(piece)
                asked.wfile.flush()
        except OSError:
            pass  # the client has heard enough
        finally:
            way.close()
        tokens = max((int(number) for number in _PROMPT.findall(whole)), default=0)
        self.seen.append((asked.path.partition("?")[0], answer.status, tokens))


@dataclass(frozen=True)
class Trial:
    """One client. words: the command; environment: what its settings say."""

    name: str
    words: list[str]
    environment: dict[str, str]


def printed(ident: str, form: str, port: int) -> str:
    """The settings, with the relay in place of the tunnel."""
    done = subprocess.run(
        ["gdl-tui", "env", ident, "--format", form], capture_output=True, text=True, check=True
    )
    print(f"[{form}] {done.stderr.strip()}")
    return re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", done.stdout)


def in_shell(script: str) -> dict[str, str]:
    """What evaluating a script adds to an environment."""
    words = ["env", "-i", "sh", "-c", f"{script}\nenv -0"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if "=" in line)


def trials(clients: Path, ident: str, folder: Path, port: int) -> list[Trial]:
    modules, python = clients / "node_modules", str(clients / "py/bin/python")
    openai = in_shell(printed(ident, "sh", port))
    key = openai["OPENAI_API_KEY"]
    claude = in_shell(printed(ident, "claude", port))
    (folder / "gdl.config.toml").write_text(printed(ident, "codex", port))
    (folder / "opencode.json").write_text(printed(ident, "opencode", port))
    (folder / "cline.json").write_text(printed(ident, "cline", port))
    (folder / "litellm.yaml").write_text(printed(ident, "litellm-proxy", port))
    codex = next(modules.glob(f"@openai/codex-{_PLATFORM}/vendor/*/bin/codex"))
    opencode = {
        "OPENCODE_CONFIG": str(folder / "opencode.json"),
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
    }
    cline = {"CLINE_PROVIDER_SETTINGS_PATH": str(folder / "cline.json"), "OPENAI_API_KEY": key}
    return [
        Trial("openai", [python, "-c", _OPENAI], openai),
        Trial("anthropic", [python, "-c", _ANTHROPIC], claude),
        Trial(
            "litellm",
            [python, "-c", _LITELLM, str(folder / "litellm.yaml")],
            {"VLLM_API_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        ),
        Trial(
            "claude",
            [str(modules / f"@anthropic-ai/claude-code-{_PLATFORM}/claude"), "-p", QUESTION],
            claude | {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1"},
        ),
        Trial(
            "codex",
            [str(codex), "exec", "-p", "gdl", "--strict-config", "--skip-git-repo-check", QUESTION],
            {"CODEX_HOME": str(folder), "VLLM_API_KEY": key},
        ),
        Trial(
            "opencode",
            [str(modules / f"opencode-{_PLATFORM}/bin/opencode"), "run", QUESTION],
            opencode,
        ),
        Trial(
            "cline",
            [str(modules / f"@cline/cli-{_PLATFORM}/bin/cline"), "--json", QUESTION],
            cline,
        ),
    ]


def tried(trial: Trial, relay: Relay, folder: Path) -> str:
    """A line of the table. A client that writes on after its limit has got its answer, too."""
    relay.seen.clear()
    home = folder / f"home-{trial.name}"
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), **trial.environment}
    try:
        done = subprocess.run(
            trial.words, env=environment, cwd=home, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=LIMIT_S,
        )  # fmt: skip
        ended = f"exit {done.returncode}"
        if done.returncode:
            print(f"[{trial.name}] {(done.stderr or done.stdout)[-400:]}", file=sys.stderr)
    except subprocess.TimeoutExpired:
        ended = f"ended after {LIMIT_S} s"
    asked = [seen for seen in relay.seen if seen[0].startswith("/v1/")]
    paths = ", ".join(sorted({path for path, _, _ in asked}))
    statuses = ", ".join(str(status) for status in sorted({status for _, status, _ in asked}))
    longest = max((tokens for _, _, tokens in asked), default=0)
    return f"| {trial.name} | {paths} | {len(asked)} | {statuses} | {longest:,} | {ended} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("clients", type=Path)
    parser.add_argument("ident")
    parser.add_argument("only", nargs="*")
    options = parser.parse_args()
    row = subprocess.run(
        ["gdl-tui", "env", options.ident, "--json"], capture_output=True, text=True, check=True
    )
    relay = Relay(urlsplit(json.loads(row.stdout)["endpoint"]).netloc)
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for trial in trials(options.clients.resolve(), options.ident, folder, relay.port):
            if not options.only or trial.name in options.only:
                lines.append(tried(trial, relay, folder))
                print(lines[-1], flush=True)
    print("\n| client | asked | requests | statuses | longest prompt, tokens | end |")
    print("|---|---|---|---|---|---|", *lines, sep="\n")


if __name__ == "__main__":
    main()
