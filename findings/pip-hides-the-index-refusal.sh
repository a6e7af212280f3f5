#!/usr/bin/env bash
# Version: pip==26.3
# Behaviour: pip 26.3: an index that answers 403, 429 or 503 is reported as an index without the package.
#
# Whatever the page of a package is answered with, pip's whole output is "Could not find a version
# that satisfies the requirement engine (from versions: none)" and "No matching distribution found".
# The status is told with -vv alone. Who reads the log looks for a misspelt name or a wrong Python
# while a token, a mirror or a rate limit is at fault. (401 is told: pip asks for a user name.)
#
# Seen:
#   403: exit 1, from versions: none: True, names the status: False, with -vv: True
#   429: exit 1, from versions: none: True, names the status: False, with -vv: True
#   503: exit 1, from versions: none: True, names the status: False, with -vv: True
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q --upgrade pip==26.3
cat > "$folder/ask.py" <<'P'
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Index(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path.split("/")[1]))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


index = ThreadingHTTPServer(("127.0.0.1", 0), Index)
threading.Thread(target=index.serve_forever, daemon=True).start()
own = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
own |= {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"}


def said(status: int, *more: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{index.server_port}/{status}"
    pip = [sys.executable, "-m", "pip", "install", *more, "--index-url", url, "engine"]
    run = subprocess.run(pip, env=own, capture_output=True, text=True)
    return run.returncode, (run.stdout + run.stderr).replace(url, "")


for status in (403, 429, 503):
    code, text = said(status)
    none, told, loud = "from versions: none" in text, str(status) in text, said(status, "-vv")[1]
    print(
        f"{status}: exit {code}, from versions: none: {none}, names the status: {told}, "
        f"with -vv: {str(status) in loud}"
    )
P
said=$("$folder/env/bin/python" "$folder/ask.py")
echo "$said"
diff <(echo "$said") - <<'E'
403: exit 1, from versions: none: True, names the status: False, with -vv: True
429: exit 1, from versions: none: True, names the status: False, with -vv: True
503: exit 1, from versions: none: True, names the status: False, with -vv: True
E
echo "as described"
