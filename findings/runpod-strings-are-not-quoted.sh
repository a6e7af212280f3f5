#!/usr/bin/env bash
# Version: runpod==1.12.0
# Behaviour: runpod 1.12.0 (the marketplace's official client): strings go into its GraphQL as they are.
#
# `runpod.create_pod` builds the text of a mutation with f-strings and escapes nothing. A value with a
# double quote ends the string early. Ordinary start commands have some: `bash -c "sleep infinity"`
# gives a mutation that is no GraphQL. Line ends are not escaped either: a key in `env` that has several
# lines breaks the mutation. What is worse is a value that continues the mutation: the value of an
# environment variable, which may come from elsewhere, can add fields to the request, such as one of
# the account's network volumes.
#
# Seen: the parser refuses the first two; the third is a mutation that mounts a volume nobody named.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q runpod==1.12.0 graphql-core==3.2.7
cat > "$folder/ask.py" <<'P'
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from graphql import GraphQLSyntaxError, parse

asked: list[str] = []


class Service(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["content-length"])))["query"]
        data = {"gpuTypes": [{"id": "GPU"}]}
        if "mutation" in query:
            asked.append(query)
            data = {"podFindAndDeployOnDemand": {"id": "pod"}}
        raw = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.environ["RUNPOD_API_BASE_URL"] = f"http://127.0.0.1:{server.server_port}"
import runpod  # noqa: E402 - reads the address when it is imported

runpod.api_key = "key"


def sent(**values: object) -> str:
    runpod.create_pod("name", "image", "GPU", gpu_count=1, **values)
    try:
        document = parse(asked[-1])
    except GraphQLSyntaxError as error:
        return error.message
    (field,) = document.definitions[0].selection_set.selections
    fields = field.arguments[0].value.fields
    names = [each.name.value for each in fields]
    assert len(set(names)) == len(names)
    return next(f"mounts {f.value.value}" for f in fields if f.name.value == "networkVolumeId")


print("command:", sent(docker_args='bash -c "sleep infinity"'))
print("lines:", sent(env={"KEY": "-----BEGIN KEY-----\nAAAA\n-----END KEY-----\n"}))
print("variable:", sent(env={"NOTE": 'n" }], networkVolumeId: "weights" # '}))
P
said=$("$folder/env/bin/python" "$folder/ask.py")
echo "$said"
diff <(echo "$said") - <<'E'
command: Syntax Error: Expected ':', found Name 'infinity'.
lines: Syntax Error: Unterminated string.
variable: mounts weights
E
echo "as described"
