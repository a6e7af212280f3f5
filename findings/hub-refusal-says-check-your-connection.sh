#!/usr/bin/env bash
# Version: huggingface_hub==2.4.0
# Behaviour: huggingface_hub 2.4.0: a hub that answers 403 is reported as a missing file and a bad connection.
#
# `hf_hub_download` of a file that the hub refuses with a plain 403 raises LocalEntryNotFoundError: "An
# error happened while trying to locate the file on the Hub ... Please check your connection". The
# status is in neither type nor message of what was raised; only the chained HfHubHTTPError has it.
# (429, 500 and 503 end in the same words, after five silent-looking retries of 23 s in all; not run
# here for their time.) `snapshot_download` does name the status. Whoever reads the last line of a
# server's log looks at the network while a token lacks a permission.
#
# Seen:
#   hf_hub_download: LocalEntryNotFoundError, names 403: False, says "check your connection": True
#   its cause: HfHubHTTPError, names 403: True
#   snapshot_download: LocalEntryNotFoundError, names 403: True
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q huggingface_hub==2.4.0
cat > "$folder/ask.py" <<'P'
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(BaseHTTPRequestHandler):
    def refuse(self) -> None:
        self.send_response(403)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_HEAD = refuse

    def log_message(self, *_: object) -> None:
        pass


hub = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=hub.serve_forever, daemon=True).start()
os.environ.update(
    HF_ENDPOINT=f"http://127.0.0.1:{hub.server_port}",
    HF_HOME=sys.argv[1],
    HF_HUB_DISABLE_TELEMETRY="1",
)
from huggingface_hub import hf_hub_download, snapshot_download  # noqa: E402

try:
    hf_hub_download("some/model", "config.json")
except Exception as error:
    name, text = type(error).__name__, str(error)
    print(
        f'hf_hub_download: {name}, names 403: {"403" in text},'
        f' says "check your connection": {"check your connection" in text}'
    )
    cause = error.__cause__ or error.__context__
    print(f"its cause: {type(cause).__name__}, names 403: {'403' in str(cause)}")
try:
    snapshot_download("some/model")
except Exception as error:
    print(f"snapshot_download: {type(error).__name__}, names 403: {'403' in str(error)}")
P
said=$("$folder/env/bin/python" "$folder/ask.py" "$folder/cache")
echo "$said"
diff <(echo "$said") - <<'E'
hf_hub_download: LocalEntryNotFoundError, names 403: False, says "check your connection": True
its cause: HfHubHTTPError, names 403: True
snapshot_download: LocalEntryNotFoundError, names 403: True
E
echo "as described"
