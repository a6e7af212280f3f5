#!/usr/bin/env bash
# Version: sglang==0.5.23
# Behaviour: SGLang's server writes its API key into its log: the line "server_args={...}" at its start holds
# 'api_key' (and 'admin_api_key') in clear. What is logged goes through a function that hides secrets of
# watermarks alone. The key can be given by --api-key only (no variable), where every process list shows it.
#
# The whole server needs a GPU's libraries, so its own two functions are run here, cut out of the package:
# what the log line is made by, and what that calls. (Started whole, on the CPU, it logged the key as well.)
#
# Seen:
#   logged: {'model_path': 'm', 'api_key': 'sk-very-secret', 'admin_api_key': 'sk-of-an-admin'}
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m pip download -q --no-deps -d "$folder" sglang==0.5.23 2>/dev/null
cat > "$folder/run.py" <<'P'
import ast
import copy
import dataclasses
import sys
import types
import zipfile
from pathlib import Path

(wheel,) = Path(sys.argv[1]).glob("*.whl")


def cut(file, *names):
    tree = ast.parse(zipfile.ZipFile(wheel).read(f"sglang/srt/{file}"))
    kept = [
        node
        for node in tree.body
        if getattr(node, "name", "") in names
        or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in names)
    ]
    return ast.unparse(ast.Module(kept, []))


class Options:
    def resolved_dict(self):
        return {"model_path": "m", "api_key": "sk-very-secret", "admin_api_key": "sk-of-an-admin"}


# What they name beside each other; none of it is reached by a plain dictionary.
space = {
    "copy": copy,
    "dataclasses": dataclasses,
    "WatermarkRequestConfig": (),
    "WatermarkServerConfig": (),
    "Any": object,
    "msgspec": types.SimpleNamespace(Struct=()),
    "ServerArgs": Options,
    "Dict": dict,
}
file = "sampling/watermarking/core.py"
names = ("redact_watermark_secrets", "WATERMARK_SECRET_FIELD_NAMES", "WATERMARK_CONTAINER_FIELD_NAMES")
exec(cut(file, *names), space)
exec(cut("entrypoints/engine.py", "_server_args_for_logging"), space)
print("logged:", space["_server_args_for_logging"](Options()))
P
said=$(python3 "$folder/run.py" "$folder")
echo "$said"
[ "$said" = "logged: {'model_path': 'm', 'api_key': 'sk-very-secret', 'admin_api_key': 'sk-of-an-admin'}" ]
echo "as described"
