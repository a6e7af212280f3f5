#!/usr/bin/env bash
# Version: vastai==1.9.1
# Behaviour: vastai 1.9.1 (the marketplace's official command line): commands that failed exit with status 0.
#
# `vastai destroy instance ID -y` exits 0 when the service answers 500, 404 or 429, when it answers
# 200 with "success": false, and (without -y) when there is no terminal to confirm on: it prints
# "Aborted." and exits 0, too. `vastai create instance` and `vastai show instances --raw` exit 0 over
# an error answer as well; the latter with nothing on stdout. A script that trusts the exit status
# believes that a machine is gone which goes on billing.
#
# Seen: every line below has exit status 0.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q vastai==1.9.1
cat > "$folder/ask.py" <<'P'
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

folder = sys.argv[1]
status, answer = 200, {}


class Service(BaseHTTPRequestHandler):
    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        raw = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_PUT = do_POST = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"


def told(*words: str) -> None:
    done = subprocess.run(
        [f"{folder}/env/bin/vastai", *words, "--url", url],
        env={**os.environ, "HOME": folder, "VAST_API_KEY": "0" * 64},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    aborted = " (Aborted.)" if "Aborted." in done.stdout else ""
    print(f"{' '.join(words)}: service {status}, exit {done.returncode}{aborted}")


for status, answer in (
    (500, {"msg": "internal error"}),
    (404, {"success": False, "error": "no_such_instance", "msg": "no such instance"}),
    (200, {"success": False, "error": "busy", "msg": "try again later"}),
):
    told("destroy", "instance", "1234", "-y")
told("destroy", "instance", "1234")
status, answer = 500, {"msg": "internal error"}
told("create", "instance", "555", "--image", "some/image", "--disk", "10", "--raw")
told("show", "instances", "--raw")
P
said=$("$folder/env/bin/python" "$folder/ask.py" "$folder")
echo "$said"
diff <(echo "$said") - <<'E'
destroy instance 1234 -y: service 500, exit 0
destroy instance 1234 -y: service 404, exit 0
destroy instance 1234 -y: service 200, exit 0
destroy instance 1234: service 200, exit 0 (Aborted.)
create instance 555 --image some/image --disk 10 --raw: service 500, exit 0
show instances --raw: service 500, exit 0
E
echo "as described"
