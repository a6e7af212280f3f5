#!/usr/bin/env bash
# Version: vastai==1.9.1
# Behaviour: vastai 1.9.1 (the marketplace's official client): a rent request whose answer is missing is sent again.
#
# `vastai create instance` sends `PUT /asks/ID/`, which is not idempotent: each one that is acted upon
# makes a machine that costs money. The client repeats any request up to three times when the
# connection is cut or the answer is 429, 502, 503 or 504. A gateway that loses the answers of two
# requests which were acted upon leaves three machines; the client tells of the last one alone, with
# nothing on stderr. (Where the offer can be rented only once, the second answer says that it is gone:
# then a machine runs which the client calls "not rented".)
#
# Seen: one command, three requests, three machines made, one of them told.
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
made: list[int] = []


class Market(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        made.append(7000 + len(made))
        if len(made) == 1:
            self.close_connection = True
            self.connection.close()
            return
        status, answer = 200, {"success": True, "new_contract": made[-1]}
        if len(made) == 2:
            status, answer = 502, {"msg": "Bad gateway"}
        raw = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Market)
threading.Thread(target=server.serve_forever, daemon=True).start()
done = subprocess.run(
    [f"{folder}/env/bin/vastai", "create", "instance", "555", "--image", "some/image",
     "--disk", "10", "--raw", "--url", f"http://127.0.0.1:{server.server_port}"],
    env={**os.environ, "HOME": folder, "VAST_API_KEY": "0" * 64},
    stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
)  # fmt: skip
told = json.loads(done.stdout)["new_contract"]
print(f"made {made}, told {told}, exit {done.returncode}, stderr {done.stderr.strip()!r}")
P
said=$("$folder/env/bin/python" "$folder/ask.py" "$folder")
echo "$said"
[ "$said" = "made [7000, 7001, 7002], told 7002, exit 0, stderr ''" ]
echo "as described"
